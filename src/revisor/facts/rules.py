"""What a fact must be: the rules that every way of writing one into a ledger goes by.

The file reader (forms.py) holds the same rules against the fields of a record, one by one, under
the names that the file gives them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

from revisor.errors import BadInput, Fault
from revisor.facts.fact import ERASED, JOIN, PLACEHOLDER, Fact, normal_form, parse_time

NAME_LIMIT = 1_000
TEXT_LIMIT = 10_000
ID_LIMIT = 128
NAMESPACE_LIMIT = 200
HISTORY = "/history"  # behind an id, in the server's addresses
LIST_LIMIT = 100
PRODUCT_LIMIT = 1_000
"""How many pairs of a name and a wording one fact may have: each pair is looked up."""

# Lone surrogates are no characters: they cannot be written as UTF-8.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL_BUT_BREAKS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
REQUIRED = ("subject", "prompt", "object")
TEXTS = {
    "subject": NAME_LIMIT,
    "prompt": TEXT_LIMIT,
    "object": NAME_LIMIT,
    "relation": NAME_LIMIT,
    "object_before": NAME_LIMIT,
    "source": TEXT_LIMIT,
    "namespace": NAMESPACE_LIMIT,
    "qualifier": NAME_LIMIT,
    "reverse": TEXT_LIMIT,
    "id": ID_LIMIT,
}
_NEVER_NONE = (*REQUIRED, "namespace", "qualifier", "id")
BREAKS = ("prompt", "reverse", "paraphrases")
LISTS = {"aliases": NAME_LIMIT, "paraphrases": TEXT_LIMIT}
_STRIPPED = (*REQUIRED, "reverse")
_MANY = "write the object on one line"


def template(prompt: str, subject: str) -> str | None:
    """`prompt` with `{}` where the subject stands, or None where it names no subject.

    The subject's last occurrence is taken: as whole words in the same case, else in another case,
    else inside a word (some scripts have no spaces), where the case must be the same. Where the
    two are written in other Unicode forms (a letter and its accent, a space that does not
    break), both are composed first.
    """
    if PLACEHOLDER in prompt and not (PLACEHOLDER in subject and subject in prompt):
        return prompt
    # Most subjects stand as they are, in the last place where they stand at all.
    start = prompt.rfind(subject)
    end = start + len(subject)
    if start < 0 or not _is_whole(prompt, start, end):
        places = [(at, at + len(subject)) for at in _occurrences(prompt, subject)]
        whole = [place for place in places if _is_whole(prompt, *place)]
        exact = [place for place in whole if prompt[slice(*place)] == subject]
        if exact or whole:
            start, end = (exact or whole)[-1]
        elif start < 0:
            composed = _composed(prompt), _composed(subject)
            return None if composed == (prompt, subject) else template(*composed)
    return f"{prompt[:start]}{PLACEHOLDER}{prompt[end:]}"


def _is_whole(text: str, start: int, end: int) -> bool:
    """Whether no letter or digit touches `text[start:end]` from outside."""
    return not text[start - 1 : start].isalnum() and not text[end : end + 1].isalnum()


def _occurrences(text: str, name: str) -> Iterator[int]:
    """Where the name stands in any case."""
    text, name = _lower(text), _lower(name)
    at = text.find(name) if name else -1
    while at >= 0:
        yield at
        at = text.find(name, at + len(name))


def _lower(text: str) -> str:
    """The text in lower case, each letter in its place; some letters' lower case is two letters."""
    lower = text.lower()
    if len(lower) != len(text):
        lower = "".join(one if len(one.lower()) != 1 else one.lower() for one in text)
    return lower.replace("ς", "σ")


def _composed(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def names_one(text: str, names: Iterable[str]) -> bool:
    """Whether a wording has a place for the subject, or names it by one of the names."""
    if PLACEHOLDER in text:
        return True
    normal = normal_form(text)
    return any(normal_form(name) in normal and template(text, name) for name in names if name)


def text_fault(text: str, name: str, limit: int, *, breaks: bool = False) -> Fault | None:
    """What is wrong with a text that is there, if anything is.

    Args:
        name: what the text is called in the message.
        limit: how many characters it may have.
        breaks: it may have line breaks.
    """
    if len(text) > limit:
        return Fault(f"{name!r} has {len(text):,} characters", f"at most {limit:,} are read")
    found = (_CONTROL_BUT_BREAKS if breaks else _CONTROL).search(text)
    if not found:
        return None
    if found[0] in "\n\r\u2028\u2029" and name == "object":
        what, remedy = f"{name!r} has more than one line: U+{ord(found[0]):04X}", _MANY
    else:
        what, remedy = f"{name!r} holds the control character U+{ord(found[0]):04X}", "remove it"
    return Fault(f"{what} at place {found.start() + 1}", remedy)


def list_fault(count: int, name: str) -> Fault | None:
    """What is wrong with the length of a list."""
    if count <= LIST_LIMIT:
        return None
    return Fault(
        f"{name!r} has {count:,} texts",
        f"at most {LIST_LIMIT} are read: keep those that people use",
    )


def wordings_faults(
    subject: str, aliases: Collection[str], paraphrases: Collection[str]
) -> Iterator[Fault]:
    """What is wrong with names and wordings taken together."""
    pairs = (1 + len(aliases)) * (1 + len(paraphrases))
    if pairs > PRODUCT_LIMIT:
        yield Fault(
            f"{1 + len(aliases)} names with {1 + len(paraphrases)} wordings are {pairs:,} pairs",
            f"at most {PRODUCT_LIMIT:,} are read: give fewer aliases or paraphrases",
        )
        return
    for text in paraphrases:
        if text.strip() and not names_one(text, (subject, *aliases)):
            yield Fault(
                f"a paraphrase does not name the subject: {shown(text)}",
                "write {} where the subject stands",
            )


def date_fault(text: str, name: str) -> Fault | None:
    """What is wrong with a time that is there, if anything is."""
    try:
        parse_time(text)
    except ValueError:
        return Fault(f"{name!r} is no date: {shown(text)}", "write it like 2026-01-31")
    return None


def order_fault(start: str | None, end: str | None) -> Fault | None:
    """What is wrong with two times that can be read."""
    if not start or not end or parse_time(end) > parse_time(start):
        return None
    return Fault(
        f"'valid_to' {end} is not after 'valid_from' {start}",
        "valid_to is the first moment at which the fact no longer holds",
    )


def id_fault(fact_id: str) -> Fault | None:
    """What is wrong with an id beside its length."""
    if JOIN in fact_id:
        fault, remedy = f"'id' holds a {JOIN!r}: {shown(fact_id)}", "use another sign"
    elif fact_id.endswith(HISTORY):
        fault, remedy = f"'id' ends in {HISTORY!r}: {shown(fact_id)}", "choose another"
    elif fact_id.startswith(ERASED):
        fault, remedy = f"'id' begins as erased facts do: {shown(fact_id)}", "choose another"
    else:
        return None
    return Fault(fault, remedy)


def shown(value: object) -> str:
    """A value as it is shown in a fault, cut where it is long."""
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 64 else f"{text[:60]}..."


def faults(fact: Fact) -> tuple[Fault, ...]:
    """Everything that is wrong with a fact; nothing where it may be kept."""
    if _is_plain(fact):
        return ()
    found = [*_type_faults(fact)]
    if found:
        return tuple(found)
    for name, limit in TEXTS.items():
        found += _field_faults(name, getattr(fact, name), limit)
    for name, limit in LISTS.items():
        texts = getattr(fact, name)
        if too_many := list_fault(len(texts), name):
            found.append(too_many)
            continue
        for number, text in enumerate(texts, start=1):
            label = f"{name}[{number}]"
            if not text.strip():
                found.append(Fault(f"{label!r} is empty", "remove it"))
            elif wrong := text_fault(text, label, limit, breaks=name in BREAKS):
                found.append(wrong)
    for name, what in (("prompt", "subject"), ("reverse", "object")):
        text = getattr(fact, name)
        if text and PLACEHOLDER not in text:
            fault = f"{name!r} has no {PLACEHOLDER}: {shown(text)}"
            found.append(Fault(fault, f"write {{}} where the {what} stands"))
    found += wordless_faults(fact.subject, fact.prompt)
    if not fact.namespace.strip():
        found.append(Fault("'namespace' is empty", "leave it out for 'default'"))
    elif fact.namespace != fact.namespace.strip():
        found.append(Fault(f"'namespace' has spaces around it: {fact.namespace!r}", "remove them"))
    found += _time_faults(fact)
    if wrong := id_fault(fact.id):
        found.append(wrong)
    if not found:
        found += wordings_faults(fact.subject, fact.aliases, fact.paraphrases)
    return tuple(found)


def wordless_faults(subject: str, prompt: str) -> Iterator[Fault]:
    """What is wrong with the words of a template and its name: a name is found by its words, and
    a prompt has to say more than the name."""
    if subject.strip() and not _has_word(subject):
        fault = f"'subject' has no letter or digit: {shown(subject)}"
        yield Fault(fault, "give a name that can be found in a text")
    if PLACEHOLDER in prompt and not _has_word(prompt.replace(PLACEHOLDER, "")):
        fault = f"'prompt' says nothing about the subject: {shown(prompt)}"
        yield Fault(fault, 'write what is asked, such as "The CEO of {} is"')


def _has_word(text: str) -> bool:
    return any(sign.isalnum() or unicodedata.category(sign) == "So" for sign in text)


def _is_plain(fact: Fact) -> bool:
    """Whether a fact is surely in order: short texts and nothing else, as most are."""
    if fact.aliases or fact.paraphrases or fact.reverse or fact.valid_from or fact.valid_to:
        return False
    more = (fact.relation, fact.object_before, fact.source, fact.qualifier)
    try:
        names = fact.subject + fact.prompt + fact.object
        whole = "".join((names, fact.id, fact.namespace, *filter(None, more)))
        prompt = fact.prompt.replace(PLACEHOLDER, "")
        needed = _has_word(fact.subject) and _has_word(prompt) and fact.object.strip()
        spaced = fact.namespace != fact.namespace.strip()
    except (TypeError, AttributeError):
        return False
    return not (
        not (needed and fact.namespace)
        or spaced
        or len(whole) > NAME_LIMIT
        or len(fact.namespace) > NAMESPACE_LIMIT
        or len(fact.id) > ID_LIMIT
        or id_fault(fact.id)
        or PLACEHOLDER not in fact.prompt
        or _CONTROL.search(whole)
    )


def _type_faults(fact: Fact) -> Iterator[Fault]:
    """Values that are no text; whoever calls from Python may give any."""
    for name in (*TEXTS, "valid_from", "valid_to"):
        value = getattr(fact, name)
        if not isinstance(value, str) and (value is not None or name in _NEVER_NONE):
            yield Fault(f"{name!r} is no text: {shown(value)}", "give a str")
    for name in LISTS:
        texts = getattr(fact, name)
        if not isinstance(texts, tuple) or not all(isinstance(text, str) for text in texts):
            fault = f"{name!r} is no list of texts: {shown(texts)}"
            yield Fault(fault, "give a list or tuple of str")


def _field_faults(name: str, text: str | None, limit: int) -> Iterator[Fault]:
    if name in REQUIRED and not (text or "").strip():
        yield Fault(f"{name!r} is empty", f"give the {name} as text")
    elif text and (wrong := text_fault(text, name, limit, breaks=name in BREAKS)):
        yield wrong


def _time_faults(fact: Fact) -> Iterator[Fault]:
    times = {name: getattr(fact, name) for name in ("valid_from", "valid_to")}
    wrong = [fault for name, text in times.items() if text and (fault := date_fault(text, name))]
    yield from wrong
    if not wrong and (disorder := order_fault(*times.values())):
        yield disorder


def tidy(fact: Fact) -> Fact:
    """The fact without white space around its subject, prompt, object and reverse.

    A prompt that ends with a space makes a model say something else, and nobody sees it. The id
    does not depend on such spaces.
    """
    texts = {name: getattr(fact, name) for name in _STRIPPED}
    changed: dict[str, Any] = {
        name: text.strip()
        for name, text in texts.items()
        if isinstance(text, str) and text != text.strip()
    }
    return replace(fact, **changed) if changed else fact


def checked(fact: Fact) -> Fact:
    """The fact as it may be kept."""
    return checked_all([fact])[0]


def checked_all(facts: Iterable[Fact]) -> list[Fact]:
    """The facts as they may be kept.

    Raises:
        BadInput: some may not; names the first and carries every fault of all, each with the
            place of its fact (from 1) for a line.
    """
    kept = [tidy(fact) for fact in facts]
    found = [
        replace(fault, line=place if len(kept) > 1 else 0)
        for place, fact in enumerate(kept, start=1)
        for fault in faults(fact)
    ]
    if not found:
        return kept
    first = kept[max(found[0].line, 1) - 1]
    told = replace(found[0], line=0)
    raise BadInput(
        f"The fact {shown(first.id)} about {shown(first.subject)} cannot be kept: {told}",
        "Mend it and write it again. Nothing was written.",
        found,
    )
