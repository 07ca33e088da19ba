"""Why nothing is written at the end of a prompt, and what helps: a sentence each, for people."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from revisor.facts.fact import Fact
from revisor.facts.lines import fact_line
from revisor.gate.choice import Candidate, needed
from revisor.gate.scope import THRESHOLDS
from revisor.language.turns import turns
from revisor.question.predicates import ANOTHER, DOUBTED, NEGATED, SAYS_ELSE, SOMETHING_ELSE
from revisor.question.reading import SLOT

if TYPE_CHECKING:
    from revisor.operations.explain import Explanation

ELSE = "asks for something else"
NOT_OF_KIND = "the object is not of the kind that is asked for"
_WITHIN = "within a longer name"

_ASK_OWN = (
    "If the fact is meant, ask in its own words: '{own}'; if something else is, add a fact of its "
    "own (revisor add FILE)."
)

# By the rule that silences the nearest fact: why, and what helps. {name} is as the text has it,
# {fact} a wording of the fact, {own} the same with the name, {object} what it would say, {id} its.
_RULES = {
    "already answered": ("The answer, '{object}', is in the text already.", ""),
    "told, not asked": (
        "The text tells something about {name} and asks nothing.",
        "Ask it: end the text with a question, or where the answer is to begin.",
    ),
    NOT_OF_KIND: (
        "'{object}', of the nearest fact '{fact}', is not of the kind that is asked for.",
        "If it is meant, ask in the fact's own words: '{own}'.",
    ),
    "a quotation mark comes first": (
        "The value of a JSON field opens with a quotation mark, behind which '{object}' is due.",
        "",
    ),
    "a text to work on, not a question": (
        "The text is something to work on, such as to translate, and asks for no fact.",
        "",
    ),
    "asks for the reverse": (
        "The text asks what {name} is to somebody; the fact '{fact}' tells what somebody is to it.",
        "If it is meant, ask in the fact's own words: '{own}'.",
    ),
    "a question that is answered by yes or no": (
        "The text asks about {name} what is answered by yes or no.",
        "Ask for the fact itself: '{own}'.",
    ),
    "the question goes on behind the name": (
        "The text has only come to the name {name}, and what is asked of it is not said yet.",
        "Have the text go on to where the answer begins: '{own}'.",
    ),
    "said of somebody else": (
        "What the text says at its end is not said of {name}.",
        "Say it of {name}: '{own}'.",
    ),
    SAYS_ELSE: (
        "The text says something else about what the fact '{fact}' of {name} tells.",
        _ASK_OWN,
    ),
    DOUBTED: ("The text says that what the fact '{fact}' of {name} tells is not so.", _ASK_OWN),
    ANOTHER: (
        "The text asks for another one than the fact '{fact}' of {name} tells, of another status.",
        _ASK_OWN,
    ),
    SOMETHING_ELSE: (
        "The text asks about something near {name}; the fact '{fact}' tells it of {name} itself.",
        _ASK_OWN,
    ),
    NEGATED: (
        "The text asks for what is not so; the fact '{fact}' of {name} tells what is.",
        _ASK_OWN,
    ),
    "a word, not a name": (
        "'{name}' is written as a word of the language there, among names with capitals.",
        "If the name is meant, write it as the fact does: '{own}'.",
    ),
    "about another time": (
        "The fact '{fact}' of {name} is about another time than the text asks about.",
        "If it holds then, give it `valid_from` and `valid_to`; what it has: revisor show {id}",
    ),
    "does not hold now": (
        "The fact '{fact}' of {name} does not hold now.",
        "When it holds: revisor show {id}",
    ),
}
_LONGER = {
    "number goes on": "digits go on beside it",
    "hyphen": "a hyphen joins it to another word",
    "address": "it is part of an address",
    "script goes on": "its word goes on",
    "number follows": "a number follows",
    "capital follows": "a capitalised word follows",
    "extension follows": "a word follows that makes it another name",
    "capital precedes": "a capitalised word stands before it",
    "plain word": "it is an ordinary word there",
    "plain words": "they are ordinary words there",
    "particle follows": "what follows makes a longer name of it",
}


def why_not(found: Explanation) -> str | None:
    """Why nothing is written; None if something is."""
    if found.written is not None:
        return None
    if found.decision is not None:
        return _not_due(found)
    best = nearest(found)
    if not found.has_facts:
        return "There are no facts."
    if not found.names:
        return "No name of a fact is in the text."
    if best is None:
        return _asks_nothing(found)
    name, rule = found.shown(best.mention), reason(found, best)
    if best.mention.within is not None:
        return f"'{name}' is not the name of a fact here: {longer(best.mention.within)}."
    if rule in _RULES:
        return _filled(_RULES[rule][0], best, name)
    if best.score == 0.0:
        return f"{name} is named, but the text does not say what is asked of it."
    bar = needed(best, found.threshold)
    return (
        f"{name} is named, but the text asks for something else: nearest fact '{best.template}', "
        f"{best.score:.2f} of {bar:.2f} needed{_stricter(best)}."
    )


def _stricter(one: Candidate) -> str:
    """Why more than the store's threshold is needed, as a clause; empty where it is not."""
    for applies, why in (
        (one.is_plain, " of a name that is written as a word"),
        (one.is_prose, " in running text"),
        (one.rivals > 1, " where a name has several facts"),
    ):
        if applies:
            return why
    return ""


def what_helps(found: Explanation) -> str | None:
    """What would have something written; None if something is, or nothing helps."""
    if found.written is not None:
        return None
    if found.decision is not None:
        return _made_due(found)
    best = nearest(found)
    if not found.has_facts:
        return "Add some: revisor add FILE"
    if not found.names or (best is not None and best.mention.within is not None):
        return (
            "If the text has another name of a fact's subject, give the fact that name in "
            "`aliases` (revisor add FILE)."
        )
    if best is None:
        if _is_of_asker(found):
            return "Close that turn, or ask with --chat."
        return "End the text with a question, or where the answer is to begin, or ask with --chat."
    name, rule = found.shown(best.mention), reason(found, best)
    if rule in _RULES:
        return _filled(_RULES[rule][1], best, name) or None
    if best.score == 0.0:
        return _filled("A fact's own words are always answered: '{own}'.", best, name)
    less = _less_strict(found, best)
    return (
        f"If '{best.template}' is meant, give it '{best.question}' in `paraphrases`; if something "
        "else is, add a fact of its own (revisor add FILE)."
        + (f' Or set strictness = "{less}" in store.toml.' if less else "")
    )


def reason(found: Explanation, one: Candidate) -> str:
    """The rule that keeps a candidate from being written, the one that tells the most.

    A town is not what "When was ACME founded?" asks for, but neither is the fact.
    """
    if one.silenced == NOT_OF_KIND and one.score < needed(one, found.threshold):
        return ELSE
    return one.silenced or ELSE


def longer(rule: str) -> str:
    """Why a name is taken for part of a longer one, for people."""
    return _LONGER.get(rule, rule)


def nearest(found: Explanation) -> Candidate | None:
    """The candidate that was nearest to be written, silenced or not."""
    return next(iter(found.candidates), None)


def with_wording(found: Explanation, fact: Fact) -> dict[str, Any] | None:
    """The line of a fact file that gives the nearest fact the wording of the text, if that helps.

    Args:
        fact: the nearest one, `nearest(found)`.
    """
    best = nearest(found)
    if found.decision is not None or best is None or reason(found, best) != ELSE:
        return None
    if best.score == 0.0 or fact.reverse_of is not None:
        return None
    return fact_line(replace(fact, paraphrases=(*fact.paraphrases, best.question)))


def _filled(sentence: str, one: Candidate, name: str) -> str:
    own = one.template.replace(SLOT, name)
    return sentence.format(name=name, fact=one.template, own=own, object=one.object, id=one.id)


def _less_strict(found: Explanation, best: Candidate) -> str | None:
    """The name of the next lower strictness at which the nearest fact is written, if there is."""
    met = [
        (threshold, name)
        for name, threshold in THRESHOLDS.items()
        if threshold < found.threshold and best.score >= needed(best, threshold)
    ]
    return max(met)[1] if met else None


def _asks_nothing(found: Explanation) -> str:
    """A name is in the text, and no question about it was read."""
    if _is_of_asker(found):
        return "The text ends in the turn of who asks, where nothing is written."
    name = next((one.text for one in found.names if one.within is None), found.names[0].text)
    return f"{name} is named, but the text asks nothing about it where it ends."


def _is_of_asker(found: Explanation) -> bool:
    """Whether the text ends in a turn of a chat that is not the model's to write."""
    here = turns(found.text[found.start :])[-1:]
    return bool(here) and here[0].marked and here[0].role in ("asks", "other")


def _not_due(found: Explanation) -> str:
    """A fact is asked for, but not written here."""
    assert found.decision is not None
    fact = f"'{found.decision.fact.object}' is asked for"
    if found.is_due is not None:
        return f"{fact}, but the model's logits say that no answer is due here."
    if found.never_due:
        return f"{fact}, but the text does not tell that an answer is due here."
    return f"{fact}, and written if the model's logits say that an answer is due."


def _made_due(found: Explanation) -> str:
    assert found.decision is not None
    if found.is_due is None and not found.never_due:
        return "Leave --text-only out to ask them."
    fact = found.decision.fact
    return _filled(
        "End the text where the answer is to begin, as in '{own}' or behind a label such as 'A:', "
        "or ask with --chat.",
        fact,
        fact.subject if fact.via else found.shown(fact.mention),
    )
