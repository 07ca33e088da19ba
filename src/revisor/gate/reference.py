"""The gate's decision as one readable loop over token ids, which `Row` and `BatchGate` equal.

It reads everything anew at every position and remembers nothing, so it is slow and plain: the
oracle of the tests, and the place to read what the gate does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from revisor.gate.choice import Decision
from revisor.gate.decide import Facts, decide, window
from revisor.gate.hops import named, reached
from revisor.gate.scope import NORMAL
from revisor.gate.state import IN_NUMBERS, amid_word, asked_at
from revisor.gate.tokens import BROKEN, Behind, Tokens, behind
from revisor.language.names import mentions
from revisor.language.words import words
from revisor.question.encoder import QuestionEncoder

_BYTES = 8  # tokens over which a character may be spread


@dataclass(frozen=True, kw_only=True)
class Next:
    """What happens behind some tokens: `token` is written, or, if None, tokens that carry on the
    last word (of kind `behind`) are held back.

    `begin` is the index of the object's first token without a space before it.
    """

    token: int | None
    fact: str
    begin: int
    behind: Behind = Behind.WORD


def next_action(
    ids: Sequence[int],
    *,
    due: bool,
    tokens: Tokens,
    facts: Facts,
    encoder: QuestionEncoder,
    threshold: float = NORMAL,
) -> Next | None:
    """What is written, or held back, behind all tokens of a sequence; see `decide` and
    `next_step`."""
    ids = list(ids)
    # 1. The tokens as text. The beginning of a character, spread over several tokens, is none yet.
    partial = _partial(ids, tokens)
    whole = len(ids) - partial
    text = tokens.decode(ids[:whole])

    def asked(place: int) -> Decision | None:
        part = text[window(text, place) : place]
        return decide(part, mentions(part, facts), facts, encoder, threshold=threshold)

    # 2. An object that has begun and that the text before it asks for is carried on, whoever
    #    began it; behind a whole one its last word, or number, is kept from going on.
    for outcome in _begun(ids, text, whole, asked, tokens, facts):
        return outcome

    # 3. Else one is begun where the text asks for it and an answer is due, or where the last token
    #    is a space with which it begins.
    decision = asked(asked_at(text, len(text)))
    if decision is None:
        return None
    shown = tokens.shown(decision.fact.object)
    if text.endswith(" ") and not text.endswith("  "):
        carried = _written(ids, whole, len(text) - 1, shown, decision, tokens, only_first=True)
        if carried is not None:
            return carried
    if due or partial or decision.fact.is_due:
        return _written(ids, whole, len(text), shown, decision, tokens)
    return None


def _begun(
    ids: list[int],
    text: str,
    whole: int,
    asked: Callable[[int], Decision | None],
    tokens: Tokens,
    facts: Facts,
) -> Iterator[Next | None]:
    """What an object that has begun, or is whole, leads to; nothing where there is none."""
    handles = {
        handle
        for mention in mentions(text, facts)
        for handle in (*mention.facts, *(one for inner in mention.inner for one in inner[2]))
    }
    some = reached(handles, lambda handle: named(facts.fact(handle).object, facts))
    objects = {tokens.shown(facts.fact(handle).object) for handle in some}
    for end, digits in ((len(text), False), (len(text) - 1, True)):
        if digits and not (text[end:] in IN_NUMBERS and text[end - 1 : end].isdigit()):
            continue
        for at in range(end):
            tail = text[at:end]
            if at and amid_word(text, at) or not any(obj.startswith(tail) for obj in objects):
                continue
            decision = asked(asked_at(text, at))
            if decision is None:
                continue
            shown = tokens.shown(decision.fact.object)
            here = asked(asked_at(text, len(text))) if shown.startswith(tail) else None
            anew = here is not None and here.fact.is_due and here.fact.id == decision.fact.id
            if anew and words(tail) and not digits:
                break  # it is of the words of the fact's own prompt, which ends here
            if shown == tail:
                held = Behind.NUMBER if digits else behind(decision.fact.object)
                if len(ids) > whole or held is None:
                    yield None
                    return
                first = _token_at(ids, at, tokens)
                yield Next(token=None, fact=decision.fact.id, begin=first, behind=held)
                return
            if shown.startswith(tail) and not digits:
                yield _written(ids, whole, at, shown[len(tail) :], decision, tokens)
                return


def _partial(ids: list[int], tokens: Tokens) -> int:
    """How many tokens at the end are an incomplete character."""
    for count in range(min(_BYTES, len(ids)) + 1):
        if not tokens.decode(ids[: len(ids) - count]).endswith(BROKEN):
            return count
    return 0


def _token_at(ids: list[int], at: int, tokens: Tokens) -> int:
    """The index of the token with which the character at a place of the text begins."""
    for first in range(len(ids)):
        read = ids[: first + 1]
        if len(tokens.decode(read[: len(read) - _partial(read, tokens)])) > at:
            return first - _partial(ids[:first], tokens)
    return len(ids) - _partial(ids, tokens)


def _written(
    ids: list[int],
    whole: int,
    at: int,
    rest: str,
    decision: Decision,
    tokens: Tokens,
    *,
    only_first: bool = False,
) -> Next | None:
    obj, text = decision.fact.object, tokens.decode(ids[:whole])
    begins = at == len(text)
    first = _token_at(ids, at, tokens)
    ways = ((first, obj, True), (whole, rest, begins))
    for begin, said, opens in ways[:1] if only_first else ways:
        before = ids[:begin]
        spelled = tokens.spell(said, tokens.decode(before), before[-8:], begins=opens)
        done = len(ids) - begin
        if done < len(spelled) and ids[begin:] == spelled[:done]:
            shown_from = begin + tokens.is_space(spelled[0])
            return Next(token=spelled[done], fact=decision.fact.id, begin=shown_from)
    return None
