"""Names as people write them: found where they are meant, and nothing else taken for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revisor.language.names import mentions
from revisor.language.reader import NameReader
from revisor.language.spelling import WHOLE, is_one_edit
from tests.gate.dictionary import Dictionary, fact

SUBJECTS = (
    "Norvale Instruments",
    "Norvale",
    "Tarn 400",
    "Beatrix Dornau",
    "Carla Ines Merino",
    "The Beatles",
    "The Police",
    "ACME Ltd",
    "Tarvel AG",
    "Springfield Metals GmbH",
    "Springfield Metals Ltd",
    "Orchid Inc.",
    "HP Inc.",
    "Münchner Bräuhaus GmbH & Co. KG",
    "Johnson & Sons",
    "AT&T",
    "Zürich",
    "Köln",
    "Søren Ågård",
    "Marching",
    "Finch's",
    "Coca-Lemo",
    "YouTube",
    "OneDrive",
    "Blue Diamond",
    "iPhone 16",
    "Louis XVIII",
    "Tesla Model S",
    "VDTX Systems",
    "Hartman Ltd",
    "Hartmann",
    "Lake Orlan, Ontario",
    ".NET",
    "Кафе Ёлка",
)


def dictionary(*subjects: str) -> Dictionary:
    return Dictionary(fact(subject, "x", "{} is") for subject in subjects)


FACTS = dictionary(*SUBJECTS)


def named(text: str, facts: Dictionary = FACTS) -> dict[str, str]:
    """What a text names that is not told to be part of a longer name, by how it is written."""
    return {
        text[one.start : one.end]: " | ".join(facts.facts[handle].subject for handle in one.facts)
        for one in mentions(text, facts)
        if one.within is None
    }


@pytest.mark.parametrize(
    ("written", "subject"),
    [
        # one letter
        ("Norvale Instrumnets", "Norvale Instruments"),
        ("Norvale Intruments", "Norvale Instruments"),
        ("Norvale Instrumments", "Norvale Instruments"),
        ("Morvale Instruments", "Norvale Instruments"),
        ("norvaleinstruments", "Norvale Instruments"),
        ("Norvale Instrument", "Norvale Instruments"),
        ("Norvael", "Norvale"),
        ("Norvaale", "Norvale"),
        ("Trn 400", "Tarn 400"),
        ("Beatrix Dornou", "Beatrix Dornau"),
        ("Beattles", "The Beatles"),
        ("Tesla Modle S", "Tesla Model S"),
        ("Blue Dimond", "Blue Diamond"),
        # spaces and hyphens
        ("NorvaleInstruments", "Norvale Instruments"),
        ("Norvale-Instruments", "Norvale Instruments"),
        ("Norv ale Instruments", "Norvale Instruments"),
        ("Norvale Instru ments", "Norvale Instruments"),
        ("Tarn400", "Tarn 400"),
        ("iPhone16", "iPhone 16"),
        ("Coca Lemo", "Coca-Lemo"),
        ("CocaLemo", "Coca-Lemo"),
        ("cocalemo", "Coca-Lemo"),
        ("You Tube", "YouTube"),
        ("One Drive", "OneDrive"),
        ("Finchs", "Finch's"),
        # what joins
        ("Johnson and Sons", "Johnson & Sons"),
        ("Johnson + Sons", "Johnson & Sons"),
        ("Johnson+Sons", "Johnson & Sons"),
        ("johnson&sons", "Johnson & Sons"),
        ("AT and T", "AT&T"),
        # accents, and umlauts written out
        ("Zurich", "Zürich"),
        ("Zuerich", "Zürich"),
        ("Koln", "Köln"),
        ("KOELN", "Köln"),
        ("Soren Agard", "Søren Ågård"),
        ("Soeren Aagaard", "Søren Ågård"),
        ("Muenchner Braeuhaus", "Münchner Bräuhaus GmbH & Co. KG"),
        ("Munchner Brauhaus", "Münchner Bräuhaus GmbH & Co. KG"),
        ("Кафе Елка", "Кафе Ёлка"),
        # articles, and legal forms
        ("Beatles", "The Beatles"),
        ("ACME", "ACME Ltd"),
        ("tarvel", "Tarvel AG"),
        ("ACME Limited", "ACME Ltd"),
        ("Orchid", "Orchid Inc."),
        ("Orchid Incorporated", "Orchid Inc."),
        ("HP", "HP Inc."),
        ("Norvale Instruments S.p.A", "Norvale Instruments"),
        ("Norvale Instrumnets Co. KG", "Norvale Instruments"),
        # initials
        ("C. I. Merino", "Carla Ines Merino"),
        ("C.I. Merino", "Carla Ines Merino"),
        ("Carla I. Merino", "Carla Ines Merino"),
        ("Carla I Merino", "Carla Ines Merino"),
        # signs
        ("Nor\u200bvale\u2009Instru\u00adments", "Norvale Instruments"),
        ("Ｎｏｒｖａｌｅ　Ｉｎｓｔｒｕｍｅｎｔｓ", "Norvale Instruments"),
        ("Norvale\u00a0Instruments", "Norvale Instruments"),
        ("Ｎｏｒｖａｌｅ Ｉｎｓｔｒｕｍｎｅｔｓ", "Norvale Instruments"),
        ("Finch\u02bcs", "Finch's"),
        ("Lake Orlan, Ontarjo", "Lake Orlan, Ontario"),
        ("Lake Orlann, Ontario", "Lake Orlan, Ontario"),
        (".NET", ".NET"),
        (".net", ".NET"),
        ("NET", ".NET"),
    ],
)
def test_a_name_is_found_as_people_write_it(written: str, subject: str) -> None:
    for text in (
        f"We asked about {written} and",
        f"the owner of {written} is",
        f"Who leads **{written}**, and where?",
        f"[{written}](https://x.example) or `{written}`",
    ):
        assert named(text) == {written: subject}


@pytest.mark.parametrize(
    "written",
    [
        # longer names, other numbers and models
        "Norvale Instruments Logistics",
        "ACME Logistics",
        "Tarn 40",
        "Tarn 4000",
        "Tarn 400X",
        "Tarn 4 00",
        "Tarn 401",
        "Trn 40",
        "iPhone 15",
        "iPhone15",
        "iPhnoe 15",
        "Tesla Model X",
        "Tesla Model 3",
        "Louis XVII",
        "VDTY Systems",
        # other words, and other names
        "Machining",
        "Matching",
        "marchings",
        "Beatle",
        "Police",
        "Narching",
        "acme",
        "orchid",
        "the orchid",
        "orchids",
        "hp",
        "net",
        "ASP.NET",
        "you tube",
        "one drive",
        "Nor vale Instruments",
        "Blue Diamonds",
        "Blue Demand",
        "Beatrice Dornau",
        "Carla Merino",
        "C. Merino",
        "Dr. Merino",
        "C. J. Merino",
        "Carla J. Merino",
        "Carlos I. Merino",
        "at t",
        "ATT",
        "Johnson Smith & Sons",
        # two letters, or short names
        "Norvalee Instrumnets",
        "Nrovael",
        "Kolm",
        "ACMA",
        "ac me",
        # another legal form
        "ACME GmbH",
        "Orchid AG",
        # several may be meant
        "Springfield Metals",
        "Springfeild Metals",
    ],
)
def test_what_is_another_name_or_a_word_is_not_taken_for_one(written: str) -> None:
    for text in (f"We asked about {written} and", f"the owner of {written} is"):
        assert named(text) == {}


def test_a_word_of_the_language_is_a_company_where_its_capital_tells() -> None:
    assert named("Orchid was founded in") == {"Orchid": "Orchid Inc."}
    assert named("THE ORCHID WAS SOLD TO THE POLICE OF HP") == {"THE POLICE": "The Police"}


def test_a_name_as_in_the_facts_comes_before_one_that_is_written_otherwise() -> None:
    facts = dictionary("Norvale Holm", "Norvale Holms", "Holm Orlan", "Zürich", "Zurich")
    assert named("Norvale Holms and norvale holm", facts) == {
        "Norvale Holms": "Norvale Holms",
        "norvale holm": "Norvale Holm",
    }
    assert named("Zurich and Zürich", facts) == {"Zurich": "Zurich", "Zürich": "Zürich"}
    assert named("Zuerich", facts) == {"Zuerich": "Zürich"}
    assert named("Müllar", dictionary("Mullar", "Muellar")) == {}
    # One that overlaps it is none; another subject elsewhere forbids nothing.
    assert named("Norvale Holm Orlam", facts) == {}
    assert named("Norvale Holm and Holm Orlam", facts) == {
        "Norvale Holm": "Norvale Holm",
        "Holm Orlam": "Holm Orlan",
    }


def test_a_longer_name_that_is_written_otherwise_comes_before_one_within_it() -> None:
    assert named("norvale instrumnets") == {"norvale instrumnets": "Norvale Instruments"}
    found = mentions("The CEO of Norvale Instrumnets is", FACTS)
    assert [one.inner for one in found] == [((11, 18, (1,)),)]


def test_without_a_wrong_letter_comes_before_with_one() -> None:
    assert named("the owner of Hartman is") == {"Hartman": "Hartman Ltd"}
    assert named("the owner of Hartmann is") == {"Hartmann": "Hartmann"}


def test_of_several_that_may_be_meant_the_one_that_the_text_names_is() -> None:
    text = "Springfield Metals GmbH is old. The owner of Springfield Metals is"
    assert named(text) == {
        "Springfield Metals GmbH": "Springfield Metals GmbH",
        "Springfield Metals": "Springfield Metals GmbH",
    }
    both = f"Springfield Metals Ltd is not what {text}"
    assert "Springfield Metals" not in named(both)


def test_facts_of_several_namespaces_or_qualifiers_are_of_several_subjects() -> None:
    def told(*facts: dict[str, str]) -> set[str]:
        found = Dictionary(
            replace(fact("Norvale Works", str(place), f"{place} of {{}} is"), **fields)
            for place, fields in enumerate(facts)
        )
        return {
            found.facts[handle].object
            for one in mentions("The owner of Norvael Works is", found)
            for handle in one.facts
        }

    assert told({}, {}) == {"0", "1"}
    assert told({}, {"namespace": "other"}) == set()
    # A qualifier tells facts apart: which year is meant is not told, what has none is.
    assert told({}, {"qualifier": "2023"}) == {"0", "1"}
    assert told({}, {"qualifier": "2023"}, {"qualifier": "2024"}) == {"0"}


def test_an_alias_is_found_otherwise_too() -> None:
    facts = Dictionary([fact("ACME", "x", "{} is", aliases=["Norvale Anvils"])])
    assert named("Norvale Anvlis", facts) == {"Norvale Anvlis": "ACME"}


WRITTEN = st.one_of(
    st.sampled_from(SUBJECTS),
    st.sampled_from([part for subject in SUBJECTS for part in subject.split()]),
    st.sampled_from(["the", "of", "Nor", "vale", "bank", "Dr.", "C.", "I.", "and", "+", "&", "'s"]),
    st.sampled_from(["GmbH", "Co.", "KG", "Inc", "Limited", "400", "4", "00", "XVII", "NET"]),
)


@st.composite
def otherwise(draw: st.DrawFn) -> str:
    """A name, or a part of one, with a letter that is wrong, or in another case."""
    written = draw(WRITTEN)
    at = draw(st.integers(0, len(written) - 1))
    way = draw(st.sampled_from("=======dixscu"))
    if way == "d":
        return written[:at] + written[at + 1 :]
    if way == "i":
        return written[:at] + draw(st.sampled_from("aeimnst- .")) + written[at:]
    if way == "x":
        return written[:at] + draw(st.sampled_from("aeimnst")) + written[at + 1 :]
    if way == "s":
        return written[:at] + written[at : at + 2][::-1] + written[at + 2 :]
    return {"c": str.lower, "u": str.upper}.get(way, str)(written)


GAPS = st.sampled_from(
    ["", " ", " ", " ", " ", "-", ", ", ". ", "\n", "\n\n", "  ", " & ", "\u2009"]
)
TEXTS = st.lists(st.tuples(otherwise(), GAPS), min_size=1, max_size=9).map(
    lambda parts: "".join(word + gap for word, gap in parts)
)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, cuts=st.lists(st.integers(0, 60), max_size=6), back=st.integers(0, 30))
def test_a_text_read_on_names_what_it_names_read_at_once(
    text: str, cuts: list[int], back: int
) -> None:
    reader = NameReader(FACTS)
    for end in sorted(cuts):
        reader.read(text[:end])
    reader.read(text)
    assert reader.mentions(text) == mentions(text, FACTS)
    handles = {handle for one in reader.mentions(text) for handle in one.facts}
    assert reader.handles(0) >= handles
    assert reader.any or not handles
    reader = reader.fork()
    kept = max(0, len(text) - back)
    reader.crop(kept)
    reader.read(text[:kept])
    assert reader.mentions(text[:kept]) == mentions(text[:kept], FACTS)
    reader.read(text)
    assert reader.mentions(text) == mentions(text, FACTS)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, size=st.integers(1, 40))
def test_a_window_of_a_text_names_what_it_names_alone(text: str, size: int) -> None:
    reader = NameReader(FACTS)
    reader.read(text)
    for begin in range(len(text)):
        if begin and not text[begin - 1].isspace():
            continue
        end = min(len(text), begin + size)
        if reader.parts(end):
            part = text[begin:end]
            assert reader.mentions(text, begin, end) == mentions(part, FACTS)


class Loose(Dictionary):
    """Facts whose look-ups tell as much too much as they may."""

    def beginning(self, text: str) -> int:
        return WHOLE | 4

    def near(self, text: str) -> Collection[int]:
        return {*super().near(text), 0, len(text) % len(self.facts)}

    def corrections(self, word: str) -> Sequence[str]:
        others = [f"{word}s", word[1:], f"x{word}"]
        return [one for one in {*self._words, *others} if is_one_edit(word, one)]


LOOSE = Loose(FACTS.facts)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_what_is_named_does_not_depend_on_look_ups_that_tell_too_much(text: str) -> None:
    assert mentions(text, LOOSE) == mentions(text, FACTS)
