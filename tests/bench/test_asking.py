"""Answers of a model that reads facts, and what is made of them; batches equal one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from revisor.bench.asking import Bench, ask
from revisor.bench.cases import Case, Probe
from revisor.bench.completing import Completer
from revisor.bench.unedited import Unedited
from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel, wrap_model
from revisor.neuraldb.editing.request import asked_context
from revisor.neuraldb.editing.score import score_targets
from tests import tiny


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return wrap_model("tiny", tiny.taught(), tiny.byte_level())


@pytest.fixture(scope="module")
def bench(loaded: LoadedModel) -> Bench:
    return Bench(loaded=loaded)


class Says(Unedited):
    """A method that puts a text before every prompt."""

    name = "says"

    def __init__(self, text: str) -> None:
        self.text = text

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        return f"{self.text}{prompt}"


def says(bench: Bench, prompt: str) -> str:
    """What the model goes on with, greedily."""
    ids = bench.loaded.tokenizer(prompt)["input_ids"]
    return bench.completer.complete([ids], [4])[0].text


def probe(number: int, prompt: str, *wanted: str, **more: object) -> Probe:
    made = Probe(id=f"p{number}", case=f"c{number}", score="score", prompt=prompt, wanted=wanted)
    return replace(made, **more)  # type: ignore[arg-type]


PROMPTS = (
    "The capital of ACME is",
    "Who?",
    "Everybody knows that the tower, which is old, stands in",
    "Basel is",
)


def test_batched_cases_are_those_of_one_at_a_time(bench: Bench) -> None:
    probes = [
        probe(place, prompt, wanted, other=other, kind="holds")
        for place, (prompt, wanted, other) in enumerate(
            zip(PROMPTS, ("Vienna", "Rome", "a", "Bonn"), ("Rome", "b", "Cologne", "Tokyo"),
                strict=True)
        )
    ]  # fmt: skip
    together = ask(bench, Unedited(), probes, {})
    apart = [case for one in probes for case in ask(bench, Unedited(), [one], {})]
    assert together == apart


def test_loose_compares_mean_log_probabilities_of_all_tokens(bench: Bench) -> None:
    tokenizer = bench.loaded.tokenizer
    for prompt in PROMPTS:
        for wanted, other in (("Vienna", "a"), ("a", "b"), ("Cologne", "Vienna")):
            (case,) = ask(bench, Unedited(), [probe(0, prompt, wanted, other=other)], {})
            nll = [
                score.nll
                for score in score_targets(
                    bench.loaded,
                    [asked_context(tokenizer, prompt, text) for text in (wanted, other)],
                )
            ]
            assert case.values["score"] == float(nll[0] < nll[1])


def test_without_a_rival_the_share_of_right_tokens_counts(bench: Bench) -> None:
    tokenizer = bench.loaded.tokenizer
    prompt = PROMPTS[0]
    context = asked_context(tokenizer, prompt, "Vienna")
    (score,) = score_targets(bench.loaded, [context])
    right = sum(a == b for a, b in zip(score.said, context.target, strict=True))
    (case,) = ask(bench, Unedited(), [probe(0, prompt, "Vienna")], {})
    assert case.values["score"] == pytest.approx(right / len(context.target))


def test_strict_is_what_the_model_says(bench: Bench) -> None:
    for prompt in PROMPTS:
        word = says(bench, prompt).split()[0]
        right, wrong = probe(0, prompt, "nothing", word), probe(1, prompt, "nothing")
        cases = ask(bench, Unedited(), [right, wrong], {})
        assert [case.values["score_strict"] for case in cases] == [1.0, 0.0]


def test_denying_is_the_opposite_of_saying(bench: Bench) -> None:
    said = probe(0, PROMPTS[0], "Vienna", other="Rome")
    denied = replace(said, id="p1", kind="denies")
    first, second = ask(bench, Unedited(), [said, denied], {})
    assert {name: 1 - value for name, value in first.values.items()} == second.values


def test_kept_compares_with_the_unedited_model(bench: Bench) -> None:
    keep = [probe(i, prompt, kind="keeps", extra={"also": "kept"}) for i, prompt in
            enumerate(PROMPTS)]  # fmt: skip
    before = {case.probe: case for case in ask(bench, Unedited(), keep, {})}
    again = ask(bench, Unedited(), keep, before)
    assert all(set(case.values.values()) == {1.0} for case in again)
    assert set(again[0].values) == {"score", "score_strict", "kept", "kept_strict"}
    other = {name: replace(case, first=-5, answer="else") for name, case in before.items()}
    changed = ask(bench, Unedited(), keep, other)
    assert all(set(case.values.values()) == {0.0} for case in changed)


def test_a_method_may_reword_what_is_asked(bench: Bench) -> None:
    # The taught model says the object of the last mark it has read.
    mark = bench.loaded.tokenizer.decode([3 + tiny.OBJECTS.index("Tokyo")])
    (case,) = ask(bench, Says(mark), [probe(0, "Basel is", "Tokyo")], {})
    assert (case.method, case.values["score_strict"]) == ("says", 1.0)


def test_free_text_is_sampled_by_seed(bench: Bench) -> None:
    free = [probe(i, prompt, kind="open") for i, prompt in enumerate(PROMPTS)]
    first, second = (ask(bench, Unedited(), free, {}) for _ in range(2))
    assert first == second
    assert all(case.values["fluency"] >= 0 for case in first)
    bench_of_another_seed = replace(bench, seed=1)
    assert ask(bench_of_another_seed, Unedited(), free, {}) != first


def test_consistency_needs_a_reference(bench: Bench) -> None:
    free = probe(0, PROMPTS[0], kind="open", extra={"reference": "the tower"})
    (without,) = ask(bench, Unedited(), [free], {})
    assert set(without.values) == {"fluency"}
    (with_it,) = ask(replace(bench, idf={"the": 1.0, "tower": 2.0}), Unedited(), [free], {})
    assert set(with_it.values) == {"fluency", "consistency"}


def test_chat_goes_through_the_template_and_says_more(bench: Bench) -> None:
    word = says(bench, "[user] Basel is\n[assistant] ").split()[0]
    (case,) = ask(bench, Unedited(), [probe(0, "Basel is", word, chat=True)], {})
    assert case.values["score_strict"] == case.values["score_said"] == 1.0


class Scripted(torch.nn.Module):
    """Stands where a model's head was: says a script, whatever it reads."""

    def __init__(self, script: Sequence[int], size: int) -> None:
        super().__init__()
        self.script, self.weight = list(script), torch.nn.Parameter(torch.zeros(size, 1))
        self.step = 0

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:  # noqa: N803
        logits = torch.zeros(*hidden_BTD.shape[:2], len(self.weight))
        logits[..., self.script[min(self.step, len(self.script) - 1)]] = 1.0
        self.step += 1
        return logits


@pytest.mark.parametrize(
    ("text", "budget", "answer"),
    [
        ("\n\nRome\nParis", 40, "Rome"),  # blank lines before the answer are no stop
        ("Rome is old", 40, "Rome is old"),
        ("Rome is old", 1, "R"),
        ("Rome</s>Paris", 40, "Rome"),
    ],
)
def test_an_answer_ends_by_itself_or_with_its_budget(text: str, budget: int, answer: str) -> None:
    tokenizer = tiny.byte_level()
    model = tiny.new_model()
    script = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    model.set_output_embeddings(Scripted(script, tiny.VOCABULARY))
    completer = Completer(wrap_model("tiny", model, tokenizer))
    with nullcontext():
        said = completer.complete([[5, 6, 7], [5]], [budget, 1])
    assert said[0].text.strip() == answer or said[0].text.strip().startswith(answer)
    assert len(said[0].ids) <= budget
    assert len(said[1].ids) == 1


def test_cases_are_plain_data() -> None:
    case = Case(method="m", probe="p", case="c", values={"x": math.pi})
    assert (case.answer, case.first) == ("", -1)
