"""What every method must do, whatever its mathematics: say the facts, and leave no trace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from revisor.bench.methods.registry import make_editor
from revisor.bench.protocol import Editor
from revisor.errors import NotSupported
from revisor.models.load import LoadedModel, wrap_model
from revisor.neuraldb.editing.request import ContextPlan, make_requests
from revisor.neuraldb.editing.score import Score, score_targets
from tests import tiny

# The residual must lie below the one layer of a taught model that has learnt to read.
BELOW = {"layers": [0, 1], "prefixed": 0, "moment_tokens": 4000}
MODEST: dict[str, dict[str, Any]] = {
    "memit": BELOW | {"weight": 0.1},
    "memit-seq": BELOW | {"weight": 0.1, "batch": 3},
    "rect": BELOW | {"weight": 0.1, "keep": 0.95},
    "alphaedit": BELOW | {"batch": 3},
    "rome": {"layer": 0, "prefixed": 0, "moment_tokens": 4000},
    "ft": {"layer": 1, "rate": 0.1},
    "retrain": {"rate": 1e-2},
    "lora": {"rank": 4, "rate": 1e-2},
    "grace": {"layer": 1},
    "ultraedit": {"layers": [2], "rate": 3.0},
}
IN_WEIGHTS = ("memit", "memit-seq", "rect", "alphaedit", "rome", "ft", "retrain", "lora")
# A random GPT-2 has keys so alike that least squares cannot tell six facts apart: there the losses
# fall, but not every object is said. That its transposed weights are right, test_locate.py shows.
LOCATING = ("memit", "memit-seq", "rect", "alphaedit", "rome")
FAMILIES = ("llama", "gpt2")  # gpt2 has Conv1D, whose weights are transposed
# A weight can tell many keys apart only where they are wide.
WIDE = {"llama": {"intermediate_size": 1024}, "gpt2": {"n_inner": 1024}}
PLAIN = ContextPlan(wordings=0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVISOR_CACHE", str(tmp_path_factory.getbasetemp() / "editors-cache"))


def taught(family: str) -> LoadedModel:
    return wrap_model(f"tiny-{family}", tiny.taught(family, **WIDE[family]), tiny.byte_level())


def edit(name: str, family: str = "llama", **options: Any) -> Editor:
    loaded = taught(family)
    chosen = MODEST.get(name, {}) | options
    return make_editor(name, loaded, chosen)


def scores(family: str, editor: Editor) -> list[Score]:
    """Each fact's object after its own bare prompt, while attached."""
    loaded = taught(family)
    contexts = [r.contexts[0] for r in make_requests(tiny.FACTS, loaded.tokenizer, PLAIN)]
    with editor.attached():
        return score_targets(loaded, contexts)


def falls(before: list[Score], after: list[Score]) -> int:
    """How many facts are said, or lose less than half of what they did."""
    return sum(a.greedy or a.nll < 0.5 * b.nll for a, b in zip(after, before, strict=True))


def logits(family: str) -> torch.Tensor:
    ids = torch.tensor([tiny.byte_level()("The capital of ACME is")["input_ids"]])
    with torch.no_grad():
        found: torch.Tensor = taught(family).model(input_ids=ids).logits
    return found


@pytest.fixture(params=FAMILIES)
def untouched(request: pytest.FixtureRequest) -> Iterator[str]:
    """A family whose model must be, after the test, what it was before it, bit for bit."""
    model = taught(request.param).model
    places = {name: (p, p.data_ptr(), p.clone(), p.grad) for name, p in model.named_parameters()}
    modules, hooks, before = list(model.modules()), tiny.wide_hooks(model), logits(request.param)
    attributes = set(vars(model))
    yield str(request.param)
    after = dict(model.named_parameters())
    assert after.keys() == places.keys()
    for name, (parameter, pointer, value, grad) in places.items():
        assert after[name] is parameter
        assert parameter.data_ptr() == pointer
        assert torch.equal(parameter, value)
        assert not parameter.requires_grad
        assert parameter.grad is grad
    assert [id(m) for m in model.modules()] == [id(m) for m in modules]
    assert tiny.wide_hooks(model) == hooks
    assert set(vars(model)) == attributes
    assert torch.equal(logits(request.param), before)


@pytest.mark.parametrize("name", [n for n in MODEST if n != "ultraedit"])
def test_most_facts_are_said_while_attached_and_the_model_is_its_own_afterwards(
    name: str, untouched: str
) -> None:
    editor = edit(name, untouched)
    base = scores(untouched, editor)
    failed = editor.fit(tiny.FACTS)
    said = scores(untouched, editor)
    assert falls(base, said) >= 4
    if untouched == "llama" or name not in LOCATING:
        assert sum(score.greedy for score in base) <= 1
        assert sum(score.greedy for score in said) >= 4
    assert {failure.fact_id for failure in failed} == {
        fact.id for fact, score in zip(tiny.FACTS, said, strict=True) if not score.greedy
    }
    assert scores(untouched, editor) == said
    assert editor.stored_bytes > 0
    assert editor.reword("The capital of ACME is", tiny.FACTS[0]) == "The capital of ACME is"


def test_ultraedit_lowers_the_loss_of_its_facts_without_a_trace(untouched: str) -> None:
    editor = edit("ultraedit", untouched)
    before = scores(untouched, editor)
    editor.fit(tiny.FACTS)
    after = scores(untouched, editor)
    assert sum(a.nll < b.nll for a, b in zip(after, before, strict=True)) >= 4
    assert sum(s.nll for s in after) < 0.8 * sum(s.nll for s in before)


@pytest.mark.parametrize("name", ["memit-seq", "alphaedit", "ft", "lora", "grace"])
def test_a_second_fit_adds_to_the_first(name: str, untouched: str) -> None:
    editor = edit(name, untouched)
    base = scores(untouched, editor)
    editor.fit(tiny.FACTS[:3])
    first = scores(untouched, editor)
    assert falls(base[:3], first[:3]) >= 2
    editor.fit(tiny.FACTS[3:])
    second = scores(untouched, editor)
    assert falls(base[3:], second[3:]) >= 2
    assert sum(s.nll for s in second[3:]) < sum(s.nll for s in first[3:])


@pytest.mark.parametrize("name", [*IN_WEIGHTS, "ultraedit"])
def test_what_is_in_the_weights_cannot_be_undone_and_the_error_says_what_can(name: str) -> None:
    with pytest.raises(NotSupported, match="Fit a new editor"):
        edit(name).undo([tiny.FACTS[0].id])


@pytest.mark.parametrize("name", ["memit", "ft", "lora", "grace", "icl", "rag"])
def test_no_facts_are_no_change(name: str, untouched: str) -> None:
    editor = edit(name, untouched)
    before = logits(untouched)
    assert editor.fit([]) == []
    with editor.attached():
        assert torch.equal(logits(untouched), before)


@pytest.mark.parametrize("name", ["memit", "retrain", "lora", "grace"])
def test_an_error_while_attached_leaves_no_trace_either(name: str, untouched: str) -> None:
    editor = edit(name, untouched)
    editor.fit(tiny.FACTS[:2])
    with pytest.raises(KeyboardInterrupt), editor.attached():
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["memit", "ft", "lora"])
def test_the_same_facts_make_the_same_model_again(name: str) -> None:
    found = []
    for _ in range(2):
        editor = edit(name)
        editor.fit(tiny.FACTS[:3])
        with editor.attached():
            found.append(logits("llama"))
    assert torch.equal(*found)


@pytest.mark.parametrize("name", ["memit", "ft", "lora", "grace"])
def test_attaching_twice_at_once_is_attaching_once(name: str, untouched: str) -> None:
    editor = edit(name, untouched)
    editor.fit(tiny.FACTS[:2])
    with editor.attached():
        once = logits(untouched)
    if name != "grace":  # whose second hook would see the first one's output: the same values
        with editor.attached(), editor.attached():
            assert torch.equal(logits(untouched), once)
