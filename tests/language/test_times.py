"""The times that sentences tell: their periods, and the sentences without them."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revisor.language.dates import Period
from revisor.language.times import tells_time, times_told, without_times

TODAY = date(2026, 5, 20)  # a Wednesday


def periods(sentence: str) -> list[tuple[str, str] | None]:
    """First day, and the day behind the last, of each time; None for the present."""
    return [
        None if one.period is None else (f"{one.period.start}", f"{one.period.end}")
        for one in times_told(sentence, TODAY)
    ]


def plain(sentence: str) -> str:
    return without_times(sentence, times_told(sentence, TODAY))


@pytest.mark.parametrize(
    ("sentence", "start", "end", "without"),
    [
        ("In 2019 the CEO of {} was", "2019-01-01", "2020-01-01", "the CEO of {} was"),
        ("In 2019, {} was led by", "2019-01-01", "2020-01-01", "{} was led by"),
        ("Who ran {} in 2019?", "2019-01-01", "2020-01-01", "Who ran {}?"),
        ("Who, in 2019, ran {}?", "2019-01-01", "2020-01-01", "Who ran {}?"),
        ("The CEO of {}, in 2019, was", "2019-01-01", "2020-01-01", "The CEO of {} was"),
        ("The CEO of {} (as of 2019) was", "2019-01-01", "2020-01-01", "The CEO of {} was"),
        ("Who ran {} in March 2020?", "2020-03-01", "2020-04-01", "Who ran {}?"),
        ("As of 2021-05-01, {} is led by", "2021-05-01", "2021-05-02", "{} is led by"),
        ("On 3 May 2021, {} was led by", "2021-05-03", "2021-05-04", "{} was led by"),
        ("On May 3rd, 2021, {} was led by", "2021-05-03", "2021-05-04", "{} was led by"),
        ("back in 1995 {} was led by", "1995-01-01", "1996-01-01", "{} was led by"),
        ("Who ran {} during 2018?", "2018-01-01", "2019-01-01", "Who ran {}?"),
        ("Throughout 2018 {} was led by", "2018-01-01", "2019-01-01", "{} was led by"),
        ("From 2015 to 2017 {} was led by", "2015-12-31", "2017-01-02", "{} was led by"),
        ("Who ran {} between 2015 and 2017?", "2015-12-31", "2017-01-02", "Who ran {}?"),
        ("{} was led in 2015\u20132017 by", "2015-12-31", "2017-01-02", "{} was led by"),
        ("Who ran {} in the 1990s?", "1990-01-01", "2000-01-01", "Who ran {}?"),
        ("Who ran {} in the nineties?", "1990-01-01", "2000-01-01", "Who ran {}?"),
        ("In the 19th century {} was in", "1801-01-01", "1901-01-01", "{} was in"),
        ("Before 2021, {} was led by", "2020-12-31", "2021-01-01", "{} was led by"),
        ("Until 2003 {} was led by", "2002-12-31", "2003-01-01", "{} was led by"),
        ("After 2022 {} was led by", "2023-01-01", "2026-05-21", "{} was led by"),
        ("Last year, {} was led by", "2025-01-01", "2026-01-01", "{} was led by"),
        (
            "What was last year's profit of {}?",
            "2025-01-01",
            "2026-01-01",
            "What was profit of {}?",
        ),
        ("Who ran {} last month?", "2026-04-01", "2026-05-01", "Who ran {}?"),
        ("Who ran {} last week?", "2026-05-11", "2026-05-18", "Who ran {}?"),
        ("Two years ago {} was led by", "2024-01-01", "2025-01-01", "{} was led by"),
        ("10 days ago {} was led by", "2026-05-10", "2026-05-11", "{} was led by"),
        ("Yesterday {} was led by", "2026-05-19", "2026-05-20", "{} was led by"),
        ("Next year {} will be led by", "2027-01-01", "2028-01-01", "{} will be led by"),
        ("In 2030 {} will be led by", "2030-01-01", "2031-01-01", "{} will be led by"),
        ("At the end of 2019 {} was led by", "2019-12-31", "2020-01-01", "{} was led by"),
        ("In early 2019 {} was led by", "2019-01-01", "2019-05-02", "{} was led by"),
        ("In Q3 2019 {} was led by", "2019-07-01", "2019-10-01", "{} was led by"),
        ("In the summer of 2020 {} was in", "2020-06-01", "2020-09-01", "{} was in"),
        ("In the fiscal year 2023 {} earned", "2023-01-01", "2024-01-01", "{} earned"),
        ("ceo of {} 2019", "2019-01-01", "2020-01-01", "ceo of {}"),
        ("2019: the CEO of {} was", "2019-01-01", "2020-01-01", "the CEO of {} was"),
        ("The 2019 CEO of {} was", "2019-01-01", "2020-01-01", "The CEO of {} was"),
        ("At a meeting in 2019, {} chose", "2019-01-01", "2020-01-01", "At a meeting, {} chose"),
        ("Wer leitete {} im Jahr 2019?", "2019-01-01", "2020-01-01", "Wer leitete {}?"),
        ("Am 1. Mai 2021 war der Chef von {}", "2021-05-01", "2021-05-02", "war der Chef von {}"),
        ("Wer leitete {} vor zwei Jahren?", "2024-01-01", "2025-01-01", "Wer leitete {}?"),
        ("Wer leitete {} von 2015 bis 2017?", "2015-12-31", "2017-01-02", "Wer leitete {}?"),
        ("Letztes Jahr war der Chef von {}", "2025-01-01", "2026-01-01", "war der Chef von {}"),
        ("2019 war der Chef von {}", "2019-01-01", "2020-01-01", "war der Chef von {}"),
        ("Wer leitete {} bis 2003?", "2002-12-31", "2003-01-01", "Wer leitete {}?"),
        ("Qui dirigeait {} en mars 2020 ?", "2020-03-01", "2020-04-01", "Qui dirigeait {}?"),
        ("L’année dernière {} était à", "2025-01-01", "2026-01-01", "{} était à"),
        ("Qui dirigeait {} il y a deux ans ?", "2024-01-01", "2025-01-01", "Qui dirigeait {}?"),
        ("¿Quién dirigía {} en 2019?", "2019-01-01", "2020-01-01", "¿Quién dirigía {}?"),
        ("El año pasado {} era", "2025-01-01", "2026-01-01", "{} era"),
        ("2020年3月{}在", "2020-03-01", "2020-04-01", "{}在"),
        ("{}在2019年的总裁是", "2019-01-01", "2020-01-01", "{} 的总裁是"),
    ],
)
def test_a_time_is_a_period_and_can_be_taken_out(
    sentence: str, start: str, end: str, without: str
) -> None:
    assert periods(sentence) == [(start, end)]
    assert plain(sentence) == without
    assert tells_time(sentence)


@pytest.mark.parametrize(
    ("sentence", "without"),
    [
        ("Who runs {} today?", "Who runs {} today?"),
        ("Who currently runs {}?", "Who currently runs {}?"),
        ("Who runs {} these days?", "Who runs {} these days?"),
        ("As of now, {} is led by", "As of now, {} is led by"),
        ("Since March 2025 {} has been led by", "{} has been led by"),
        ("From 2019 onwards {} has been led by", "{} has been led by"),
        ("This year {} is led by", "{} is led by"),
        ("In 2026 {} is led by", "{} is led by"),
        ("In May 2026 {} is led by", "{} is led by"),
        ("Wer leitet {} derzeit?", "Wer leitet {} derzeit?"),
        ("Seit 2020 wird {} geleitet von", "wird {} geleitet von"),
        ("Depuis 2020 {} est à", "{} est à"),
        ("Desde 2020 {} está en", "{} está en"),
    ],
)
def test_what_means_the_present_is_told_as_such(sentence: str, without: str) -> None:
    assert periods(sentence) == [None]
    assert plain(sentence) == without
    assert tells_time(sentence) == (without != sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "Who runs {}?",
        "{} was founded in",
        "When did {} open?",
        # What has no date, or not all of one, or is a length of time.
        "Before the war {} was led by",
        "At launch the price of {} was",
        "In her youth {} lived in",
        "In May {} was led by",
        "A few years ago {} was led by",
        "In the last year {} has grown by",
        "In his last year {} lived in",
        "What was {}'s last year?",
        "In den letzten Jahren war {}",
        "2019年之前{}在",
        "5000 years ago {} was",
        "On 31.02.2020 {} was led by",
        "In 2015-16 {} was won by",
        # What is of an event, an insertion, another clause or a thing.
        "Born in 1950, {} lives in",
        "born in 1950, {} lives in",
        "{}, born in 1950, lives in",
        "{} was founded in 1987 by",
        "Who founded {} in 1987?",
        "Since its founding in 1987, {} has been based in",
        "{}, which was sold in 2019, is led by",
        "{} (listed in 2019) is led by",
        "The CEO of {}, elected in 2019, is",
        "Renamed in 1995, {} is owned by",
        "According to a report in 2021, the CEO of {} is",
        "As of my last update in September 2021, the CEO of {} is",
        "Who has led {} since the merger in 2019?",
        "Who directed the 1994 film {}?",
        "Who directed {} (1995)?",
        "the 2024 budget of {} is",
        # Numbers that are no years.
        "Is {} older than 1990?",
        "In 2000 words, who runs {}?",
        "{} grew by 12% in 1,950 shops of",
        "The model number of {} is A-2019",
    ],
)
def test_what_is_no_time_of_the_question_is_none(sentence: str) -> None:
    assert periods(sentence) == []
    assert plain(sentence) == sentence


def test_a_unit_of_the_calendar_is_told_from_other_periods() -> None:
    def period(sentence: str) -> Period | None:
        return times_told(sentence, TODAY)[0].period

    for sentence in ("in 2019 {}", "in March 2019 {}", "on 3 March 2019 {}", "last week {}"):
        found = period(sentence)
        assert found is not None
        assert (found.is_unit, found.is_open) == (True, True), sentence
    for sentence in ("in the 1990s {}", "throughout 2018 {}", "from 2015 to 2017 {}"):
        found = period(sentence)
        assert found is not None
        assert (found.is_unit, found.is_open) == (False, False), sentence
    after = period("after 2022 {}")
    assert after is not None
    assert (after.is_unit, after.is_open) == (False, True)


def test_the_words_of_a_time_are_those_of_its_date() -> None:
    (one,) = times_told("In the third quarter of 2020, {} sold", TODAY)
    assert one.words == {"third", "quarter", "2020"}
    (one,) = times_told("from March 2019 to May 2020 {} was led by", TODAY)
    assert one.words == {"march", "2019", "may", "2020"}


@given(st.dates(date(1000, 1, 1), date(2199, 12, 31)), st.sampled_from(["in", "as of", "during"]))
def test_every_day_is_read_however_it_is_written(day: date, link: str) -> None:
    month = day.strftime("%B")
    for shown in (f"{day}", f"{day.day} {month} {day.year}", f"{month} {day.day}, {day.year}"):
        told = times_told(f"Who ran {{}} {link} {shown}?", TODAY)
        if day != TODAY:
            assert [one.period.start for one in told if one.period] == [day], shown
        assert plain(f"Who ran {{}} {link} {shown}?") == "Who ran {}?"


@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    told = times_told(text, TODAY)
    assert all(0 <= one.start < one.end <= len(text) for one in told)
    assert without_times(text, [one for one in told if not one.words]) == text
