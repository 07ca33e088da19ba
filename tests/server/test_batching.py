"""Requests that join and leave a batch: each gets what it would get alone, with its own facts."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.models.load import LoadedModel
from revisor.models.spec import spec_of
from revisor.neuraldb.bank import names
from revisor.neuraldb.bank.asked import HISTORY
from revisor.neuraldb.bank.bank import View
from revisor.serve.batching import Scheduler
from revisor.serve.job import Closing, Job, Piece, QueueFull
from revisor.serve.sampling import Sampling
from revisor.store import Store
from tests import tiny
from tests.serve.conftest import ACME, BASEL, UNRELATED

GREEDY = Sampling(temperature=0)


class Asked:
    """A job and what came of it."""

    def __init__(self, prompt: str, view: View | None, tokens: int = 8, **more: Any) -> None:
        self.pieces: queue.Queue[Piece] = queue.Queue()
        self.job = Job(
            prompt=tiny.byte_level()(prompt)["input_ids"],
            view=view,
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


@contextmanager
def serving(loaded: LoadedModel, layer: int = 1, **limits: Any) -> Iterator[Scheduler]:
    with Scheduler(loaded, spec_of(loaded.model), layer, **limits) as scheduler:
        yield scheduler


@pytest.fixture(scope="module")
def opened(whole_store: Path) -> Iterator[Store]:
    with Store.open(whole_store) as store:
        yield store


@pytest.fixture(scope="module")
def view(opened: Store) -> View:
    return opened.view().to(torch.device("cpu"), torch.float32)


@pytest.fixture
def scheduler(opened: Store) -> Iterator[Scheduler]:
    with serving(opened.loaded) as running:
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


def test_every_family_answers_a_changing_batch_as_each_prompt_alone(family: str) -> None:
    loaded = LoadedModel(name=family, model=tiny.model(family), tokenizer=tiny.byte_level())
    lengths = (12, 3, 9, 5, 14)  # so that rows join and leave at different steps
    with serving(loaded, max_batch=3) as scheduler:
        asked = [Asked(p, None, n) for p, n in zip(PROMPTS, lengths, strict=True)]
        for one in asked:
            scheduler.submit(one.job)
        for one, prompt, length in zip(asked, PROMPTS, lengths, strict=True):
            assert one.ids() == plain(loaded, prompt, length), prompt
    assert tiny.wide_hooks(tiny.model(family)) == 0


def test_rows_of_one_batch_have_facts_of_their_own(scheduler: Scheduler, view: View) -> None:
    unedited = plain(scheduler.loaded, ACME.text)
    with_facts, without = Asked(ACME.text, view), Asked(ACME.text, None)
    other = Asked(BASEL.text, view)
    for one in (with_facts, without, other):
        scheduler.submit(one.job)
    assert with_facts.text().strip().startswith("Vienna")
    assert without.ids() == unedited
    assert other.text().strip().startswith("Rome")
    assert {hit.row_id for hit in with_facts.job.hits[0]} == {ACME.id}
    assert without.job.hits == [[]]


def test_a_step_sees_as_much_of_its_text_as_a_question_can_need(
    opened: Store, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def looked(texts: Any) -> torch.Tensor:
        seen.extend(map(len, texts))
        return names.texts(texts)

    monkeypatch.setattr("revisor.serve.batching.texts", looked)
    tokenizer, prompt = opened.loaded.tokenizer, ACME.text
    while len(tokenizer(prompt)["input_ids"]) <= HISTORY:
        prompt = "A " + prompt
    with serving(opened.loaded) as scheduler:
        one = Asked(prompt, view, 4)
        scheduler.submit(one.job)
        one.ids()
    assert seen
    assert set(seen) == {HISTORY}


def test_rows_without_facts_keep_the_very_logits_of_the_unedited_model(opened: Store) -> None:
    view = opened.view().to(torch.device("cpu"), torch.float32)
    found: dict[bool, list[tuple[int, float]]] = {}
    for gated in (False, True):
        with serving(opened.loaded) as scheduler:
            sampling = Sampling(temperature=0, logprobs=0)
            quiet = Asked(UNRELATED, None, sampling=sampling)
            edited = Asked(ACME.text, view if gated else None, sampling=sampling)
            scheduler.submit(edited.job)
            scheduler.submit(quiet.job)
            found[gated] = [
                (piece.chosen.token, piece.chosen.logprob or 0.0)
                for piece in quiet.all()[0]
                if piece.chosen
            ]
            assert bool(edited.all() and edited.job.hits[0]) == gated
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


def test_an_answer_ends_before_its_stop_string(scheduler: Scheduler, view: View) -> None:
    whole = Asked(ACME.text, view, 12)
    scheduler.submit(whole.job)
    text = whole.text()
    stop = text[4:6]
    cut = Asked(ACME.text, view, 12, stop=[stop])
    scheduler.submit(cut.job)
    pieces = cut.all()[0]
    assert "".join(piece.text for piece in pieces) == text[: text.index(stop)]
    assert pieces[-1].reason == "stop"


def test_the_queue_has_a_bound_and_says_so(opened: Store) -> None:
    gate = threading.Event()
    with serving(opened.loaded, max_batch=1, max_waiting=2) as scheduler:
        slow = Asked(UNRELATED, None, 60)
        tell = slow.job.tell
        slow.job.tell = lambda piece: (gate.wait(30), tell(piece))[1]
        scheduler.submit(slow.job)
        while scheduler.waiting:
            threading.Event().wait(0.01)
        waiting = [Asked(UNRELATED, None, 1) for _ in range(2)]
        for one in waiting:
            scheduler.submit(one.job)
        with pytest.raises(QueueFull, match="at most 2"):
            scheduler.submit(Asked(UNRELATED, None, 1).job)
        gate.set()
        for one in waiting:
            assert len(one.ids()) == 1


def test_a_cancelled_answer_leaves_and_the_others_go_on(opened: Store) -> None:
    with serving(opened.loaded) as scheduler:
        leaver, stayer = Asked(PROMPTS[0], None, 100), Asked(PROMPTS[1], None, 20)
        scheduler.submit(leaver.job)
        scheduler.submit(stayer.job)
        leaver.pieces.get(timeout=60)
        leaver.job.cancelled = True
        assert stayer.ids() == plain(opened.loaded, PROMPTS[1], 20)
        assert leaver.all()[0][-1].reason in ("cancelled", "stop")


def test_closing_finishes_what_runs_and_refuses_what_comes(opened: Store) -> None:
    scheduler = Scheduler(opened.loaded, spec_of(opened.loaded.model), 1).start()
    running = Asked(PROMPTS[0], None, 20)
    scheduler.submit(running.job)
    closer = threading.Thread(target=scheduler.close)
    closer.start()
    assert running.ids() == plain(opened.loaded, PROMPTS[0], 20)
    closer.join(30)
    assert not scheduler.alive
    with pytest.raises(Closing):
        scheduler.submit(Asked(PROMPTS[0], None).job)


def test_closing_without_patience_cancels_what_runs(opened: Store) -> None:
    scheduler = Scheduler(opened.loaded, spec_of(opened.loaded.model), 1).start()
    slow = Asked(PROMPTS[0], None, 100)
    tell = slow.job.tell
    slow.job.tell = lambda piece: (threading.Event().wait(0.05), tell(piece))[1]
    scheduler.submit(slow.job)
    scheduler.close(patience_s=0.1)
    assert slow.all()[0][-1].reason in ("cancelled", "stop")


def test_a_step_that_fails_ends_its_answers_and_the_next_request_is_served(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(opened.loaded) as scheduler:
        forward = opened.loaded.model.forward
        monkeypatch.setattr(
            opened.loaded.model, "forward", lambda **_: (_ for _ in ()).throw(MemoryError("full"))
        )
        broken = Asked(PROMPTS[0], None)
        scheduler.submit(broken.job)
        assert broken.all()[0][-1].reason == "error"
        monkeypatch.setattr(opened.loaded.model, "forward", forward)
        healthy = Asked(PROMPTS[0], None)
        scheduler.submit(healthy.job)
        assert healthy.ids() == plain(opened.loaded, PROMPTS[0])


def test_an_answer_never_outgrows_the_models_context(opened: Store) -> None:
    with serving(opened.loaded, context=12) as scheduler:
        long = Asked("A", None, 100)
        scheduler.submit(long.job)
        pieces = long.all()[0]
        assert pieces[-1].reason in ("length", "stop")
        assert len(long.job.prompt) + long.job.tokens <= 12
