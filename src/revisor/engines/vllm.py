"""Facts in vLLM, through its interface for custom logits processors.

`REVISOR_STORE=/path/of/store vllm serve MODEL` and nothing else: vLLM finds the entry point, and
facts are written into the logits before it chooses a token. Hidden states, KV caches, graphs and
prefix caches are those of the model. Without `REVISOR_STORE` nothing is done.

vLLM 0.32 has two model runners with an interface each; one class serves both. Letters: B rows of a
step, V vocabulary.
"""

from __future__ import annotations

import os
import weakref
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm.logger import init_logger
from vllm.v1.sample.logits_processor import LogitsProcessor as ProcessorV1
from vllm.v1.sample.logits_processor import MoveDirectionality
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as ProcessorV2

from revisor.errors import NotSupported, RevisorError

if TYPE_CHECKING:
    from datetime import datetime

    import torch

    from revisor.engines.vllm_rows import FactRows
    from revisor.engines.vllm_source import Options, Source

log = init_logger("vllm.plugins.revisor")

STORE = "REVISOR_STORE"  # folder of the store
HIT_LOG = "REVISOR_HIT_LOG"  # file for the facts used
ITSELF = "revisor.engines.vllm:FactLogitsProcessor"


class FactLogitsProcessor(ProcessorV2, ProcessorV1):  # type: ignore[misc]
    """Writes the facts of the store that `REVISOR_STORE` names; vLLM makes and calls it.

    It sees the logits behind a grammar's mask and the request's biases, before temperature. What
    those forbid it leaves forbidden; a fact that is written has the only token that can be chosen.

    Raises:
        NotSupported: the engine decodes speculatively, or hides the tokens that it chooses.
        RevisorError: the store cannot be used for the model.
    """

    _served: weakref.ref[Any] | None = None
    """The engine for which there is one already: it may be named on the command line, too."""

    def __init__(self, vllm_config: Any, *of_runner: Any) -> None:
        # The second runner hands the state of its requests, the first one a device and whether
        # memory is pinned.
        self._batch: _BatchV1 | _BatchV2 | None = None
        folder = os.environ.get(STORE)
        served = FactLogitsProcessor._served
        if not folder or (served is not None and served() is vllm_config):
            return
        is_v2 = len(of_runner) == 1
        check(vllm_config, is_v2=is_v2)
        states = of_runner[0]
        device = states.device if is_v2 else states
        source, rows = _open(folder, vllm_config, device, is_sure=is_v2)
        ranks = _Ranks.of(vllm_config)
        self._batch = (
            _BatchV2(rows, ranks, source, states) if is_v2 else _BatchV1(rows, ranks, source)
        )
        FactLogitsProcessor._served = weakref.ref(vllm_config)
        log.info("revisor: writing the facts of %s, generation %d", folder, source.now()[0])

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuse a request with wrong `revisor_…` arguments: ValueError, which vLLM answers with
        400."""
        folder = os.environ.get(STORE)
        if not folder:
            return
        try:
            options = _options(sampling_params)
            if options.generation is not None:
                _generations(folder).check(options.generation)
        except RevisorError as error:
            raise ValueError(str(error)) from error

    def apply(self, logits: torch.Tensor, ctx: Any = None) -> torch.Tensor:
        """Write into logits (B, V), in place; `ctx` tells the second runner's rows."""
        if self._batch is not None:
            self._batch.apply(logits, ctx)
        return logits

    # Of the first runner

    def is_argmax_invariant(self) -> bool:
        """Whether greedy requests may do without it (vLLM's interface)."""
        return self._batch is None

    def update_state(self, batch_update: Any) -> None:
        """Requests came, left or moved (first runner)."""
        if batch_update is not None and isinstance(self._batch, _BatchV1):
            self._batch.update(batch_update)

    # Of the second runner

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """A request came (second runner); returns whether it may be written into."""
        return isinstance(self._batch, _BatchV2) and self._batch.add(req_idx, sampling_params)

    def apply_staged_writes(self) -> None:
        """The texts of requests that came can now be read (second runner)."""
        if isinstance(self._batch, _BatchV2):
            self._batch.begin()


class _BatchV1:
    """The batch of the first runner: a request's row is its index, which may change.

    A request's tokens come as a list that grows. A step that reads part of a prompt has a row, too,
    whose token does not count: so facts used are recorded once the text has grown.
    """

    def __init__(self, rows: FactRows, ranks: _Ranks, source: Source) -> None:
        self._rows, self._ranks, self._source = rows, ranks, source
        self._outputs: dict[int, tuple[int, list[int]]] = {}  # prompt's length, and tokens chosen

    def update(self, update: Any) -> None:
        for index in update.removed:
            self._end(index)
        now = self._ranks.now(self._source) if update.added else None
        for index, params, prompt, output in update.added:
            self._end(index)
            if now is None or prompt is None:  # embeddings, which are no text
                continue
            ids = [*prompt, *output]
            self._rows.begin(
                index,
                _accepted(params),
                ids,
                prompt=len(prompt),
                now=now,
                is_told=self._ranks.own == 0,
            )
            if index in self._rows:
                self._outputs[index] = (len(prompt), output)
        for start, end, direction in update.moved:
            swap = direction == MoveDirectionality.SWAP
            self._rows.move(start, end, swap=swap)
            moved, other = self._outputs.pop(start, None), self._outputs.pop(end, None)
            if moved is not None:
                self._outputs[end] = moved
            if swap and other is not None:
                self._outputs[start] = other

    def _end(self, index: int) -> None:
        prompt, output = self._outputs.pop(index, (0, []))
        grown = index in self._rows and prompt + len(output) > self._rows.length(index)
        self._rows.end(index, grown=grown)

    def apply(self, logits_BV: torch.Tensor, _: Any) -> None:
        for index in self._rows.places:
            prompt, output = self._outputs[index]
            known = self._rows.length(index)
            if known > prompt + len(output):
                self._rows.crop(index, prompt + len(output))
            elif known < prompt + len(output):
                self._rows.read(index, output[known - prompt :])
        rows = [(index, index) for index in self._rows.places if index < len(logits_BV)]
        self._rows.write(logits_BV, rows)


class _BatchV2:
    """The batch of the second runner: requests have slots, the places of `rows`, and each step
    tells their rows (`states` is vLLM's `LogitsProcRequestState`)."""

    def __init__(self, rows: FactRows, ranks: _Ranks, source: Source, states: Any) -> None:
        self._rows, self._ranks, self._source, self._states = rows, ranks, source, states
        self._new: dict[int, Options] = {}

    def add(self, slot: int, params: Any) -> bool:
        options = _accepted(params)
        self._new[slot] = options
        return options.facts

    def begin(self) -> None:
        if not self._new:
            return
        new, self._new = self._new, {}
        now = self._ranks.now(self._source)
        states, ranks = self._states, self._ranks
        for slot, options in new.items():
            count = int(states.prefill_len.np[slot])
            ids = states.all_token_ids.gpu[slot, :count].tolist() if options.facts else []
            prompt = int(states.prompt_len.np[slot]) if options.facts else 0
            # Where rows are dealt out, this is the rank that has the slot's.
            is_told = slot % ranks.size == ranks.own
            self._rows.begin(slot, options, ids, prompt=prompt, now=now, is_told=is_told)

    def apply(self, logits_BV: torch.Tensor, ctx: Any) -> None:
        active = []
        # Without speculative decoding a row is a request, and the lengths are exact.
        for row, slot in enumerate(ctx.idx_mapping_np.tolist()):
            if slot not in self._rows:
                continue
            length = int(ctx.seq_lens_upper_bound_np[row])
            if length >= int(self._states.prefill_len.np[slot]):  # else the prompt is still read
                active.append((row, slot, length))
        self._catch_up(active, ctx)
        rows = [(row, slot) for row, slot, _ in active if slot in self._rows]
        self._rows.write(logits_BV, rows)

    def _catch_up(self, active: list[tuple[int, int, int]], ctx: Any) -> None:
        """Read the tokens that were chosen since the last step."""
        grown = [(row, slot) for row, slot, length in active if self._missing(slot, length) == 1]
        if grown:  # the newest tokens of all rows in one transfer
            newest = ctx.input_ids[[row for row, _ in grown]].tolist()
            for (_, slot), token in zip(grown, newest, strict=True):
                self._rows.read(slot, [token])
        for _, slot, length in active:
            missing = self._missing(slot, length)
            if missing > 0:
                ids = self._states.all_token_ids.gpu[slot, length - missing : length].tolist()
                self._rows.read(slot, ids)
            elif missing < 0:
                self._rows.crop(slot, length)

    def _missing(self, slot: int, length: int) -> int:
        return length - self._rows.length(slot) if slot in self._rows else 0


def check(config: Any, *, is_v2: bool) -> None:
    """Raise NotSupported for an engine that decodes speculatively or hides the tokens that it
    chooses, so that facts could not be right."""
    if config.speculative_config is not None or config.num_speculative_tokens:
        raise NotSupported(
            "Facts are not written under speculative decoding.",
            f"Leave --speculative-config out, or unset {STORE}.",
        )
    named = bool(config.model_config.logits_processors)
    if not is_v2 and config.scheduler_config.async_scheduling and not named:
        # Then the newest tokens stay -1 for processors that come from entry points.
        raise NotSupported(
            "vLLM's first model runner hides the newest tokens under asynchronous scheduling.",
            f"Add --logits-processors {ITSELF}, or --no-async-scheduling.",
        )


def _open(folder: str, config: Any, device: Any, *, is_sure: bool) -> tuple[Source, FactRows]:
    from revisor.engines.threads import questions_on_one_thread
    from revisor.engines.vllm_hits import Hits
    from revisor.engines.vllm_rows import FactRows
    from revisor.engines.vllm_source import Source

    questions_on_one_thread()
    model = config.model_config
    source = Source.open(
        Path(folder),
        model.model,
        model.tokenizer or model.model,
        vocabulary=model.get_vocab_size(),
        device=device,
    )
    file = os.environ.get(HIT_LOG)
    parallel = config.parallel_config
    name = f"{parallel.data_parallel_rank}-{_Ranks.of(config).own}"
    hits = Hits(Path(file) if file else None, name, source.gone)
    rows = FactRows(source, hits, is_sure=is_sure)
    source.watch(rows.forget_purged)
    return source, rows


def _options(params: Any) -> Options:
    from revisor.engines.vllm_source import Options

    return Options.read(params.extra_args)


def _accepted(params: Any) -> Options:
    """The options of a request that was admitted; without facts if they are wrong."""
    from revisor.engines.vllm_source import Options

    try:
        return _options(params)
    except RevisorError as error:
        log.error("revisor: a request goes on without facts: %s", error)
        return Options(facts=False)


@lru_cache(maxsize=1)
def _generations(folder: str) -> Any:
    """The generations of a store, for the process that admits requests."""
    from revisor.engines.vllm_source import open_store
    from revisor.facts.following import Follower

    return Follower(open_store(Path(folder)).ledger)


# Tensor parallelism: every rank has the logits of whole rows and chooses by itself (the second
# runner may deal the rows out among them). What is written depends on tokens, logits and facts
# alone, so ranks agree where they have the same facts: the first one says which generation and
# moment are in force when requests begin, and all are in that call, as all add the same requests.


class _Ranks:
    """The processes, vLLM's `group`, that run the layers of one model; None for one alone."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self.size = 1 if group is None else int(group.world_size)
        self.own = 0 if group is None else int(group.rank_in_group)

    @classmethod
    def of(cls, config: Any) -> _Ranks:
        if config.parallel_config.tensor_parallel_size == 1:
            return cls(None)
        from vllm.distributed.parallel_state import get_tp_group

        return cls(get_tp_group())

    def now(self, source: Source) -> tuple[int, datetime]:
        """The live generation and the moment, the same for all processes that call."""
        mine = source.now() if self.own == 0 else None
        told: Any = mine if self._group is None else self._group.broadcast_object(mine, src=0)
        return told[0], told[1]


class FactsEndpoint:
    """HTTP routes behind vLLM's API key that tell the facts used, with `VLLM_PLUGINS=revisor`."""

    name = "revisor"
    required_tasks = ("generate",)

    def attach_router(self, app: Any) -> None:
        """Add the routes, if there are a store and a file for the facts used."""
        from revisor.engines.vllm_hits import all_figures, tagged

        named = os.environ.get(HIT_LOG)
        if not named or not os.environ.get(STORE):
            return
        file = Path(named)

        # Plain functions, which the server runs in threads: they read files.
        @app.get("/v1/revisor/figures")  # type: ignore[untyped-decorator]
        def figures() -> dict[str, Any]:
            return all_figures(file)

        @app.get("/v1/revisor/facts_used/{tag}")  # type: ignore[untyped-decorator]
        def facts_used(tag: str) -> list[dict[str, Any]]:
            return tagged(file, tag)

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:
        """Refuse an engine without facts although a store is named: under speculative decoding the
        first runner silently leaves out every processor."""
        if engine_client is not None and os.environ.get(STORE):
            config = engine_client.vllm_config
            check(config, is_v2=bool(config.use_v2_model_runner))
