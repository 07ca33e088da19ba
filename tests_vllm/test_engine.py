"""vLLM with facts on the packaged model, engine and worker in this process, compiled.

`make test-vllm`, not `make test`: vLLM has an environment of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.models.packaged import smollm2_folder
from revisor.neuraldb.editing.build import row_facts
from revisor.neuraldb.gate.watch import Watch
from revisor.store import Store
from tests_vllm.common import (
    AFTER,
    FACTS,
    LONG,
    OTHERWISE,
    QUESTION,
    TOWER,
    UNRELATED,
    environment,
)
from tests_vllm.conftest import hold

TOKENS = 10
LONGER = 40
TOLERANCE = 1e-3  # of a log probability in fp32, vLLM's kernels against transformers'
BATCHED = 1e-4  # the same, one batch against another within vLLM


@pytest.fixture(scope="module")
def llm(second: Path) -> Any:
    # In one process a test knows which requests share a forward pass.
    os.environ |= environment(second) | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    from vllm import LLM

    return LLM(
        model=str(smollm2_folder()),
        dtype="float32",
        max_model_len=512,
        max_num_batched_tokens=512,
        enable_prefix_caching=True,
    )


@pytest.fixture(scope="module")
def transformers(first: Path) -> Iterator[Store]:
    with Store.open(first) as store:
        yield store


def prompts() -> list[str]:
    named = [fact.text for fact in FACTS]
    mixed = f"{UNRELATED[0]} Jupiter. {TOWER.text}"
    return [*named, *OTHERWISE, *UNRELATED, mixed, *(LONG + text for text in named)]


def greedy(tokens: int = TOKENS, **extra: Any) -> Any:
    from vllm import SamplingParams

    return SamplingParams(temperature=0.0, max_tokens=tokens, logprobs=1, extra_args=extra or None)


def ask(llm: Any, texts: list[str], **extra: Any) -> list[Any]:
    return list(llm.generate(texts, greedy(**extra), use_tqdm=False))


def said(output: Any) -> str:
    return str(output.outputs[0].text).strip()


def told(output: Any) -> list[float]:
    """The log probabilities of an answer's tokens."""
    one = output.outputs[0]
    return [chances[t].logprob for t, chances in zip(one.token_ids, one.logprobs, strict=True)]


def used(llm: Any, output: Any) -> list[tuple[str, int]]:
    """Rows that fired in a request, and where."""
    names = [n for n in llm.collective_rpc(_names)[0] if n.startswith(f"{output.request_id}-")]
    (found,) = llm.collective_rpc("revisor_hits", args=(names,))
    return [(hit["row_id"], hit["position"]) for hit in found[names[0]]["hits"]]


def _names(worker: Any) -> list[str]:
    return list(worker.model_runner.revisor.told)


def replayed(
    store: Store, prompt: list[int], answer: list[int]
) -> tuple[list[float], list[tuple[str, int]]]:
    """What transformers gives an answer, with the store's facts; which rows fire, and where."""
    read, watch = torch.tensor([[*prompt, *answer[:-1]]]), Watch()
    with store.attached(watch=watch), torch.no_grad():
        watch.begin(torch.ones_like(read))
        logits_1TV = store.loaded.model(input_ids=read).logits
    logp_TV = logits_1TV[0].float().log_softmax(-1)[len(prompt) - 1 :]
    found = logp_TV[torch.arange(len(answer)), torch.tensor(answer)].tolist()
    return found, [(hit.row_id, hit.position) for hit in watch.log[0]]


def test_a_mixed_batch_is_as_under_transformers(
    llm: Any, transformers: Store, record_property: Any
) -> None:
    engine = transformers.engine()
    asked = prompts()
    outputs = ask(llm, asked)
    expected = [engine.generate([prompt], max_tokens=TOKENS)[0] for prompt in asked]
    outputs += llm.chat([{"role": "user", "content": QUESTION}], greedy(), use_tqdm=False)
    expected += engine.generate([QUESTION], max_tokens=TOKENS, chat=True)
    worst = 0.0
    for output, answer in zip(outputs, expected, strict=True):
        assert said(output) == answer.answer
        rows = used(llm, output)
        # An answer tells a fact once, a report every token at which its row fired.
        assert {f.position for f in answer.facts_used} <= {place for _, place in rows}
        assert {i for row, _ in rows for i in row_facts(row)} >= {f.id for f in answer.facts_used}
        ids = list(output.outputs[0].token_ids)
        there, fired = replayed(transformers, list(output.prompt_token_ids), ids)
        assert rows == fired
        worst = max(worst, *(abs(a - b) for a, b in zip(told(output), there, strict=True)))
    record_property("largest_difference", worst)  # for the docs: --junitxml shows it
    assert worst < TOLERANCE
    for fact, output in zip(FACTS, outputs, strict=False):
        assert said(output).startswith(fact.object)


def test_a_prefix_from_the_cache_changes_no_answer_and_hides_no_fact(llm: Any) -> None:
    asked = [LONG + fact.text for fact in FACTS] + [f"{TOWER.text} which? {LONG}"]
    first = ask(llm, asked)
    again = ask(llm, asked)
    assert all(output.num_cached_tokens > 0 for output in again)
    assert [said(output) for output in again] == [said(output) for output in first]
    rows = [used(llm, output) for output in first]
    assert [used(llm, output) for output in again] == rows
    assert all(rows)


def test_a_request_may_have_no_facts(llm: Any, transformers: Store) -> None:
    engine = transformers.engine()
    plain = engine.generate([TOWER.text], max_tokens=TOKENS, facts=False)[0]
    (output,) = ask(llm, [TOWER.text], revisor_off=1)
    assert (said(output), used(llm, output)) == (plain.answer, [])
    (cached,) = ask(llm, [LONG + TOWER.text], revisor_off=1)
    assert not said(cached).startswith(TOWER.object), "the cache is salted"


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a request said that ran while another one came."""

    tokens: list[int]
    logprobs: list[float]
    other: str


def run(llm: Any, other: str | None = None, before: Any = None) -> Ran:
    """A request, and another that comes after its fifth token."""
    engine, done = llm.llm_engine, {}
    llm.reset_prefix_cache()
    asked = greedy(LONGER)
    asked.ignore_eos = True  # neither ends before the other: every run has the same batches
    engine.add_request("old", TOWER.text, asked)
    steps = 0
    while engine.has_unfinished_requests():
        if steps == 5 and other is not None:
            if before is not None:
                before()
            engine.add_request("new", other, asked)
        done |= {output.request_id: output for output in engine.step() if output.finished}
        steps += 1
    old = done["old"]
    return Ran(
        tokens=list(old.outputs[0].token_ids),
        logprobs=told(old),
        other=said(done["new"]) if other else "",
    )


def test_a_request_that_runs_while_a_generation_goes_live_is_the_same_to_the_last_bit(
    llm: Any, second: Path
) -> None:
    def publish() -> None:
        with Store.open(second) as store:
            hold(store, [])
        time.sleep(1)  # between two looks at the disk

    alone = run(llm)
    before = run(llm, LONG + TOWER.text)
    assert before.other.startswith(TOWER.object)
    # What another request in the batch does to this one, facts apart.
    assert before.tokens == alone.tokens
    assert before.logprobs == pytest.approx(alone.logprobs, abs=BATCHED)
    changed = run(llm, LONG + TOWER.text, publish)
    assert changed.other.startswith(AFTER)
    # What the publication does to it: nothing.
    assert (changed.tokens, changed.logprobs) == (before.tokens, before.logprobs)
    assert said(ask(llm, [TOWER.text])[0]).startswith(AFTER)
    assert llm.collective_rpc(_generations)[0] == [1, 2]


def _generations(worker: Any) -> list[int]:
    return sorted(view.generation for view in worker.model_runner.revisor.editions._views.values())
