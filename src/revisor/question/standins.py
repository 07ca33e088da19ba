"""What stands for a name, or is left out where one belongs, and a sentence with `{}` there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from revisor.language.lexicon import Lexicon, lexicon
from revisor.language.names import Mention
from revisor.language.words import Word, is_unspaced, words
from revisor.question import forms
from revisor.question.forms import SLOT, clean, parsed

Meaning = Literal["person", "thing", "any", "self"]
Party = Literal["asks", "answers"]

_REACH = 12  # words within which one stands for a name
_AHEAD = 32  # characters before a name in which its preposition and its noun stand
_OWNED = 3  # words behind a possessive in which its noun stands
_POSSESSIVE = f"{SLOT}'s"
_ENDS = "?!. \uff1f\uff01\u3002"


@dataclass(frozen=True, slots=True)
class StandIn:
    """What stands for a name in a sentence; a template has `slot` in its place. It may mean people,
    things, either, or the one for whom the assistant speaks ("you", "our")."""

    start: int
    end: int
    slot: str
    means: Meaning

    def filled(self, sentence: str) -> str:
        """The sentence with the slot."""
        return clean(sentence[: self.start] + self.slot + sentence[self.end :])


def stand_in(sentence: str, *, spoken_by: Party | None = None) -> StandIn | None:
    """The first word or phrase of a sentence that stands for a name; None if there is none.

    "Its CEO is", "Who leads it?", "Who is the boss there?", "The company is based in"; not "What
    time is it?" or "Who leads the city of Paris?". With `spoken_by`, the asker's "your" and the
    answerer's "our" stand for the name that the assistant speaks for.
    """
    rules, read = parsed(sentence)
    for place in range(min(len(read), _REACH)):
        found = _at(sentence, read, place, rules)
        if found is None and spoken_by == "asks":
            found = _pointing(read, place, rules)
        if found is None and spoken_by is not None:
            found = _self(sentence, read, place, spoken_by, rules)
        if found is not None:
            return found
    return None


def _at(sentence: str, read: Sequence[Word], place: int, rules: Lexicon) -> StandIn | None:
    """What begins with a word and stands for a name."""
    word = read[place]
    following = read[place + 1] if place + 1 < len(read) else None
    if word.text in rules.articles and following and following.text in rules.generic_nouns:
        behind = read[place + 2] if place + 2 < len(read) else None
        if _is_of_another(sentence, following, behind, rules):
            return None
        person = following.text in rules.person_nouns
        return StandIn(word.start, following.end, SLOT, "person" if person else "thing")
    if word.text in rules.possessive_pronouns and following:
        if following.text not in rules.function_words:
            return _owning(sentence, word, following, _meaning(word.text, rules), rules)
    elif word.text in rules.locative_pronouns:
        beside = [read[place - 1].text, following.text if following else ""] if place else []
        if beside and rules.auxiliaries.union(rules.polite, "s").isdisjoint(beside):
            return StandIn(word.start, word.end, f"in {SLOT}", "thing")
        return None
    known = rules.pronouns | rules.person_pronouns
    if following is None:
        known |= rules.final_pronouns
    if word.text not in known or _says_no_name(read, place, following, rules):
        return None
    return StandIn(word.start, word.end, SLOT, _meaning(word.text, rules))


def _pointing(read: Sequence[Word], place: int, rules: Lexicon) -> StandIn | None:
    """What points to a name in a question: "Who is that?", "How heavy is that one?"."""
    word, behind = read[place], read[place + 1 :]
    if not place or word.text not in rules.articles - rules.definite_articles:
        return None
    one = [later.text for later in behind[:1] if later.text in rules.determiners]
    if len(behind) == len(one) or (one and behind[1].text in rules.function_words):
        return StandIn(word.start, behind[0].end if one else word.end, SLOT, "any")
    return None


def _owning(sentence: str, word: Word, noun: Word, means: Meaning, rules: Lexicon) -> StandIn:
    """What stands for whose a noun is, as the language says it: "{}'s CEO", "siège de {}"."""
    slot = _possessive(rules)
    if slot.startswith(SLOT):
        return StandIn(word.start, word.end, slot, means)
    return StandIn(word.start, noun.end, f"{sentence[noun.start : noun.end]} {slot}", means)


def _possessive(rules: Lexicon) -> str:
    own = sorted(rules.possessives - {_POSSESSIVE})
    return own[0] if own else _POSSESSIVE


def _meaning(word: str, rules: Lexicon) -> Meaning:
    if word in rules.person_pronouns:
        return "person"
    return "thing" if word in rules.thing_pronouns else "any"


def _is_of_another(sentence: str, noun: Word, behind: Word | None, rules: Lexicon) -> bool:
    """Whether "the company" is of the words behind it: "the company Globex", "the person who
    leads"."""
    if behind is None or sentence[noun.end : behind.start].strip(" ") not in ("", '"', "'"):
        return False
    shown = sentence[behind.start : behind.end]
    own = behind.text in rules.function_words or behind.text in rules.asked_nouns
    if shown[0].isupper() and not own and sentence.upper() != sentence:
        return True
    return behind.text in rules.naming_words or behind.text in (
        rules.joining & rules.question_words
    )


def _says_no_name(read: Sequence[Word], place: int, following: Word | None, rules: Lexicon) -> bool:
    """Whether a pronoun stands for nothing: "What time is it?", "Who won this year?"."""
    word = read[place].text
    if word in rules.articles and following and following.text not in rules.function_words:
        return True
    if word not in rules.thing_pronouns or following is not None or place < 2:
        return False
    ahead = [one.text for one in read[:place]]
    asked = next((at for at, one in enumerate(ahead) if one in rules.which_words), None)
    return (
        asked is not None
        and ahead[asked + 1] in rules.time_nouns
        and ahead[asked + 2 :] == ahead[-1:]
    )


def _self(
    sentence: str, read: Sequence[Word], place: int, spoken_by: Party, rules: Lexicon
) -> StandIn | None:
    """What stands for the one for whom the assistant speaks: "your opening hours", "Where are you
    based?"; not "Can you tell me", "What do you think", "Who made you?" or "your opinion"."""
    word = read[place]
    following = read[place + 1] if place + 1 < len(read) else None
    own = {"asks": rules.addressee_possessives, "answers": rules.speaker_possessives}
    if word.text in own[spoken_by] and following:
        if following.text in rules.own_nouns:
            return None
        return _owning(sentence, word, following, "self", rules)
    if spoken_by == "answers" or word.text not in rules.addressees or not place:
        return None
    asking = rules.question_words - rules.auxiliaries
    first = next((one.text for one in read if one.text not in rules.polite), "")
    minds = following is not None and following.text in rules.minding_verbs
    owned = any(one.text in rules.addressee_possessives for one in read[place:])
    # "Who made you?" and "What are you?" ask of the assistant itself.
    made = first in rules.who_words and following is None
    says = any(one.text not in rules.function_words for one in read)
    if first not in asking or minds or owned or made or not says:
        return None
    return StandIn(word.start, word.end, SLOT, "self")


def is_impersonal(sentence: str) -> bool:
    """Whether a pronoun of a question stands for nothing: "What time is it?"."""
    rules, read = parsed(sentence)
    last = len(read) - 1
    return last > 0 and read[last].text in rules.pronouns and _says_no_name(read, last, None, rules)


def may_mean(found: StandIn, text: str, mention: Mention) -> bool:
    """Whether a stand-in may stand for a name: behind "the CEO of ACME" or "ACME's CEO" a "she" is
    the CEO, and behind "at ACME" somebody; behind "the birthplace of Ada" it may be Ada."""
    if found.means != "person":
        return True
    before = text[max(0, mention.start - _AHEAD) : mention.start]
    after = text[mention.end : mention.end + _AHEAD]
    rules = lexicon(f"{before} {after}")
    behind = [word.text for word in words(after)[: _OWNED + 1]]
    if behind[:1] == ["s"] and not rules.person_nouns.isdisjoint(behind):
        return False
    ahead = [word.text for word in words(before)]
    if ahead and ahead[-1] in rules.articles | rules.generic_nouns:
        ahead.pop()
    if not ahead or ahead[-1] not in rules.complements:
        return True
    return ahead[-1] in rules.genitives and rules.person_nouns.isdisjoint(ahead[-3:-1])


def given_name(said: str) -> str:
    """A question or unfinished sentence that leaves its name out, with `{}` where it belongs.

    "Who is the CEO?" becomes "Who is {}'s CEO?", "What is the name of the CEO?" becomes "What is
    the name of {}'s CEO?", "Headquarters?" becomes "{} headquarters?", "When founded?" becomes
    "When founded {}?". In Chinese the name comes first.
    """
    said = clean(said)
    rules, read = parsed(said)
    at: int | None = None
    for place, word in enumerate(read[:-1]):
        if word.text not in rules.definite_articles:
            continue
        if at is not None and read[place - 1].text not in rules.genitives:
            break
        at = place
    if at is not None:
        article, noun, slot = read[at], read[at + 1], _possessive(rules)
        if slot.startswith(SLOT):
            return f"{said[: article.start]}{slot}{said[article.end :]}"
        return f"{said[: noun.end]} {slot}{said[noun.end :]}"
    rest = said.rstrip(_ENDS)
    if is_unspaced(rest[:1]):
        return f"{SLOT}{rest}\uff1f"
    if read and read[0].text not in rules.question_words | rules.asking_verbs:
        return f"{SLOT} {rest}?"
    return f"{rest} {SLOT}?"


def attribute(said: str) -> str:
    """What goes on with an earlier question, on its own: "And the price too?" is "{}'s price?"."""
    return given_name(forms.without_trailing(forms.without_opening(clean(said))))


def asked_otherwise(frame: str, said: str) -> str | None:
    """A question with another question word: "Where?" behind "When was {} founded?" gives "Where
    was {} founded?"; None if either has no question word."""
    said = forms.without_opening(clean(said)).rstrip(_ENDS)
    rules, put = parsed(said)
    asking = rules.question_words - rules.auxiliaries
    plain = asking | rules.complements | rules.echoes | rules.times | rules.time_nouns
    if all(word.text not in asking for word in put) or any(word.text not in plain for word in put):
        return None
    rules, read = parsed(frame[: frame.find(SLOT)])
    if not read or read[0].text not in rules.question_words - rules.auxiliaries:
        return None
    if len(read) > 1 and read[1].text == "s":  # "Who's"
        return f"{said} is {frame[read[1].end :].strip()}"
    verb = next((word for word in read[1:] if word.text in rules.auxiliaries), None)
    if verb is None and read[0].text not in rules.who_words:
        return None
    return f"{said} {frame[verb.start if verb else read[0].end :].strip()}"
