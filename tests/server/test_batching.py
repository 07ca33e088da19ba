"""Requests that join and leave a batch: each gets what it would get alone, with its own facts."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.errors import UsageError
from revisor.gate.gate import FactGate
from revisor.models.load import LoadedModel
from revisor.server import batching
from revisor.server.batching import Scheduler
from revisor.server.job import Awaited, Closing, Job, Piece, QueueFull
from revisor.server.sampling import Sampling
from revisor.store import Store
from tests import tiny
from tests.server.conftest import ACME, BASEL, UNRELATED

GREEDY = Sampling(temperature=0)


class Asked:
    """A job and what came of it."""

    def __init__(self, prompt: str, gate: FactGate | None, tokens: int = 8, **more: Any) -> None:
        self.pieces: queue.Queue[Piece] = queue.Queue()
        self.job = Job(
            prompt=tiny.byte_level()(prompt)["input_ids"],
            gate=gate,
            sampling=more.pop("sampling", GREEDY),
            max_tokens=tokens,
            tell=self.pieces.put,
            **more,
        )

    def all(self) -> list[list[Piece]]:
        """The pieces of every answer."""
        found: list[list[Piece]] = [[] for _ in range(self.job.choices)]
        left = self.job.choices
        while left:
            piece = self.pieces.get(timeout=60)
            found[piece.choice].append(piece)
            left -= piece.reason is not None
        return found

    def text(self) -> str:
        return "".join(piece.text for piece in self.all()[0])

    def ids(self) -> list[int]:
        return [piece.chosen.token for piece in self.all()[0] if piece.chosen]


@pytest.fixture(scope="module")
def opened(whole_store: Path) -> Iterator[Store]:
    with Store.open(whole_store) as store:
        yield store


@pytest.fixture(scope="module")
def gate(opened: Store) -> FactGate:
    view = opened.index.view()
    return replace(opened.gate(), view=lambda: view)


@pytest.fixture
def scheduler(opened: Store) -> Iterator[Scheduler]:
    with Scheduler(opened.loaded) as running:
        yield running


def plain(loaded: LoadedModel, prompt: str, count: int = 8) -> list[int]:
    """What transformers alone makes of one prompt, without an end."""
    ids = torch.tensor([loaded.tokenizer(prompt)["input_ids"]])
    model: Any = loaded.model
    out = model.generate(ids, max_new_tokens=count, do_sample=False, pad_token_id=0)
    made = out[0, ids.shape[1] :].tolist()
    return made[: made.index(2)] if 2 in made else made


PROMPTS = (
    "The river Rhine",
    "Where is the Eiffel Tower? The tower stands in the city of",
    "A",
    "Question and answer: who wrote the book? It is a novel by",
    "Her mother tongue is",
)


def test_every_family_answers_a_changing_batch_as_each_prompt_alone(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "PREFILL_TOKENS", 7)  # so that prompts are read in pieces
    loaded = LoadedModel(name=family, model=tiny.model(family), tokenizer=tiny.byte_level())
    lengths = (12, 3, 9, 5, 14)  # so that rows join and leave at different steps
    with Scheduler(loaded, max_batch=3) as scheduler:
        asked = [Asked(p, None, n) for p, n in zip(PROMPTS, lengths, strict=True)]
        for one in asked:
            scheduler.submit(one.job)
        for one, prompt, length in zip(asked, PROMPTS, lengths, strict=True):
            assert one.ids() == plain(loaded, prompt, length), prompt


def test_rows_of_one_batch_have_facts_of_their_own(scheduler: Scheduler, gate: FactGate) -> None:
    with_facts, without = Asked(ACME.text, gate), Asked(ACME.text, None)
    other = Asked(BASEL.text, gate)
    scheduler.submit(with_facts.job, without.job, other.job)
    assert with_facts.text().startswith(" Vienna")
    assert without.ids() == plain(scheduler.loaded, ACME.text)
    assert other.text().startswith(" Rome")
    (written,) = with_facts.job.written[0]
    assert (written.used.fact_id, written.namespace) == (ACME.id, "default")
    assert written.used.position == len(with_facts.job.prompt)
    assert without.job.written == [()]


def test_what_follows_an_object_is_the_models_own_on_that_text(
    scheduler: Scheduler, gate: FactGate
) -> None:
    asked = Asked(ACME.text, gate)
    scheduler.submit(asked.job)
    ids = asked.ids()
    end = asked.job.written[0][0].end - len(asked.job.prompt)
    text = scheduler.loaded.tokenizer.decode([*asked.job.prompt, *ids[:end]])
    assert text == f"{ACME.text} {ACME.object}"
    # A token that would carry the object's last word on is held back once; then all is the model's.
    assert (
        ids[end + 1 :]
        == plain(
            scheduler.loaded,
            scheduler.loaded.tokenizer.decode([*asked.job.prompt, *ids[: end + 1]]),
        )[: len(ids) - end - 1]
    )


def test_rows_without_facts_keep_the_very_logits_of_the_unedited_model(
    opened: Store, gate: FactGate
) -> None:
    found: dict[bool, list[tuple[int, float]]] = {}
    for gated in (False, True):
        with Scheduler(opened.loaded) as scheduler:
            sampling = Sampling(temperature=0, logprobs=0)
            quiet = Asked(UNRELATED, gate if gated else None, sampling=sampling)
            beside = Asked(BASEL.text, None, sampling=sampling)
            scheduler.submit(beside.job, quiet.job)
            found[gated] = [
                (piece.chosen.token, piece.chosen.logprob or 0.0)
                for piece in quiet.all()[0]
                if piece.chosen
            ]
    assert found[True] == found[False]


def test_two_answers_share_their_prompt_and_differ_by_their_seed(scheduler: Scheduler) -> None:
    hot = Sampling(temperature=2.0, seed=7)
    one = Asked(UNRELATED, None, 12, sampling=hot, choices=2)
    again = Asked(UNRELATED, None, 12, sampling=hot, choices=2)
    scheduler.submit(one.job)
    first = one.all()
    scheduler.submit(again.job)
    assert again.all() == first
    assert [p.chosen for p in first[0]] != [p.chosen for p in first[1]]


def test_every_answer_of_a_prompt_has_the_fact_once(scheduler: Scheduler, gate: FactGate) -> None:
    hot = Sampling(temperature=2.0, seed=1)
    asked = Asked(ACME.text, gate, 10, sampling=hot, choices=3)
    scheduler.submit(asked.job)
    for choice, pieces in enumerate(asked.all()):
        assert "".join(piece.text for piece in pieces).startswith(" Vienna")
        assert [one.used.fact_id for one in asked.job.written[choice]] == [ACME.id]


def test_an_answer_ends_before_its_stop_string(scheduler: Scheduler, gate: FactGate) -> None:
    cut = Asked(ACME.text, gate, 12, stop=["nna"])
    scheduler.submit(cut.job)
    pieces = cut.all()[0]
    assert "".join(piece.text for piece in pieces) == " Vie"
    assert pieces[-1].reason == "stop"


def slowly(one: Asked, seconds: float) -> Asked:
    """Each piece of this answer holds the model's thread up."""
    tell = one.job.tell
    one.job.tell = lambda piece: (threading.Event().wait(seconds), tell(piece))[1]
    return one


def test_the_queue_has_a_bound_and_says_so(opened: Store) -> None:
    with Scheduler(opened.loaded, max_batch=1, max_waiting=4) as scheduler:
        slow = slowly(Asked(UNRELATED, None, 12), 0.05)
        scheduler.submit(slow.job)
        slow.pieces.get(timeout=60)
        waiting = [Asked(UNRELATED, None, 1, owner=f"key {n}") for n in range(4)]
        for one in waiting[:2]:
            scheduler.submit(one.job)
        with pytest.raises(QueueFull, match="at most 4"):
            scheduler.submit(Asked(UNRELATED, None, 1, choices=3).job)
        scheduler.submit(Asked(UNRELATED, None, 1, owner="key 0").job)
        with pytest.raises(QueueFull, match="of one key"):
            scheduler.submit(Asked(UNRELATED, None, 1, owner="key 0").job)
        with pytest.raises(UsageError, match="5 answers"):
            scheduler.submit(Asked(UNRELATED, None, 1, choices=5).job)
        for one in waiting[:2]:
            assert len(one.ids()) == 1


def test_what_asks_for_more_memory_than_there_is_is_refused(opened: Store) -> None:
    with (
        Scheduler(opened.loaded, max_cached=60) as scheduler,
        pytest.raises(UsageError, match="there are 60"),
    ):
        scheduler.submit(Asked("A", None, 30, choices=2).job)


def test_answers_wait_for_memory_and_all_are_given(opened: Store) -> None:
    with Scheduler(opened.loaded, max_cached=40) as scheduler:
        asked = [Asked("A", None, 20) for _ in range(4)]
        scheduler.submit(*(one.job for one in asked))
        most = 0
        while any(one.job.ended_at == 0 for one in asked):
            most = max(most, scheduler.running)
        assert most <= 2
        assert all(one.ids() for one in asked)


def test_a_cancelled_answer_leaves_and_the_others_go_on(opened: Store) -> None:
    with Scheduler(opened.loaded) as scheduler:
        leaver, stayer = slowly(Asked(PROMPTS[0], None, 100), 0.01), Asked(PROMPTS[1], None, 20)
        scheduler.submit(leaver.job)
        scheduler.submit(stayer.job)
        leaver.pieces.get(timeout=60)
        leaver.job.cancelled = True
        assert stayer.ids() == plain(opened.loaded, PROMPTS[1], 20)
        assert leaver.all()[0][-1].reason in ("cancelled", "stop")


def test_closing_finishes_what_runs_and_refuses_what_comes(opened: Store) -> None:
    scheduler = Scheduler(opened.loaded).start()
    running = Asked(PROMPTS[0], None, 20)
    scheduler.submit(running.job)
    closer = threading.Thread(target=scheduler.close)
    closer.start()
    assert running.ids() == plain(opened.loaded, PROMPTS[0], 20)
    closer.join(30)
    assert not scheduler.alive
    with pytest.raises(Closing):
        scheduler.submit(Asked(PROMPTS[0], None).job)


def test_closing_has_a_bound_even_if_the_model_hangs(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "GRACE_S", 0.2)
    hang, forward = threading.Event(), opened.loaded.model.forward

    def hanging(**arguments: Any) -> Any:
        hang.wait(20)
        return forward(**arguments)

    monkeypatch.setattr(opened.loaded.model, "forward", hanging)
    scheduler = Scheduler(opened.loaded).start()
    asked, behind = Asked(PROMPTS[0], None, 100), Asked(PROMPTS[1], None, choices=2)
    scheduler.submit(asked.job)
    scheduler.submit(behind.job)
    began = time.monotonic()
    scheduler.close(patience_s=0.1)
    assert time.monotonic() - began < 5
    assert asked.all()[0][-1].reason == "cancelled"
    assert [pieces[-1].reason for pieces in behind.all()] == ["cancelled", "cancelled"]
    hang.set()


def test_a_step_that_fails_ends_its_answers_and_the_next_request_is_served(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Scheduler(opened.loaded) as scheduler:
        forward = opened.loaded.model.forward
        monkeypatch.setattr(
            opened.loaded.model, "forward", lambda **_: (_ for _ in ()).throw(MemoryError("full"))
        )
        broken = Asked(PROMPTS[0], None)
        scheduler.submit(broken.job)
        assert broken.all()[0][-1].reason == "error"
        assert "MemoryError" in scheduler.fault
        monkeypatch.setattr(opened.loaded.model, "forward", forward)
        healthy = Asked(PROMPTS[0], None)
        scheduler.submit(healthy.job)
        assert healthy.ids() == plain(opened.loaded, PROMPTS[0])
        assert scheduler.fault == ""


def test_one_answer_that_fails_is_no_concern_of_the_others(
    opened: Store, gate: FactGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from revisor.server.row_gate import RowGate

    def broken(self: RowGate, logits_V: torch.Tensor, *, due: bool) -> torch.Tensor:
        if len(self._row.ids) > len(tiny.byte_level()(ACME.text)["input_ids"]) + 1:
            raise RuntimeError("a bug in the gate")
        return logits_V

    monkeypatch.setattr(RowGate, "write", broken)
    with Scheduler(opened.loaded) as scheduler:
        failing, other = Asked(ACME.text, gate, 20), Asked(PROMPTS[0], None, 20)
        scheduler.submit(other.job, failing.job)
        assert failing.all()[0][-1].reason == "error"
        assert other.ids() == plain(opened.loaded, PROMPTS[0], 20)


@pytest.mark.parametrize(
    "hostile", [{"temperature": 1e-46}, {"temperature": 1e-320}, {"top_p": 1e-46}]
)
def test_numbers_too_small_for_single_precision_end_nobodys_answer(
    hostile: dict[str, float], scheduler: Scheduler
) -> None:
    other = Asked(PROMPTS[0], None, 30)
    tiny_numbers = Asked(PROMPTS[1], None, 8, sampling=Sampling(**hostile))
    scheduler.submit(other.job, tiny_numbers.job)
    assert tiny_numbers.ids() == plain(scheduler.loaded, PROMPTS[1])
    assert other.ids() == plain(scheduler.loaded, PROMPTS[0], 30)


def test_logits_that_are_no_numbers_fail_their_answer_and_are_told(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = opened.loaded.model.forward

    def spoilt(**arguments: Any) -> Any:
        out = forward(**arguments)
        out.logits[0] = torch.nan
        return out

    with Scheduler(opened.loaded) as scheduler:
        monkeypatch.setattr(opened.loaded.model, "forward", spoilt)
        broken = Asked(PROMPTS[0], None)
        scheduler.submit(broken.job)
        assert broken.all()[0][-1].reason == "error"
        assert "no numbers" in scheduler.fault


def test_a_row_that_is_well_does_not_hide_one_that_is_not(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = opened.loaded.model.forward

    def spoilt(**arguments: Any) -> Any:
        out = forward(**arguments)
        if len(out.logits) == 2:
            out.logits[0] = torch.nan
        return out

    with Scheduler(opened.loaded) as scheduler:
        monkeypatch.setattr(opened.loaded.model, "forward", spoilt)
        first, second = Asked(PROMPTS[0], None, 30), Asked(PROMPTS[1], None, 30)
        told: list[str] = []
        tell = second.job.tell
        second.job.tell = lambda piece: (told.append(scheduler.fault), tell(piece))[1]
        scheduler.submit(first.job, second.job)
        assert first.all()[0][-1].reason == "error"
        assert second.all()[0][-1].reason == "length"
        assert [fault for fault in told if "no numbers" in fault]


def test_a_long_prompt_is_read_between_the_steps_of_the_others(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "PREFILL_TOKENS", 16)
    widths: list[int] = []
    forward = opened.loaded.model.forward

    def noted(**arguments: Any) -> Any:
        widths.append(arguments["input_ids"].shape[1])
        return forward(**arguments)

    monkeypatch.setattr(opened.loaded.model, "forward", noted)
    with Scheduler(opened.loaded) as scheduler:
        running = slowly(Asked(PROMPTS[2], None, 40), 0.01)
        scheduler.submit(running.job)
        running.pieces.get(timeout=60)
        long = Asked("word " * 24, None, 4)
        scheduler.submit(long.job)
        short = Asked("A", None, 1)
        scheduler.submit(short.job)
        assert short.ids()
        assert long.job.first_at == 0 or short.job.first_at < long.job.first_at
        long.all()
    pieces = [place for place, width in enumerate(widths) if width > 1]
    assert max(widths) <= 16
    assert len(pieces) >= len(long.job.prompt) // 16
    assert all(1 in widths[one:other] for one, other in zip(pieces, pieces[1:], strict=False))


def test_an_answer_never_outgrows_the_models_context(opened: Store) -> None:
    with Scheduler(opened.loaded, context=12) as scheduler:
        long = Asked("A", None, 100)
        scheduler.submit(long.job)
        pieces = long.all()[0]
        assert pieces[-1].reason in ("length", "stop")
        assert len(long.job.prompt) + long.job.tokens <= 12


def test_one_answer_can_be_waited_for_with_the_models_own_logits(
    scheduler: Scheduler, gate: FactGate
) -> None:
    one = Awaited(tiny.byte_level()(ACME.text)["input_ids"], gate, 4)
    scheduler.submit(one.job)
    assert one.wait(60)
    assert one.text.startswith(" Vienna")
    assert one.logits_V is not None
    assert int(one.logits_V.argmax()) == plain(scheduler.loaded, ACME.text, 1)[0]
