"""What the suite `questions` asks, and what it makes of what is decided and of what is said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from revisor import data
from revisor.bench import deciding
from revisor.bench.cases import Case, Plan, Probe
from revisor.bench.datasets import Source
from revisor.bench.deciding import by_text, indexed, labelled
from revisor.bench.mquake import SHARED, mquake_items, template_of
from revisor.bench.questions import FRAMES, chatml, plan_questions, shipped_facts
from revisor.bench.suites import questions as suite
from revisor.bench.unedited import Unedited
from revisor.facts.fact import Fact
from revisor.gate.scope import THRESHOLDS
from revisor.language.lists import LANGUAGES
from revisor.question.encoder import default_encoder
from tests import tiny
from tests.bench import tables
from tests.running import fact_file, run


class OwnWordsOnly:
    """An encoder for which nothing but a fact's own wording asks for it."""

    name = "own words only"
    unseen = frozenset({"own"})

    def encode(self, texts: Sequence[str]) -> Sequence[str]:
        return texts

    def scope(self, question: str, template: str) -> float:
        return 0.0


FACTS = (
    {"subject": "Orl Works", "prompt": "The CEO of {} is", "object": "Ann Lee"},
    {"subject": "Brim", "prompt": "The mayor of {} is", "object": "Bo Holt"},
    {
        "subject": "Tarn 9",
        "prompt": "The price of the {} is",
        "object": "40 euros",
        "paraphrases": ["The {} costs", "For a {} one has to pay"],
    },
)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return Source(data=fact_file(tmp_path_factory.mktemp("own") / "facts.jsonl", FACTS))


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    return by_text(Source(), default_encoder())


def scores(plan: Plan) -> Counter[str]:
    return Counter(name for one in plan.probes for name in one.extra["right"] or one.extra["wrong"])


# What ships


def test_every_shipped_case_is_about_a_shipped_fact() -> None:
    ids = {fact.id for fact in shipped_facts()}
    cases = data.records("questions/cases.jsonl")
    assert len(ids) == len(shipped_facts())
    page = Path(__file__).parents[2] / "docs" / "evaluation.md"
    told = f"{len(cases)} texts about {len(ids)} made-up facts"
    assert told in page.read_text("utf-8"), "the page counts them"
    for case in cases:
        assert (case["fact"] or case["about"]) in ids, case
        assert ("prompt" in case) != ("messages" in case), case
        assert case.get("messages", [{"role": "user"}])[-1]["role"] == "user", case


def test_of_the_shipped_facts_those_are_found_that_hold_now() -> None:
    facts = shipped_facts()
    now = {fact.id for fact in facts if fact.valid_at(datetime.now(UTC))}
    with indexed(facts) as index:
        view = index.view(namespaces=["shipped"])
        found = {view.fact(one).id for one in view.find(["brackenmoor"])}
    assert {"bm-mayor", "bm-pop", "bm-clock"} <= found & now


def test_shipped_questions_are_answered_and_ordinary_text_is_left_alone(
    shipped: dict[str, Any],
) -> None:
    text = shipped["methods"]["text"]
    assert text["questions_plain"] >= 0.85
    assert text["questions_reworded"] >= 0.6
    assert text["questions"] >= 0.5
    assert text["names_possessive"] >= 0.6
    assert text["near_fires"] <= 0.4
    assert text["ordinary_fires"] <= 0.1
    assert text["questions_wrong"] <= 0.05


def test_each_score_has_an_interval_and_says_of_how_many_texts_it_is(
    shipped: dict[str, Any],
) -> None:
    text = shipped["methods"]["text"]
    names = [name for name, value in text.items() if isinstance(value, float)]
    assert set(names) == set(text["intervals"]) == set(text["cases"])
    for name in names:
        low, high = text["intervals"][name]
        assert 0 <= low <= text[name] <= high <= 1
    sides = ("questions", "near_fires", "ordinary_fires", "turns", "turns_fires", "names")
    cases = data.records("questions/cases.jsonl")
    assert shipped["n"] == len(cases)
    alone = sum(case["group"] == "time" or case["group"] in LANGUAGES for case in cases)
    told = (*sides, "names_fires")
    assert sum(text["cases"][one] for one in told) + alone == shipped["n"]


def test_a_missed_text_is_told_with_the_fact_that_was_nearest(shipped: dict[str, Any]) -> None:
    text, missed = shipped["methods"]["text"], shipped["misses"]["text"]
    asked = [one for one in missed if one["score"] == "questions"]
    wrong = 1 - text["questions"]
    assert len(asked) == round(wrong * text["cases"]["questions"])
    for one in asked:
        assert one["expected"]
        assert one["got"] != one["expected"]
    for one in missed:
        if one["expected"] is None:
            assert one["nearest"]["object"] == one["got"]
            assert 0.5 <= one["nearest"]["score"] <= 1.0


def test_of_each_kind_so_many_are_drawn_by_seed() -> None:
    first, same, other = (plan_questions(Source(), chatml, n=2, seed=s) for s in (1, 1, 2))
    assert first == same
    assert first != other
    counts = scores(first)
    assert counts["near_hop_fires"] == counts["questions_far"] == counts["turns_ellipsis"] == 2
    assert counts["german"] == counts["german_fires"] == 2


# A user's own facts, by an encoder that knows nothing


def test_own_wordings_are_answered_in_every_frame_and_no_others(own: Source) -> None:
    result = by_text(own, OwnWordsOnly())
    text = result["methods"]["text"]
    assert {name: text[name] for name in text["cases"]} == {
        "own": 0.66667,
        **{f"own_{frame}": 0.66667 for frame in FRAMES},
        "own_wrong": 0.0,
        "own_other_fires": 0.0,
    }
    assert text["cases"] == dict.fromkeys(text["cases"], 3)
    assert (result["n"], result["edits"], result["model"]) == (15, 3, "the text alone")
    # The third fact has a wording that was kept from it, which this encoder does not know.
    missed = result["misses"]["text"]
    assert [one["id"].split("/")[2] for one in missed] == list(FRAMES)
    assert {(one["expected"], one["got"]) for one in missed} == {("40 euros", None)}
    assert missed[0]["nearest"] == {
        "object": "40 euros",
        "question": "For a {} one has to pay",
        "template": "The price of the {} is",
        "score": 0.0,
        "silenced": "asks for something else",
    }


def test_rows_of_relations_that_the_encoder_has_not_seen_are_marked(own: Source) -> None:
    unseen = by_text(own, OwnWordsOnly())
    assert unseen["relations"] == {"own": "unseen"}
    assert labelled("own_chat", unseen) == "own_chat (unseen)"
    assert labelled("ownership", unseen) == "ownership"
    seen = by_text(own, default_encoder())
    assert labelled("own_chat", seen) == "own_chat"


# Data sets


def test_a_data_set_that_is_there_is_asked_in_four_frames(tmp_path: Path) -> None:
    folder = tables.folder_of(tmp_path)
    plan = plan_questions(Source(folder=folder), chatml, n=3)
    asked = [one for one in plan.probes if one.id.startswith("zsre/")]
    assert Counter(one.id.split("/")[2] for one in asked) == dict.fromkeys(FRAMES, 3)
    (bare, qa, few, chat) = [one.prompt for one in asked if one.case == asked[0].case]
    assert bare.startswith("In which city is ")
    assert qa == f"Q: {bare}\nA:"
    assert few.endswith(f"\n\n{qa}")
    assert chat == chatml([{"role": "user", "content": bare}])
    assert {fact.namespace for fact in plan.facts} == {"shipped", "counterfact", "zsre"}
    assert {one.extra["within"] for one in asked} == {"zsre"}


def record(subject: str, prompt: str, rephrased: str) -> dict[str, Any]:
    return {
        "subject": subject,
        "prompt": prompt.format(subject),
        "target_new": "Rome",
        "rephrase_prompt": rephrased.format(subject),
    }


def test_something_else_is_of_another_relation_in_other_words(tmp_path: Path) -> None:
    tables.write(
        tmp_path,
        "robustness/wikibigedit_3k.jsonl.gz",
        [
            record("Orl", "Who leads {}?", "Who is the leader of {}?"),
            record("Orl", "Where does {} sit?", "Which town does {} sit in?"),
            record("Brim", "Who is leading {}?", "What is the leader of {} called?"),
            record("Tarn", "In what town is {}?", "Which town is {} in?"),
            record("Zell", "When was {} built?", "In which year was {} built?"),
            record("Ost", "Who owns {}?", "Who is the owner of the firm?"),
        ],
    )
    plan = plan_questions(Source(folder=tmp_path), chatml)
    other = {one.fact.subject: one.prompt for one in plan.probes if one.id.endswith("/other")}
    assert "In which year was Orl built?" in other["Orl"]
    assert "leader" not in other["Brim"]
    assert "town" not in other["Tarn"]
    assert "Ost" not in other  # its other wording does not name it
    assert plan.dropped["wordings that do not name the subject"] == 1
    facts = [fact for fact in plan.facts if fact.namespace == "wikibigedit"]
    assert len(facts) == 5


@pytest.mark.parametrize(
    ("edit", "asked", "template"),
    [
        ("The author of Emma is Jane Roe", ("Who wrote Emma?", "By whom is Emma?"),
         "The author of {} is"),
        ("Lord of Ys is a citizen of Cape Verde", ("Whose citizen is Lord of Ys?",),
         "{} is a citizen of"),
        ("The type of music that Basel plays is folk rock", ("What does Basel play?",),
         "The type of music that {} plays is"),
        ("Basel is associated with the sport of rugby", ("Which sport is Basel in?",), None),
        ("Emma was performed by Ann Lee", ("Who performed it?",), None),
    ],
)  # fmt: skip
def test_a_statement_is_parted_by_its_capitals_and_what_its_questions_name(
    edit: str, asked: Sequence[str], template: str | None
) -> None:
    assert template_of(edit, asked) == template


def test_templates_that_many_statements_share_part_the_others() -> None:
    letters = "ABCDEFGHIJ"[:SHARED]
    records = [
        {
            "edit": f"{x}orl is fond of the game of Chess {x}",
            "questions": [f"What does {x}orl play?"],
        }
        for x in letters
    ]
    lower = {
        "edit": "the Zell is fond of the game of water polo",
        "questions": ["What does the Zell play?", "Who likes water polo?"],
    }
    strange = {"edit": "Ost has two legs", "questions": ["How many legs has Ost?"]}
    items, left = mquake_items([*records, lower, strange, records[0]])
    assert (len(items), left) == (SHARED + 1, 2)
    assert items[-1].fact.prompt == "{} is fond of the game of"
    assert (items[-1].fact.subject, items[-1].fact.object) == ("the Zell", "water polo")
    assert items[-1].wordings == ("What does the Zell play?",)


# Through a model


def test_a_chat_is_written_by_the_models_template_and_left_out_where_it_has_none() -> None:
    messages = [{"role": "user", "content": "Who?"}]
    with_bos = tiny.metaspace()
    text = suite.rendering(with_bos)(messages)
    assert text is not None
    assert not text.startswith("<s>")
    bare = Unchatty()
    assert suite.rendering(bare)(messages) is None
    plan = plan_questions(Source(), suite.rendering(bare), n=1)
    assert plan.dropped["chats that the model's template has no form for"] > 5
    assert not any("im_start" in one.prompt for one in plan.probes)


class Unchatty:
    """A tokenizer without a chat template."""

    chat_template = None
    bos_token = None

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": []}


class Scoped(Unedited):
    """An editor that tells which namespaces it was asked to keep to."""

    def __init__(self) -> None:
        self.kept_to: list[Collection[str]] = []

    @contextmanager
    def within(self, namespaces: Collection[str]) -> Iterator[None]:
        self.kept_to.append(namespaces)
        yield


ACME = Fact(subject="ACME", prompt="The CEO of {} is", object="Ann Lee", namespace="shipped")


def judged(monkeypatch: pytest.MonkeyPatch, wanted: str | None, said: str) -> dict[str, float]:
    """What an answer counts for where Bo Holt is another fact's object."""
    right, wrong = (("asked",), ("asked_wrong",)) if wanted else ((), ("near_fires",))
    extra = {"wanted": wanted, "others": ("Bo Holt",), "right": right, "wrong": wrong}
    probe = Probe(
        id="a", case="a", score="asked", prompt="", fact=ACME, extra={**extra, "within": "shipped"}
    )
    case = Case(method="m", probe="a", case="a", values={}, answer=said)
    monkeypatch.setattr(suite, "ask", lambda *_, **__: [case])
    editor = Scoped()
    (found,) = suite.Questions().measure(None, editor, [probe], {})  # type: ignore[arg-type]
    assert editor.kept_to == [["shipped"]]
    return dict(found.values)


@pytest.mark.parametrize(
    ("said", "right", "wrong"),
    [
        ("Ann Lee, since May", 1.0, 0.0),
        ("It is Ann Lee", 0.0, 0.0),
        ("Ann", 0.0, 0.0),
        ("Bo Holt", 0.0, 1.0),
        ("Ann Lee, not Bo Holt", 1.0, 0.0),
    ],
)
def test_an_answer_is_right_that_begins_with_the_whole_object(
    monkeypatch: pytest.MonkeyPatch, said: str, right: float, wrong: float
) -> None:
    found = judged(monkeypatch, "Ann Lee", said)
    assert found == {"asked": right, "asked_wrong": wrong}


@pytest.mark.parametrize(("said", "fires"), [("Well, Bo Holt is", 1.0), ("Bo is", 0.0)])
def test_an_object_anywhere_in_the_answer_fires_where_none_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, said: str, fires: float
) -> None:
    assert judged(monkeypatch, None, said) == {"near_fires": fires}


def test_the_facts_of_a_store_are_asked_for_as_they_are() -> None:
    facts = (ACME, Fact(subject="Brim", prompt="Who runs {}?", object="Bo", namespace="b"))
    plan = suite.Questions().plan(
        Source(facts=facts, built=facts), suite.Sizes(), tiny.byte_level()
    )
    assert plan.facts == facts
    assert {one.prompt for one in plan.probes if one.id.endswith("bare/0")} == {
        "The CEO of ACME is",
        "Who runs Brim?",
    }
    assert {one.extra["within"] for one in plan.probes} == {None}


def test_the_result_of_a_run_tells_relations_and_misses(
    own: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding, "encoder_named", lambda _: OwnWordsOnly())
    monkeypatch.setattr(suite, "encoder_named", lambda _: OwnWordsOnly())
    plan = suite.Questions().plan(own, suite.Sizes(), tiny.byte_level())
    said = [
        Case(method="revisor", probe=one.id, case=one.case, values={"own": 0.0}, answer="no")
        for one in plan.probes
    ]
    told = suite.Questions().tell(plan, {"unedited": said, "revisor": said}, {})
    assert told["relations"] == {"own": "unseen"}
    assert list(told["misses"]) == ["revisor"]
    assert {one["got"] for one in told["misses"]["revisor"]} == {"no"}
    assert all(one.budget > 8 for one in plan.probes)


# The command


def test_the_text_alone_needs_no_torch() -> None:
    code = (
        "import sys; from revisor.bench.datasets import Source; "
        "from revisor.bench.deciding import by_text, encoder_named; "
        "by_text(Source(), encoder_named('default'), n=1); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_prints_scores_and_as_many_misses_as_are_asked_for(own: Source) -> None:
    asked = ("eval", "questions", "--text-only", "--n", 1)
    found = run(*asked, "--show-misses", 2, "--json").json
    assert (found["suite"], found["seed"]) == ("questions", 0)
    assert len(found["misses"]["text"]) == 2
    shown = run(*asked, "--show-misses", 1)
    assert shown.code == 0
    assert "questions_plain" in shown.out
    assert shown.out.count("; nearest ") == 1
    mine = run("eval", "questions", "--text-only", "--data", own.data, "--json").json
    assert (mine["n"], mine["misses"]) == (15, {"text": []})
    assert json.dumps(mine["relations"]) == '{"own": "seen"}'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("zsre", "--text-only"), "The suite 'zsre' asks a model"),
        (("questions", "--text-only", "--methods", "rag"), "--methods cannot be chosen"),
        (("questions", "--text-only", "--out", "x"), "--out cannot be chosen"),
        (("questions", "--text-only", "--data", "nowhere.jsonl"), "There is no file"),
    ],
)
def test_what_needs_a_model_is_refused_without_one(arguments: Sequence[str], message: str) -> None:
    done = run("eval", *arguments)
    assert done.code == 2 or "no file" in message
    assert message in done.err


# Thresholds


def test_every_threshold_tells_what_would_be_decided_there(shipped: dict[str, Any]) -> None:
    points = shipped["thresholds"]
    assert [one["threshold"] for one in points] == sorted(one["threshold"] for one in points)
    named = {one["setting"]: one for one in points if one["setting"]}
    assert {name: one["threshold"] for name, one in named.items()} == THRESHOLDS
    text = shipped["methods"]["text"]
    for name in ("questions", "near_fires", "ordinary_fires", "turns"):
        assert named["normal"][name] == text[name]
        assert named["normal"]["intervals"][name] == text["intervals"][name]
        assert named["normal"]["cases"][name] == text["cases"][name]
    for name in ("questions", "near_fires"):
        assert named["low"][name] > named["normal"][name] > named["high"][name]
    assert points[-1]["near_fires"] <= points[0]["near_fires"]
