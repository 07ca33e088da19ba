"""Texts by place and writing by row: what the engine tells, and what becomes of the logits."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from vllm.v1.sample.logits_processor import MoveDirectionality
from vllm.v1.sample.logits_processor.interface import BatchUpdate

from revisor.engines import vllm as plugin
from revisor.engines.vllm_hits import Hits, all_figures, tagged
from revisor.engines.vllm_rows import FactRows
from revisor.engines.vllm_source import Options, Source, probe_of
from revisor.errors import NotSupported, UsageError
from revisor.gate.trace import Used
from revisor.models.packaged import packaged_folder
from tests_vllm.material import LATER, PLAIN, QUAYLE, ZORBA

ALONE = plugin._Ranks(None)


class Kept(Hits):
    """Hits that are kept in memory."""

    def __init__(self) -> None:
        super().__init__(None, "0", lambda _: set())
        self.objects: list[str] = []

    def used(self, used: Any, namespace: str, *, tag: str, generation: int) -> None:
        super().used(used, namespace, tag=tag, generation=generation)
        self.objects.append(used.object)


@pytest.fixture(scope="module")
def source(store: Any) -> Source:
    folder = str(packaged_folder("smollm2"))
    return Source.open(store.path, folder, folder, vocabulary=49152, device="cpu")


@pytest.fixture
def hits() -> Kept:
    return Kept()


@pytest.fixture
def rows(source: Source, hits: Kept) -> FactRows:
    return FactRows(source, hits)


def ids_of(source: Source, text: str) -> list[int]:
    found: list[int] = source.gate.tokenizer(text)["input_ids"]
    return found


def noise(rows: int) -> torch.Tensor:
    return torch.randn(rows, 49152, generator=torch.Generator().manual_seed(rows))


def begin(rows: FactRows, source: Source, place: int, text: str, **options: Any) -> list[int]:
    ids = ids_of(source, text)
    rows.begin(place, Options(**options), ids, prompt=len(ids), now=source.now())
    return ids


def written(rows: FactRows, place: int, most: int = 24) -> list[int]:
    """The tokens that are written one after the other."""
    found = []
    while len(found) < most:
        logits = noise(1)
        before = logits.clone()
        rows.write(logits, [(0, place)])
        allowed = (logits[0] > -torch.inf).nonzero().flatten().tolist()
        if len(allowed) != 1:
            assert torch.equal(logits, before) or not found or len(allowed) > 1
            break
        found.append(allowed[0])
        rows.read(place, allowed)
    return found


def test_the_probe_is_found_by_the_checkpoint_s_files(store: Any, source: Source) -> None:
    assert source.gate.probe is not None
    assert torch.equal(source.gate.probe.weight_S, store.probe.weight_S)
    assert torch.equal(source.gate.probe.token_S, store.probe.token_S)


def test_a_checkpoint_without_a_probe_is_refused(store: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(packaged_folder("smollm2"))
    model.model.norm.weight.data += 1
    model.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(packaged_folder("smollm2"))
    with pytest.raises(NotSupported, match="revisor init"):
        probe_of(store, str(tmp_path), tokenizer)


def test_an_object_is_written_whole_and_told_once(
    rows: FactRows, source: Source, hits: Kept
) -> None:
    begin(rows, source, 3, QUAYLE.text)
    assert source.gate.tokenizer.decode(written(rows, 3)).strip() == QUAYLE.object
    assert hits.objects == [QUAYLE.object]
    assert hits.told()["by_namespace"] == {"ships": 1}


def test_other_rows_stay_as_they_are_bit_for_bit(rows: FactRows, source: Source) -> None:
    begin(rows, source, 0, PLAIN[0])
    begin(rows, source, 1, QUAYLE.text)
    begin(rows, source, 2, QUAYLE.text, facts=False)
    begin(rows, source, 5, QUAYLE.text, namespaces=("hr",))
    logits = noise(6)
    before = logits.clone()
    storage = logits.data_ptr()
    rows.write(logits, [(0, 0), (1, 1), (2, 2), (5, 5)])
    assert logits.data_ptr() == storage
    assert torch.equal(logits[[0, 2, 3, 4, 5]], before[[0, 2, 3, 4, 5]])
    assert int((logits[1] > -torch.inf).sum()) == 1


def test_a_row_is_the_one_that_the_engine_says(rows: FactRows, source: Source) -> None:
    begin(rows, source, 7, QUAYLE.text)
    logits = noise(3)
    rows.write(logits, [(2, 7)])
    assert torch.equal(logits[:2], noise(3)[:2])
    assert int((logits[2] > -torch.inf).sum()) == 1


def test_what_is_forbidden_is_not_written_nor_told(
    rows: FactRows, source: Source, hits: Kept
) -> None:
    begin(rows, source, 0, QUAYLE.text)
    free = noise(1)
    rows.write(free, [(0, 0)])
    token = int(free[0].argmax())
    other = FactRows(source, hits)
    begin(other, source, 0, QUAYLE.text)
    logits = noise(1)
    logits[0, token] = -torch.inf
    before = logits.clone()
    hits.objects.clear()
    other.write(logits, [(0, 0)])
    assert torch.equal(logits, before)
    assert hits.objects == []


def test_the_last_word_is_kept_from_going_on_unless_nothing_else_is_allowed(
    rows: FactRows, source: Source
) -> None:
    begin(rows, source, 0, QUAYLE.text)
    written(rows, 0)
    logits = noise(1)
    letters = ids_of(source, "ing")[0]
    rows.write(logits, [(0, 0)])
    assert logits[0, letters] == -torch.inf
    only = torch.full((1, 49152), -torch.inf)
    only[0, letters] = 1.0
    rows.write(only, [(0, 0)])
    assert only[0, letters] == 1.0


def test_requests_move_among_places(rows: FactRows, source: Source) -> None:
    begin(rows, source, 0, QUAYLE.text)
    begin(rows, source, 1, ZORBA.text, namespaces=("hr",))
    rows.move(0, 1, swap=True)
    assert source.gate.tokenizer.decode(written(rows, 0)).strip() == ZORBA.object
    rows.move(1, 4)
    assert 1 not in rows
    assert source.gate.tokenizer.decode(written(rows, 4)).strip() == QUAYLE.object


def change(source: Source, obj: str) -> None:
    store = source.store
    store.set_object(next(f.id for f in store.ledger.facts() if f.subject == QUAYLE.subject), obj)


def test_a_request_that_comes_back_has_the_facts_that_it_had(
    rows: FactRows, source: Source, hits: Kept
) -> None:
    prompt = begin(rows, source, 0, QUAYLE.text)
    ids = [*prompt, *written(rows, 0, most=2)]
    other = begin(rows, source, 1, QUAYLE.text)
    rows.end(0)
    change(source, LATER)
    try:
        rows.begin(9, Options(), ids, prompt=len(prompt), now=source.now())
        rest = source.gate.tokenizer.decode([*ids[len(prompt) :], *written(rows, 9)])
        assert rest.strip() == QUAYLE.object
        assert hits.objects == [QUAYLE.object]
        rows.begin(2, Options(), other, prompt=len(other), now=source.now())
        assert source.gate.tokenizer.decode(written(rows, 2)).strip() == LATER
    finally:
        change(source, QUAYLE.object)


def test_tokens_that_are_hidden_leave_a_request_without_facts(
    rows: FactRows, source: Source, hits: Kept
) -> None:
    begin(rows, source, 0, QUAYLE.text)
    begin(rows, source, 1, QUAYLE.text)
    rows.read(0, [-1])
    assert 0 not in rows
    assert hits.told()["failed"] == 1
    assert len(written(rows, 1)) > 1


def test_a_fault_in_one_request_is_that_request_s(
    rows: FactRows, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(rows, source, 0, QUAYLE.text)
    begin(rows, source, 1, QUAYLE.text)
    broken = rows._answers[0].row
    monkeypatch.setattr(broken, "action", lambda **_: 1 / 0)
    logits = noise(2)
    rows.write(logits, [(0, 0), (1, 1)])
    assert torch.equal(logits[0], noise(2)[0])
    assert int((logits[1] > -torch.inf).sum()) == 1
    assert rows.places == [1]


def test_a_generation_that_is_gone_leaves_a_request_without_facts(
    rows: FactRows, source: Source
) -> None:
    begin(rows, source, 0, QUAYLE.text, generation=10_000)
    assert 0 not in rows


# What a request says


@pytest.mark.parametrize(
    ("extra", "options"),
    [
        (None, Options()),
        ({"other": 1}, Options()),
        ({"revisor_facts": False}, Options(facts=False)),
        ({"revisor_facts": 0}, Options(facts=False)),
        ({"revisor_facts": "true"}, Options()),
        ({"revisor_namespace": "hr"}, Options(namespaces=("hr",))),
        ({"revisor_namespace": ["a", "b", "a"]}, Options(namespaces=("a", "b"))),
        ({"revisor_generation": 3.0}, Options(generation=3)),
        ({"revisor_generation": "3"}, Options(generation=3)),
        ({"revisor_tag": 17}, Options(tag="17")),
    ],
)
def test_options_are_read(extra: Any, options: Options) -> None:
    assert Options.read(extra) == options


@pytest.mark.parametrize(
    "extra",
    [
        {"facts": 2},
        {"facts": None},
        {"facts": []},
        {"namespace": ""},
        {"namespace": [""]},
        {"namespace": [1]},
        {"namespace": {}},
        {"generation": True},
        {"generation": 1.5},
        {"generation": float("inf")},
        {"generation": "١"},
        {"generation": 1 << 70},
        {"tag": ["a"]},
        {"fact": 1},
    ],
)
def test_options_that_cannot_be_meant_are_refused(extra: Any) -> None:
    with pytest.raises(UsageError):
        Options.read({f"revisor_{name}": value for name, value in extra.items()})


# The first runner


def update(**parts: Any) -> BatchUpdate:
    return BatchUpdate(
        **{"batch_size": 2, "removed": [], "added": [], "moved": []} | parts  # type: ignore[arg-type]
    )


def params(**extra: Any) -> Any:
    return SimpleNamespace(extra_args={f"revisor_{name}": one for name, one in extra.items()})


def test_the_first_runner_s_batch(source: Source, hits: Kept) -> None:
    batch = plugin._BatchV1(FactRows(source, hits, is_sure=False), ALONE, source)
    prompt, output = ids_of(source, QUAYLE.text), []
    plain = ids_of(source, PLAIN[0])
    batch.update(update(added=[(0, params(), plain, []), (1, params(), prompt, output)]))
    for _ in range(2):  # the first time the prompt is only read in part
        logits = noise(2)
        batch.apply(logits, None)
        assert torch.equal(logits[0], noise(2)[0])
        assert hits.objects == []
    output.append(int(logits[1].argmax()))
    batch.update(update(removed=[0], moved=[(1, 0, MoveDirectionality.UNIDIRECTIONAL)]))
    logits = noise(1)
    batch.apply(logits, None)
    assert hits.objects == [QUAYLE.object]
    output.append(int(logits[0].argmax()))
    assert QUAYLE.object.startswith(source.gate.tokenizer.decode(output).strip())
    batch.update(update(added=[(1, params(), prompt, [])]))
    batch.update(update(moved=[(0, 1, MoveDirectionality.SWAP)]))
    logits = noise(2)
    batch.apply(logits, None)
    assert int(logits[0].argmax()) == output[0]
    assert int(logits[1].argmax()) != output[0]


def test_the_first_runner_tells_the_last_token_of_a_request(source: Source, hits: Kept) -> None:
    batch = plugin._BatchV1(FactRows(source, hits, is_sure=False), ALONE, source)
    prompt, output, other = ids_of(source, QUAYLE.text), [], []
    batch.update(update(added=[(0, params(), prompt, output), (1, params(), prompt, other)]))
    logits = noise(2)
    batch.apply(logits, None)
    output.append(int(logits[0].argmax()))
    batch.update(update(removed=[0, 1]))  # the second one was taken back before it got a token
    assert hits.objects == [QUAYLE.object]


def test_embeddings_have_no_facts(source: Source) -> None:
    batch = plugin._BatchV1(FactRows(source, None, is_sure=False), ALONE, source)
    batch.update(update(added=[(0, params(), None, [])]))
    logits = noise(1)
    batch.apply(logits, None)
    assert torch.equal(logits, noise(1))


# The second runner


class States:
    """vLLM's state of the requests, of which a few tokens can be read."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.all_token_ids = SimpleNamespace(gpu=torch.zeros(8, 256, dtype=torch.int32))
        self.prompt_len = SimpleNamespace(np=np.zeros(8, dtype=np.int32))
        self.prefill_len = SimpleNamespace(np=np.zeros(8, dtype=np.int32))

    def add(self, slot: int, ids: list[int], prompt: int) -> None:
        self.all_token_ids.gpu[slot, : len(ids)] = torch.tensor(ids)
        self.prefill_len.np[slot] = len(ids)
        self.prompt_len.np[slot] = prompt


def context(states: States, lengths: dict[int, int]) -> Any:
    """The rows of a step: by slot, how many tokens are seen."""
    ids = [int(states.all_token_ids.gpu[slot, n - 1]) for slot, n in lengths.items()]
    return SimpleNamespace(
        idx_mapping_np=np.array(list(lengths)),
        seq_lens_upper_bound_np=np.array(list(lengths.values())),
        input_ids=torch.tensor(ids),
    )


def test_the_second_runner_s_batch(source: Source, hits: Kept) -> None:
    states = States()
    batch = plugin._BatchV2(FactRows(source, hits), ALONE, source, states)
    plain, prompt = ids_of(source, PLAIN[0]), ids_of(source, QUAYLE.text)
    assert not batch.add(2, params(facts=False))
    assert batch.add(6, params())
    assert batch.add(4, params())
    states.add(2, prompt, len(prompt))
    states.add(6, prompt, len(prompt))
    states.add(4, plain, len(plain))
    batch.begin()
    logits = noise(3)
    batch.apply(logits, context(states, {6: len(prompt) - 2, 2: len(prompt), 4: len(plain)}))
    assert torch.equal(logits, noise(3))  # a prompt that is read in part; no facts; nothing asked
    length, said = len(prompt), []
    for _ in range(3):
        logits = noise(2)
        batch.apply(logits, context(states, {4: len(plain), 6: length}))
        assert torch.equal(logits[0], noise(2)[0])
        said.append(int(logits[1].argmax()))
        states.all_token_ids.gpu[6, length] = said[-1]
        length += 1
    assert QUAYLE.object.startswith(source.gate.tokenizer.decode(said).strip())
    assert hits.objects == [QUAYLE.object]
    # It is preempted and comes back into another slot, with all its tokens as a prompt to be read.
    batch.add(1, params())
    states.add(1, [*prompt, *said], len(prompt))
    batch.begin()
    logits = noise(1)
    batch.apply(logits, context(states, {1: length}))
    said.append(int(logits[0].argmax()))
    assert QUAYLE.object.startswith(source.gate.tokenizer.decode(said).strip())
    assert hits.objects == [QUAYLE.object]


def test_ranks_have_the_same_facts_and_each_fact_is_told_by_one(source: Source) -> None:
    told: list[Any] = []

    class Group:
        world_size = 2

        def __init__(self, rank: int) -> None:
            self.rank_in_group = rank

        def broadcast_object(self, value: Any, src: int) -> Any:
            if self.rank_in_group == src:
                told.append(value)
            return told[-1]

    said, batches, logs = [], [], [Kept(), Kept()]
    states = States()
    prompt = ids_of(source, QUAYLE.text)
    states.add(3, prompt, len(prompt))
    for rank in range(2):
        ranks = plugin._Ranks(Group(rank))
        batches.append(plugin._BatchV2(FactRows(source, logs[rank]), ranks, source, states))
        batches[rank].add(3, params())
        batches[rank].begin()
        if rank == 0:
            change(source, LATER)
    try:
        for batch in batches:
            logits = noise(1)
            batch.apply(logits, context(states, {3: len(prompt)}))
            said.append(int(logits[0].argmax()))
        assert said[0] == said[1]
        assert [log.objects for log in logs] == [[], [QUAYLE.object]]
    finally:
        change(source, QUAYLE.object)


# Which engines are refused


def config(**parts: Any) -> Any:
    return SimpleNamespace(
        speculative_config=parts.get("speculative"),
        num_speculative_tokens=parts.get("tokens", 0),
        model_config=SimpleNamespace(logits_processors=parts.get("named")),
        scheduler_config=SimpleNamespace(async_scheduling=parts.get("asynchronous", False)),
    )


@pytest.mark.parametrize("is_v2", [False, True])
def test_speculative_decoding_is_refused(is_v2: bool) -> None:
    for one in (config(speculative=object(), tokens=3), config(tokens=3)):
        with pytest.raises(NotSupported, match="speculative"):
            plugin.check(one, is_v2=is_v2)


def test_the_endpoint_refuses_an_engine_that_leaves_processors_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = SimpleNamespace(vllm_config=config(speculative=object(), tokens=3))
    client.vllm_config.use_v2_model_runner = False
    endpoint = plugin.FactsEndpoint()
    monkeypatch.delenv("REVISOR_STORE", raising=False)
    asyncio.run(endpoint.init_state(client, None, None))
    monkeypatch.setenv("REVISOR_STORE", "store")
    asyncio.run(endpoint.init_state(None, None, None))
    with pytest.raises(NotSupported, match="speculative"):
        asyncio.run(endpoint.init_state(client, None, None))


def test_an_engine_that_hides_its_tokens_is_refused() -> None:
    with pytest.raises(NotSupported, match="--logits-processors"):
        plugin.check(config(asynchronous=True), is_v2=False)
    plugin.check(config(asynchronous=True, named=[plugin.ITSELF]), is_v2=False)
    plugin.check(config(asynchronous=True), is_v2=True)
    plugin.check(config(), is_v2=False)


def test_without_a_store_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REVISOR_STORE", raising=False)
    made = plugin.FactLogitsProcessor(config(tokens=3), "cpu", False)
    logits = noise(1)
    assert made.apply(logits) is logits
    assert torch.equal(logits, noise(1))
    assert not made.add_request(0, params(facts="perhaps"))
    plugin.FactLogitsProcessor.validate_params(params(facts="perhaps"))


# What is told


def test_the_log_forgets_what_was_purged(tmp_path: Path) -> None:
    file, gone = tmp_path / "hits.jsonl", set[str]()
    log = Hits(file, "0-0", lambda ids: gone & set(ids))
    for fact_id in ("a", "b"):
        used = Used(
            fact_id=fact_id,
            subject="S",
            object="O",
            question="{} is",
            score=1.0,
            threshold=0.5,
            position=3,
        )
        log.used(used, "hr", tag=f"tag-{fact_id}", generation=1)
    wait_for(lambda: len(tagged(file, "tag-b")) == 1)
    gone.add("a")
    log.forget_purged()
    assert tagged(file, "tag-a") == []
    (left,) = tagged(file, "tag-b")
    assert left["facts_used"][0]["namespace"] == "hr"
    wait_for(lambda: all_figures(file).get("0-0", {}).get("facts_used") == 2)


def wait_for(is_so: Any) -> None:
    until = datetime.now(UTC).timestamp() + 20
    while not is_so():
        assert datetime.now(UTC).timestamp() < until
