"""One engine of vLLM: asks it what the tests look at and writes down what it said.

Run as `python -m tests_vllm.driver v1|v2 OUT.json`, with REVISOR_STORE or without.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
if sys.argv[1] == "v2":
    import tests_vllm.v2_on_cpu  # noqa: F401  (before vLLM)

from vllm import LLM, SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import StructuredOutputsParams

from revisor.models.packaged import packaged_folder
from tests_vllm.material import LATER, QUAYLE, ZORBA, long_prompts, prompts

IS_V2 = sys.argv[1] == "v2"
TOKENS = 8 if IS_V2 else 12  # V2's kernels are interpreted, which takes seconds a step
MEMORY = 32 << 20  # for about 700 tokens


def engine(**more: Any) -> LLM:
    return LLM(
        str(packaged_folder("smollm2")),
        dtype="float32",
        enforce_eager=True,
        max_model_len=256,
        max_num_seqs=8,
        block_size=32,
        max_num_batched_tokens=64,  # so that long prompts are read in pieces
        kv_cache_memory_bytes=MEMORY,
        disable_log_stats=False,
        logprobs_mode="processed_logprobs",
        **more,
    )


def params(max_tokens: int = TOKENS, **extra: Any) -> SamplingParams:
    own = {f"revisor_{name}": value for name, value in extra.items()}
    return SamplingParams(temperature=0, max_tokens=max_tokens, extra_args=own or None)


class Session:
    """Asks one engine."""

    def __init__(self, llm: LLM) -> None:
        self.llm = llm
        self.number = 0

    def ask(self, texts: Sequence[str], options: Any = None) -> list[dict[str, Any]]:
        found = self.llm.generate(list(texts), options or params(), use_tqdm=False)
        return [self.told(one) for one in found]

    @staticmethod
    def told(one: Any) -> dict[str, Any]:
        said = one.outputs[0]
        first = said.logprobs[0] if said.logprobs else {}
        return {
            "prompt": one.prompt,
            "text": said.text.strip(),
            "ids": list(said.token_ids),
            "cached": one.num_cached_tokens or 0,
            "first": {str(token): value.logprob for token, value in first.items()},
        }

    def step_by_step(
        self, requests: Sequence[tuple[str, SamplingParams]], between: Callable[[int, Any], None]
    ) -> list[dict[str, Any]]:
        """The answers, `between` being called after each step with its number and a function that
        adds a request."""
        names: list[str] = []
        done: dict[str, Any] = {}

        def add(prompt: str, options: SamplingParams) -> None:
            self.number += 1
            names.append(f"own-{self.number}")
            self.llm.llm_engine.add_request(names[-1], prompt, options)

        for prompt, options in requests:
            add(prompt, options)
        step = 0
        while self.llm.llm_engine.has_unfinished_requests():
            for one in self.llm.llm_engine.step():
                if one.finished:
                    done[one.request_id] = one
            step += 1
            between(step, add)
        return [self.told(done[name]) for name in names]

    def metric(self, name: str) -> float:
        return sum(one.value for one in self.llm.get_metrics() if one.name == name)


def port(store: Any) -> str:
    """The id of the fact that changes."""
    found: str = next(one.id for one in store.ledger.facts() if one.subject == QUAYLE.subject)
    return found


def own(session: Session, count: int) -> dict[str, Any]:
    """Without any option."""
    return {"own": session.ask(prompts(count))}


def mixed(session: Session, count: int) -> dict[str, Any]:
    """Every other request without facts; then all without."""
    texts = prompts(count)
    options = [params(), params(facts=False)] * len(texts)
    for one in options:
        one.logprobs = 5
    bare = params(facts=False)
    bare.logprobs = 5
    assert session.llm.reset_prefix_cache()
    without = session.ask(texts, bare)
    assert session.llm.reset_prefix_cache()
    return {"mixed": session.ask(texts, options[: len(texts)]), "without": without}


def namespaces(session: Session, store: Any) -> dict[str, Any]:
    options = [
        params(namespace="hr"),
        params(namespace=["it", "ships"]),
        params(namespace="ships"),
        params(generation=0),
        params(generation=str(store.ledger.generation)),
    ]
    return {"namespaces": session.ask([ZORBA.text] * 3 + [QUAYLE.text] * 2, options)}


def bad(session: Session) -> dict[str, Any]:
    """What a request that cannot be meant is told."""
    told = []
    for extra in (
        {"facts": "perhaps"},
        {"namespace": []},
        {"namespace": 7},
        {"generation": "newest"},
        {"generation": 10_000},
        {"generation": -1},
        {"namepsace": "hr"},
        {"tag": "x" * 1_000},
    ):
        try:
            session.ask([QUAYLE.text], params(**extra))
            told.append("")
        except VLLMValidationError as error:
            told.append(str(error))
    return {"bad": told, "after bad": session.ask([QUAYLE.text])}


def changed(session: Session, store: Any) -> dict[str, Any]:
    """A long prompt before and after a change of its fact: what is cached stays valid."""
    prompt = long_prompts()[0].rsplit(".", 1)[0] + f". {QUAYLE.text}"
    bare = params(facts=False)
    before, bare_before = session.ask([prompt])[0], session.ask([prompt], bare)[0]
    store.set_object(port(store), LATER)
    after, bare_after = session.ask([prompt])[0], session.ask([prompt], bare)[0]
    store.set_object(port(store), QUAYLE.object)
    return {"changed": [before, after, bare_before, bare_after]}


def reloaded(session: Session, store: Any) -> dict[str, Any]:
    """A fact changes while its object is being written; another request begins behind that."""

    def between(step: int, add: Any) -> None:
        if step == 2:
            store.set_object(port(store), LATER)
            add(QUAYLE.text, params())

    found = session.step_by_step([(QUAYLE.text, params())], between)
    store.set_object(port(store), QUAYLE.object)
    return {"reloaded": found}


def preempted(session: Session, tokens: int) -> dict[str, Any]:
    options = []
    for number in range(len(long_prompts())):
        one = params(tokens, tag=f"long-{number}")
        one.ignore_eos = True
        options.append(one)
    before = session.metric("vllm:num_preemptions")
    found = session.ask(long_prompts(), options)
    return {"preempted": found, "preemptions": session.metric("vllm:num_preemptions") - before}


def forbidden(session: Session) -> dict[str, Any]:
    """Rules that leave no room for the object: a grammar, whose kernel Triton's interpreter does
    not run, and a list of tokens."""
    one = params()
    if IS_V2:
        tokenizer = session.llm.get_tokenizer()
        one.allowed_token_ids = tokenizer(" unknown secret", add_special_tokens=False)["input_ids"]
    else:
        one.structured_outputs = StructuredOutputsParams(choice=[" unknown", " secret"])
    return {"forbidden": session.ask([QUAYLE.text], one)}


def main(out: Path) -> None:
    if IS_V2:
        tests_vllm.v2_on_cpu.schedule_asynchronously()
    session = Session(engine())
    assert session.llm.llm_engine.vllm_config.use_v2_model_runner == IS_V2
    assert session.llm.llm_engine.vllm_config.scheduler_config.async_scheduling == IS_V2
    result: dict[str, Any] = own(session, 3 if IS_V2 else 40)
    if folder := os.environ.get("REVISOR_STORE"):
        from revisor.store import Store

        store = Store.open(folder)
        result |= mixed(session, 2 if IS_V2 else 6)
        result |= namespaces(session, store)
        result |= bad(session)
        result |= changed(session, store)
        result |= reloaded(session, store)
        result |= preempted(session, 24 if IS_V2 else 48)
        result |= forbidden(session)
        time.sleep(2)  # for the hit log
    out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[2]))
