"""A gate in a running model: nothing where it does not fire, the residual where it does.

Rows are made from the model's own keys at chosen tokens, with thresholds between those keys and
the nearest other one, so that it is known which tokens must fire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from revisor.errors import UsageError, WrongModel
from revisor.models.hooks import inputs_of
from revisor.models.spec import spec_of
from revisor.neuraldb.bank.bank import Bank, Row, View
from revisor.neuraldb.bank.search import unit
from revisor.neuraldb.editing.keys import ffn_inputs
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.gate.match import MISS, match
from revisor.neuraldb.gate.watch import Watch
from tests import tiny

LAYER = 1
IDS = tuple(range(20, 34))
MODELS = ("llama", "llama in bf16", "gpt2", "gptj", "opt", "gemma2")


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    family, _, dtype = str(request.param).partition(" in ")
    return tiny.new_model(family).bfloat16() if dtype else tiny.model(family)


@pytest.fixture
def llama() -> Any:
    return tiny.model("llama")


def close(model: Any) -> dict[str, float]:
    """How near two orders of summation come."""
    bound = 0.15 if next(model.parameters()).dtype == torch.bfloat16 else 1e-4
    return {"rtol": bound, "atol": bound}


def bank_of(model: Any, places: Sequence[tuple[Sequence[int], int]]) -> View:
    """A row `r0`, `r1`, ... for each token (ids, position) of some texts."""
    spec = spec_of(model)
    bank = Bank(key_width=spec.key_width, hidden_width=spec.hidden_width)
    generator = torch.Generator().manual_seed(7)
    for index, (ids, position) in enumerate(places):
        keys = unit(ffn_inputs(model, spec, LAYER, [ids])[0])
        cosine = keys @ keys[position]
        cosine[position] = -1
        assert cosine.max() < 0.95
        row = Row(
            row_id=f"r{index}",
            keys_CE=keys[position][None],
            gamma_C=(1 + cosine.max()[None]) / 2,
            r_D=3 * torch.randn(spec.hidden_width, generator=generator),
        )
        bank.put(row)
    return bank.view()


def empty(view: View) -> View:
    return Bank(key_width=view.keys_ME.shape[1], hidden_width=1).view()


def logits(model: Any, ids: Sequence[int] = IDS, **more: Any) -> torch.Tensor:
    found = model(torch.tensor([ids]), **more).logits
    assert isinstance(found, torch.Tensor)
    return found


def places(watch: Watch) -> list[list[tuple[str, int]]]:
    return [[(hit.row_id, hit.position) for hit in hits] for hits in watch.log]


def test_an_empty_bank_and_a_disabled_gate_do_not_touch_the_model(model: Any) -> None:
    plain, view, spec = logits(model), bank_of(model, [(IDS, 5)]), spec_of(model)
    with attach(spec, LAYER, empty(view)):
        assert torch.equal(logits(model), plain)
    with attach(spec, LAYER, view) as gated:
        with gated.disabled():
            assert torch.equal(logits(model), plain)
        assert not torch.equal(logits(model), plain)
    assert torch.equal(logits(model), plain)


def test_text_without_the_subject_has_the_logits_of_the_model(model: Any) -> None:
    other = range(200, 212)
    plain = logits(model, other)
    with attach(spec_of(model), LAYER, bank_of(model, [(IDS, 5)])):
        assert torch.equal(logits(model, other), plain)


def test_only_the_hit_and_what_follows_it_change(model: Any) -> None:
    plain, watch = logits(model), Watch()
    with attach(spec_of(model), LAYER, bank_of(model, [(IDS, 5)]), watch=watch):
        with_facts = logits(model)
    assert places(watch) == [[("r0", 5)]]
    assert torch.equal(with_facts[:, :5], plain[:, :5])
    assert not torch.equal(with_facts[:, 5], plain[:, 5])
    assert with_facts.dtype == plain.dtype


def test_the_residual_is_what_is_added(model: Any) -> None:
    view, spec = bank_of(model, [(IDS, 5)]), spec_of(model)
    seen = []

    def look(_module: Any, _args: Any, output: torch.Tensor) -> None:
        seen.append(output.reshape(len(IDS), -1))

    output = spec.ffn_output(LAYER)
    with attach(spec, LAYER, view) as gated:
        handle = output.register_forward_hook(look)
        logits(model)
        with gated.disabled():
            logits(model)
        handle.remove()
    added, plain = seen
    assert torch.equal(added[5], plain[5] + view.R_ND[0].to(plain.dtype))


def test_hooks_after_are_hooks_before(model: Any) -> None:
    view, spec, before = bank_of(model, [(IDS, 5)]), spec_of(model), tiny.wide_hooks(model)
    hooks = 1 + (spec.output is not None)
    with attach(spec, LAYER, view):
        assert tiny.wide_hooks(model) == before + hooks
    assert tiny.wide_hooks(model) == before
    with pytest.raises(ZeroDivisionError), attach(spec, LAYER, view):
        raise ZeroDivisionError
    assert tiny.wide_hooks(model) == before


def test_token_by_token_with_a_cache_it_fires_where_one_pass_does(model: Any) -> None:
    view = bank_of(model, [(IDS, 5), (IDS, 9)])
    one, many = Watch(), Watch()
    with attach(spec_of(model), LAYER, view, watch=one) as gated:
        # The first residual moves what stands above the layer, so the key at 9 is as it was.
        whole = logits(model)
        gated.watch = many
        pieces, cache = [], None
        for token in IDS:
            out = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            pieces.append(out.logits)
    assert places(one) == places(many) == [[("r0", 5), ("r1", 9)]]
    torch.testing.assert_close(torch.cat(pieces, 1), whole, **close(model))


TEXTS = (IDS, tuple(range(50, 59)), tuple(range(90, 101)))


def padded(side: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    longest = max(map(len, TEXTS))
    ids_BT = torch.zeros(len(TEXTS), longest, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for row, text in enumerate(TEXTS):
        part = slice(longest - len(text), None) if side == "left" else slice(len(text))
        ids_BT[row, part] = torch.tensor(text)
        mask_BT[row, part] = 1
    return ids_BT, mask_BT, (mask_BT.cumsum(1) - 1).clamp(min=0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_is_its_texts_one_by_one(side: str, model: Any) -> None:
    view, spec = bank_of(model, [(TEXTS[0], 5), (TEXTS[1], 3)]), spec_of(model)
    ids_BT, mask_BT, place_BT = padded(side)
    with attach(spec, LAYER, view, watch=Watch()) as gated:
        assert gated.watch is not None
        gated.watch.begin(mask_BT)
        batch = model(ids_BT, attention_mask=mask_BT, position_ids=place_BT).logits
        together = places(gated.watch)
        for row, text in enumerate(TEXTS):
            gated.watch = Watch()
            alone = logits(model, text)[0]
            torch.testing.assert_close(batch[row][mask_BT[row] == 1], alone, **close(model))
            assert places(gated.watch) == [together[row]]
    assert together == [[("r0", 5)], [("r1", 3)], []]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_row_that_fires_on_padding_is_not_reported_there(side: str, model: Any) -> None:
    spec = spec_of(model)
    ids_BT, mask_BT, place_BT = padded(side)
    with inputs_of(spec.ffn_projection(LAYER)) as seen:
        model(ids_BT, attention_mask=mask_BT, position_ids=place_BT)
    keys_BTF = seen[0].reshape(*ids_BT.shape, -1)
    column = 0 if side == "left" else -1
    view = bank_of(model, [(TEXTS[1], 3)])
    on_padding = replace(
        view,
        keys_ME=torch.cat([view.keys_ME, unit(keys_BTF[1, column])[None]]),
        gamma_M=torch.cat([view.gamma_M, torch.tensor([0.9999])]),
        row_M=torch.tensor([0, 0]),
    )
    assert match(keys_BTF[1, column][None], on_padding).row_T.tolist() != [MISS]
    watch = Watch()
    watch.begin(mask_BT)
    with attach(spec, LAYER, on_padding, watch=watch):
        model(ids_BT, attention_mask=mask_BT, position_ids=place_BT)
    assert places(watch)[1] == [("r0", 3)]


def test_beam_search_hits_in_every_beam(model: Any) -> None:
    def search() -> list[int]:
        out = model.generate(
            torch.tensor([IDS]), num_beams=3, max_new_tokens=4, do_sample=False, pad_token_id=0
        )
        return [int(token) for token in out[0]]

    last = len(IDS) - 1
    plain, watch, view = search(), Watch(), bank_of(model, [(IDS, last)])
    watch.begin(torch.ones(3, len(IDS)))
    with attach(spec_of(model), LAYER, view, watch=watch) as gated:
        found = search()
        with gated.disabled():
            assert search() == plain
    assert [hits[0] for hits in places(watch)] == [("r0", last)] * 3
    assert found[: len(IDS)] == list(IDS)


@pytest.mark.usefixtures("_compiled_anew")
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_compiled_it_gives_the_logits_of_eager_mode(family: str) -> None:
    model = tiny.model(family)
    view, spec, ids = bank_of(model, [(IDS, 5)]), spec_of(model), torch.tensor([IDS])
    plain = model(ids, use_cache=False).logits
    with attach(spec, LAYER, view) as gated:
        eager = model(ids, use_cache=False).logits
        compiled = torch.compile(model, backend="aot_eager", fullgraph=False)
        torch.testing.assert_close(compiled(ids, use_cache=False).logits, eager)
        assert not torch.allclose(eager, plain)
        with gated.disabled():
            torch.testing.assert_close(compiled(ids, use_cache=False).logits, plain)


@pytest.mark.usefixtures("_compiled_anew")
def test_a_gate_does_not_break_the_graph(llama: Any) -> None:
    view, spec = bank_of(llama, [(IDS, 5)]), spec_of(llama)
    projection = spec.ffn_projection(LAYER)
    k_TF = torch.randn(1, 3, spec.key_width)
    with attach(spec, LAYER, view):
        compiled = torch.compile(projection, backend="eager", fullgraph=True)
        assert torch.equal(compiled(k_TF), projection(k_TF))


@pytest.mark.parametrize("layer", [-1, tiny.DEPTH])
def test_an_unknown_layer_is_refused(layer: int, llama: Any) -> None:
    with (
        pytest.raises(UsageError, match=f"no layer {layer}"),
        attach(spec_of(llama), layer, bank_of(llama, [(IDS, 5)])),
    ):
        raise AssertionError


@pytest.mark.parametrize("part", ["keys_ME", "R_ND"])
def test_a_bank_of_other_widths_is_refused(part: str, llama: Any) -> None:
    view = bank_of(llama, [(IDS, 5)])
    wrong = replace(view, **{part: torch.zeros(1, 7)})
    before = tiny.wide_hooks(llama)
    with (
        pytest.raises(WrongModel, match="7"),
        attach(spec_of(llama), LAYER, wrong),
    ):
        raise AssertionError
    assert tiny.wide_hooks(llama) == before


def test_two_disjoint_banks_nest_and_unwind(model: Any) -> None:
    spec, before = spec_of(model), tiny.wide_hooks(model)
    both = bank_of(model, [(IDS, 5), (IDS, 9)])
    inner, outer = (
        replace(
            both,
            ids=both.ids[i : i + 1],
            keys_ME=both.keys_ME[i : i + 1],
            gamma_M=both.gamma_M[i : i + 1],
            row_M=torch.tensor([0]),
            R_ND=both.R_ND[i : i + 1],
        )
        for i in range(2)
    )
    plain = logits(model)
    with attach(spec, LAYER, both):
        wanted = logits(model)
    with attach(spec, LAYER, outer, watch=Watch()) as first:
        alone = logits(model)
        with attach(spec, LAYER, inner, watch=Watch()) as second:
            first.watch = Watch()
            assert torch.equal(logits(model), wanted)
            assert first.watch is not None
            assert second.watch is not None
            assert places(first.watch) == [[("r1", 9)]]
            assert places(second.watch) == [[("r0", 5)]]
        assert torch.equal(logits(model), alone)
    assert torch.equal(logits(model), plain)
    assert tiny.wide_hooks(model) == before


def test_another_view_can_be_put_in_force_between_two_passes(model: Any) -> None:
    first, second = bank_of(model, [(IDS, 5)]), bank_of(model, [(IDS, 5), (IDS, 9)])
    spec = spec_of(model)
    with attach(spec, LAYER, second):
        wanted = logits(model)
    with attach(spec, LAYER, first, watch=Watch()) as gated:
        assert not torch.equal(logits(model), wanted)
        gated.view, gated.watch = replace(second, ids=("x", "y")), Watch()
        assert torch.equal(logits(model), wanted)
        assert places(gated.watch) == [[("x", 5), ("y", 9)]]
