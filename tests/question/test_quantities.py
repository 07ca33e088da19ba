"""Quantities in objects, and those that questions ask for."""

from __future__ import annotations

import pytest

from revisor.question.kinds import fits
from revisor.question.quantities import told_by


@pytest.mark.parametrize(
    ("obj", "kinds"),
    [
        ("14 km", {"length"}),
        ("14 km (20 minutes)", {"length", "duration"}),
        ("two weeks", {"duration"}),
        ("30-day", {"duration"}),
        ("\u20ac299", {"money"}),
        ("EUR 500", {"money"}),
        ("3 million US dollars", {"money"}),
        ("3 Millionen Euro", {"money"}),
        ("2 to 8 \u00b0C", {"temperature"}),
        ("6 square metres", {"area"}),
        ("60 m\u00b2", {"area"}),
        ("120 km/h", {"speed"}),
        ("100\u516c\u65a4", {"mass"}),
        ("5 lbs", {"mass"}),
        ("3 May 2021", set()),
        ("Platform 9", set()),
        ("the 7 hills", set()),
        ("5, Main Street", set()),
        ("200 Second Avenue", set()),
        ("30 Seconds to Mars", set()),
        ("12 dollars a month", {"money"}),
        ("10 am, admission 5 euros", set()),
        ("60 miles per hour", set()),
        ("half an inch", set()),
        ("20 \u20ac for 2 hours", {"money", "duration"}),
        ("1987", set()),
    ],
)
def test_a_unit_behind_a_number_tells_what_it_measures(obj: str, kinds: set[str]) -> None:
    assert told_by(obj) == kinds


@pytest.mark.parametrize(
    ("question", "obj"),
    [
        ("How long does the shuttle from {} take?", "14 km"),
        ("How many files can I send with {} at once?", "2 GB"),
        ("What torque does {} deliver?", "4,500 rpm"),
        ("How many amps does {} draw?", "400 V"),
        ("What is the salary at {}?", "28 days"),
        ("Wie schwer ist {}?", "299 Euro"),
        ("Combien de temps dure {} ?", "14 km"),
    ],
)
def test_a_quantity_of_another_kind_does_not_answer(question: str, obj: str) -> None:
    assert not fits(question, obj)


@pytest.mark.parametrize(
    ("question", "obj"),
    [
        ("How long is {}?", "14 km"),
        ("How long is {}?", "90 minutes"),
        ("How much is {} when paid annually?", "99 euros"),
        ("When should {} be serviced?", "every 15,000 km"),
        ("How much does the height-adjustable desk {} cost?", "499 euros"),
        ("What is the fee for cancelling {}?", "one night"),
        ("What is the address of {}?", "200 Second Avenue"),
        ("How long is the warranty on the pressure washer {}?", "3 years"),
        ("How fast is {}?", "60 miles per hour"),
        ("How far is {}?", "20 minutes by train"),
        ("How many cubic metres fit into {}?", "6.4 m\u00b3"),
        ("How many pills of {} do I take?", "one 250 mg tablet twice a day"),
        ("How many holidays does {} give?", "28 days"),
        ("How many milliamp-hours does {} hold?", "4,310 mAh"),
        ("I forget the name, but how much can {} carry?", "5 kg"),
        ("What does {} cost?", "1.5% of the amount"),
        ("Combien de temps l'{} est-il garanti ?", "30 months"),
        ("Wie viele Kilo wiegt {}?", "5 kg"),
    ],
)
def test_a_quantity_of_the_kind_that_is_asked_for_does(question: str, obj: str) -> None:
    assert fits(question, obj)
