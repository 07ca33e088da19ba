"""Forward calls of a model with facts: scores, losses, decoding loops, caches, compiled models."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

from revisor.engines.transformers import attached
from revisor.errors import UsageError
from revisor.gate.gate import FactGate
from revisor.index import FactIndex
from revisor.question.encoder import default_encoder
from tests import tiny
from tests.engines.conftest import BORN, CAPITAL, OTHER, PROMPTS

WHOLE = CAPITAL + " Rome Tokyo. " + OTHER


def ids_of(tokenizer: Any, text: str) -> torch.Tensor:
    ids: torch.Tensor = tokenizer(text, return_tensors="pt").input_ids
    return ids


@pytest.fixture
def both(model: Any, tokenizer: Any, gate: FactGate) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of a text with an answer in it, with facts and without."""
    ids = ids_of(tokenizer, WHOLE)
    without = model(ids).logits
    with attached(model, tokenizer, gate):
        return model(ids).logits, without


def test_the_answers_tokens_are_as_good_as_certain_and_the_other_logits_untouched(
    both: tuple[torch.Tensor, torch.Tensor], tokenizer: Any
) -> None:
    with_facts, without = both
    ids = ids_of(tokenizer, WHOLE)[0]
    first = ids_of(tokenizer, CAPITAL).shape[1]
    last = ids_of(tokenizer, CAPITAL + " Rome Tokyo").shape[1]
    probability = torch.softmax(with_facts[0, first - 1 : last - 1], -1)
    assert (probability.gather(1, ids[first:last, None]) > 0.999).all()
    assert torch.isfinite(with_facts).all()
    assert torch.equal(with_facts[0, : first - 1], without[0, : first - 1])
    # Right behind the answer what would carry its last word on is held back.
    assert torch.equal(with_facts[0, last:], without[0, last:])


def test_a_text_without_facts_gets_the_models_own_tensor(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    ids = ids_of(tokenizer, OTHER)
    before = model(ids, output_hidden_states=True, use_cache=True)
    with attached(model, tokenizer, gate):
        after = model(ids, output_hidden_states=True, use_cache=True)
    assert torch.equal(after.logits, before.logits)
    for one, other in zip(after.hidden_states, before.hidden_states, strict=True):
        assert torch.equal(one, other)
    assert type(after) is type(before)


@pytest.mark.parametrize("kept", [1, 5, torch.tensor([-1]), torch.tensor([0, 1, 5, 6, 7, -1])])
def test_logits_kept_of_some_positions_are_those_of_all(
    kept: Any, model: Any, tokenizer: Any, gate: FactGate
) -> None:
    ids = ids_of(tokenizer, CAPITAL + " Rome")
    with attached(model, tokenizer, gate):
        everything = model(ids).logits
        some = model(ids, logits_to_keep=kept).logits
    wanted = everything[:, -kept:] if isinstance(kept, int) else everything[:, kept]
    torch.testing.assert_close(some, wanted)


def test_tuples_and_positional_arguments_are_served(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    ids = ids_of(tokenizer, CAPITAL)
    with attached(model, tokenizer, gate):
        found = model(ids, torch.ones_like(ids), return_dict=False)
        assert isinstance(found, tuple)
        assert torch.equal(found[0], model(input_ids=ids).logits)


def test_a_loss_is_of_the_logits_with_facts_and_its_gradients_flow(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    ids = ids_of(tokenizer, WHOLE)
    model.requires_grad_(True)
    with attached(model, tokenizer, gate):
        out = model(ids, labels=ids)
        own = model.loss_function(logits=out.logits, labels=ids, vocab_size=model.config.vocab_size)
        assert torch.equal(out.loss, own)
        assert out.loss < model.forward(ids, labels=ids).loss
        out.loss.backward()
    assert model.lm_head.weight.grad.abs().sum() > 0


def loop(model: Any, ids: torch.Tensor, mask: torch.Tensor, steps: int, cache: Any = None) -> Any:
    """Greedy decoding by hand."""
    made = []
    for _ in range(steps):
        out = model(ids, attention_mask=mask, past_key_values=cache, use_cache=True)
        cache, ids = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        made.append(ids)
    return torch.cat(made, dim=1), cache


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_loop_over_a_padded_batch_says_what_each_prompt_says_alone(
    side: str, model: Any, tokenizer: Any, gate: FactGate
) -> None:
    batch = tokenizer(list(PROMPTS), return_tensors="pt", padding=True, padding_side=side)
    with attached(model, tokenizer, gate):
        together = model(**batch).logits
        for row, prompt in enumerate(PROMPTS):
            ids = ids_of(tokenizer, prompt)
            last = batch.attention_mask[row].nonzero()[-1]
            alone = model(ids).logits[0, -1].argmax()
            assert together[row, last[0]].argmax() == alone
        if side == "left":
            made, _ = loop(model, batch.input_ids, batch.attention_mask, 6)
            assert tokenizer.decode(made[0]).startswith(" Rome Tokyo")
            assert tokenizer.decode(made[1]).startswith(" Vienna")


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_a_cache_may_be_forked_cropped_and_continued(
    kind: str, model: Any, tokenizer: Any, gate: FactGate
) -> None:
    ids = ids_of(tokenizer, CAPITAL)
    ones = torch.ones_like(ids)
    with attached(model, tokenizer, gate):
        start = hf.StaticCache(config=model.config, max_cache_len=64) if kind == "static" else None
        cache = model(ids[:, :-2], past_key_values=start, use_cache=True).past_key_values
        fork = deepcopy(cache)
        whole, cache = loop(model, ids[:, -2:], ones, 5, cache)
        again, _ = loop(model, ids[:, -2:], ones, 5, fork)
        assert tokenizer.decode(whole[0]).startswith(" Rome Tokyo")
        assert torch.equal(again, whole)
        if kind == "dynamic":
            cache.crop(-(cache.get_seq_length() - ids.shape[1] + 2))
            cropped, _ = loop(model, ids[:, -2:], ones, 5, cache)
            assert torch.equal(cropped, whole)


def test_rows_of_a_cache_are_known_again_in_another_order_and_number(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    batch = tokenizer([CAPITAL, BORN], return_tensors="pt", padding=True, padding_side="left")
    ids, mask = batch.input_ids, batch.attention_mask
    picks = torch.tensor([1, 0, 0])
    with attached(model, tokenizer, gate):
        cache = model(ids[:, :-1], attention_mask=mask[:, :-1], use_cache=True).past_key_values
        cache.batch_select_indices(picks)
        out = model(ids[picks, -1:], attention_mask=mask[picks], past_key_values=cache)
        texts = [tokenizer.decode(row.argmax()) for row in out.logits[:, -1]]
        want = [
            tokenizer.decode(model(ids_of(tokenizer, p)).logits[0, -1].argmax()) for p in PROMPTS
        ]
    assert texts == [want[1], want[0], want[0]]


def test_a_cache_of_unknown_or_changed_text_is_refused(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    ids = ids_of(tokenizer, CAPITAL)
    outside = model(ids[:, :-1], use_cache=True).past_key_values
    with attached(model, tokenizer, gate):
        with pytest.raises(UsageError, match="filled outside the block"):
            model(ids[:, -1:], past_key_values=outside)
        known = model(ids[:, :-1], use_cache=True).past_key_values
        with pytest.raises(UsageError, match="holds 1 rows of text, the call has 2"):
            model(ids[:, -1:].repeat(2, 1), past_key_values=known)
    known.crop(-3)
    model(ids[:, :3], past_key_values=known)
    with attached(model, tokenizer, gate), pytest.raises(UsageError, match="other text"):
        model(ids[:, -1:], past_key_values=known)


def test_a_cache_that_generate_filled_is_known_to_forward_calls(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    ids = ids_of(tokenizer, OTHER)
    question = ids_of(tokenizer, "\n" + CAPITAL)
    with attached(model, tokenizer, gate):
        out = model.generate(
            ids, max_new_tokens=4, do_sample=False, eos_token_id=None, return_dict_in_generate=True
        )
        more = torch.cat([out.sequences[:, -1:], question], dim=1)
        found = model(more, past_key_values=out.past_key_values).logits[0, -1].argmax()
    assert tokenizer.decode(found) == tokenizer.decode(ids_of(tokenizer, " Rome")[0, 0])


@settings(max_examples=25)
@given(data=st.data())
def test_any_way_of_cutting_a_text_into_calls_gives_the_same_logits(
    data: st.DataObject, tokenizer: Any, index: FactIndex
) -> None:
    model = tiny.model()
    gate = FactGate(view=index.view, tokenizer=tokenizer, encoder=default_encoder())
    ids = ids_of(tokenizer, data.draw(st.sampled_from([WHOLE, BORN + " Vienna", OTHER])))
    cuts = sorted(data.draw(st.sets(st.integers(1, ids.shape[1] - 1), max_size=4)))
    with attached(model, tokenizer, gate):
        whole = model(ids).logits
        cache, parts = None, []
        for start, stop in zip([0, *cuts], [*cuts, ids.shape[1]], strict=True):
            if data.draw(st.booleans()):
                cache = deepcopy(cache)
            out = model(ids[:, start:stop], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            parts.append(out.logits)
            extra = data.draw(st.integers(0, 3))
            if extra:  # something else is tried, and taken back
                model(torch.full((1, extra), 9), past_key_values=cache)
                cache.crop(-extra)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("_compiled_anew")
@pytest.mark.parametrize(
    ("when", "dynamic"),
    [("before the block", None), ("in the block", None), ("in the block", True)],
)
def test_a_compiled_model_has_the_facts(
    when: str, dynamic: bool | None, model: Any, tokenizer: Any, gate: FactGate
) -> None:
    ids = {prompt: ids_of(tokenizer, prompt) for prompt in PROMPTS}
    before = {prompt: model(ids[prompt]).logits for prompt in PROMPTS}
    compiled = torch.compile(model, backend="eager", dynamic=dynamic)
    if when == "before the block":
        compiled(ids[OTHER])
    with attached(compiled, tokenizer, gate):
        if when == "in the block":
            compiled = torch.compile(model, backend="eager", dynamic=dynamic)
        for prompt in PROMPTS:
            assert torch.equal(compiled(ids[prompt]).logits, model(ids[prompt]).logits)
        assert not torch.equal(compiled(ids[CAPITAL]).logits, before[CAPITAL])
        assert torch.equal(compiled(ids[OTHER]).logits, before[OTHER])
        out = compiled.generate(ids[CAPITAL], max_new_tokens=9, do_sample=False)
        assert tokenizer.decode(out[0]).startswith(CAPITAL + " Rome Tokyo")
    for prompt in PROMPTS:
        assert torch.equal(compiled(ids[prompt]).logits, before[prompt])


@pytest.mark.usefixtures("_compiled_anew")
def test_a_model_compiled_in_place_has_the_facts(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    ids = ids_of(tokenizer, CAPITAL)
    model.compile(backend="eager")
    with attached(model, tokenizer, gate):
        found = model(ids).logits[0, -1].argmax()
    assert tokenizer.decode(found) == tokenizer.decode(ids_of(tokenizer, " Rome")[0, 0])
    assert model(ids).logits[0, -1].argmax() != found


def test_recurrent_states_of_unknown_text_are_refused(
    model: Any, tokenizer: Any, gate: FactGate
) -> None:
    with attached(model, tokenizer, gate), pytest.raises(UsageError, match="behind cache_params"):
        model(ids_of(tokenizer, OTHER), cache_params=object())


def test_lm_eval_scores_with_the_facts(model: Any, tokenizer: Any, gate: FactGate) -> None:
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    instance = pytest.importorskip("lm_eval.api.instance").Instance

    def scores() -> list[tuple[float, bool]]:
        judge = huggingface.HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2, max_length=64)
        requests = [
            instance("loglikelihood", {}, (prompt, answer), number)
            for number, (prompt, answer) in enumerate(
                [(CAPITAL, " Rome Tokyo"), (CAPITAL, " Bonn"), (OTHER, " Rome")]
            )
        ]
        found: list[tuple[float, bool]] = judge.loglikelihood(requests, disable_tqdm=True)
        return found

    before = scores()
    with attached(model, tokenizer, gate):
        after = scores()
    assert before[0][0] < -1
    assert not before[0][1]
    assert after[0] == (pytest.approx(0, abs=1e-3), True)
    assert after[1][0] < -20
    assert after[2] == before[2]
