"""The codebook's three cases, and a fact that is gone as if it had never been there."""

from __future__ import annotations

import pytest
import torch

from revisor.bench.methods.binding import Binding
from revisor.bench.methods.grace import Codebook, Edit, GraceEditor, GraceOptions, lookup
from revisor.models.load import wrap_model
from revisor.neuraldb.editing.request import ContextPlan, make_requests
from revisor.neuraldb.editing.score import score_targets
from tests import tiny


def edit(place: float, label: str) -> Edit:
    return Edit(
        fact_id=f"{label}{place}",
        label=label,
        k_F=torch.tensor([10.0, place]),
        v_D=torch.tensor([place]),
    )


def test_a_far_key_becomes_an_entry_of_its_own() -> None:
    book = Codebook(0.1)
    book.add(edit(0.0, "Rome"))
    book.add(edit(5.0, "Bonn"))
    assert [e.label for e in book.edits] == ["Rome", "Bonn"]
    assert book.eps_N.tolist() == pytest.approx([1.0, 0.1 * 125**0.5])


def test_a_near_key_of_the_same_label_widens_the_entry() -> None:
    book = Codebook(0.1)
    book.add(edit(0.0, "Rome"))
    book.add(edit(1.5, "Rome"))
    assert len(book.edits) == 1
    assert book.eps_N.tolist() == pytest.approx([1.5])


def test_a_near_key_of_another_label_splits_the_distance() -> None:
    book = Codebook(0.1)
    book.add(edit(0.0, "Rome"))
    book.add(edit(1.0, "Bonn"))
    assert [e.label for e in book.edits] == ["Rome", "Bonn"]
    assert book.eps_N.tolist() == pytest.approx([0.5, 0.5], rel=1e-5)
    nearest, hit = lookup(
        torch.tensor([[10.0, 0.4], [10.0, 0.6], [10.0, 3.0]]), book.keys_NF, book.eps_N
    )
    assert nearest.tolist() == [0, 1, 1]
    assert hit.tolist() == [True, True, False]


def test_a_book_of_many_entries_finds_each_of_them() -> None:
    book = Codebook(0.01)
    for place in range(100):
        book.add(edit(float(place), str(place)))
    nearest, hit = lookup(book.keys_NF, book.keys_NF, book.eps_N)
    assert nearest.tolist() == list(range(100))
    assert bool(hit.all())


def grace() -> GraceEditor:
    loaded = wrap_model("tiny", tiny.taught(), tiny.byte_level())
    binding = Binding(loaded=loaded)
    return GraceEditor(binding, GraceOptions(layer=1), name="grace")


def logits(editor: GraceEditor) -> list[torch.Tensor]:
    with editor.attached(), torch.no_grad():
        return [
            tiny.taught()(
                input_ids=torch.tensor([tiny.byte_level()(fact.text)["input_ids"]])
            ).logits
            for fact in tiny.FACTS
        ]


def test_an_undone_fact_is_as_if_it_had_never_been_added() -> None:
    editor = grace()
    empty = logits(editor)
    editor.fit(tiny.FACTS[1:])
    without, size = logits(editor), editor.stored_bytes
    editor.fit(tiny.FACTS[:1])
    assert not all(map(torch.equal, logits(editor), without))
    editor.undo([tiny.FACTS[0].id, "unknown"])
    assert all(map(torch.equal, logits(editor), without))
    assert editor.stored_bytes == size
    editor.undo([fact.id for fact in tiny.FACTS])
    assert all(map(torch.equal, logits(editor), empty))
    assert editor.stored_bytes == 0


def test_a_fact_that_is_fitted_again_replaces_itself() -> None:
    editor = grace()
    editor.fit(tiny.FACTS)
    size = editor.stored_bytes
    editor.fit(tiny.FACTS[:1])
    assert editor.stored_bytes == size


def test_padding_does_not_change_what_fires() -> None:
    editor = grace()
    editor.fit(tiny.FACTS)
    plan = ContextPlan(wordings=0)
    contexts = [r.contexts[0] for r in make_requests(tiny.FACTS, tiny.byte_level(), plan)]
    with editor.attached():
        together = score_targets(editor.loaded, contexts)
        alone = [score_targets(editor.loaded, [context])[0] for context in contexts]
    for one, other in zip(together, alone, strict=True):
        assert one.said == other.said
        assert one.nll == pytest.approx(other.nll, abs=1e-4)
