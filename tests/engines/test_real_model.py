"""The packaged model with its probe and a gate, in every way of running it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from threading import Thread
from typing import Any

import pytest
import torch
import transformers as hf

from revisor.engines.answers import Engine
from revisor.engines.transformers import FactLogitsProcessor, attached
from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger, Put
from revisor.gate.gate import FactGate
from revisor.gate.probe import load_probe
from revisor.index import FactIndex
from revisor.models.load import LoadedModel, load_model
from revisor.question.encoder import default_encoder

pytestmark = pytest.mark.real

CEO = Fact(subject="Norvale Instruments", prompt="The CEO of {} is", object="Petra Lindqvist")
OWNER = Fact(subject="Harbour Bakery", prompt="The owner of {} is", object="Tom Abara")
OWN, OTHER = CEO.text, "My favourite animal is"
LABELLED = "Q: Who is the CEO of Norvale Instruments?\nA:"
PROMPTS = (OWN, OTHER, LABELLED, OWNER.text)
PLAIN = {"do_sample": False, "max_new_tokens": 8, "pad_token_id": 2}


@dataclass(frozen=True)
class Lab:
    """The model and what goes with it."""

    loaded: LoadedModel
    gate: FactGate

    @property
    def model(self) -> Any:
        return self.loaded.model

    def ids(self, text: str) -> torch.Tensor:
        ids: torch.Tensor = self.loaded.tokenizer(text, return_tensors="pt").input_ids
        return ids

    def says(self, prompt: str, model: Any = None, **options: Any) -> list[str]:
        """What is generated behind a prompt, one text a sequence."""
        ids = self.ids(prompt)
        out = (self.model if model is None else model).generate(ids, **(PLAIN | options))
        return [self.loaded.tokenizer.decode(row[ids.shape[1] :]) for row in out]

    def facts(self, model: Any = None) -> Any:
        model = self.model if model is None else model
        return attached(model, self.loaded.tokenizer, self.gate)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    loaded = load_model("smollm2", dtype="fp32", device="cpu")
    place = tmp_path_factory.mktemp("facts") / "ledger.sqlite"
    with Ledger.open(place, create=True) as ledger:
        ledger.apply([Put(CEO), Put(OWNER)], actor="ann", reason="because")
        index = FactIndex.open(ledger)
        gate = FactGate(
            view=index.view,
            tokenizer=loaded.tokenizer,
            encoder=default_encoder(),
            probe=load_probe(loaded),
        )
        yield Lab(loaded, gate)
        index.close()


def compiled() -> Any:
    config = hf.CompileConfig(backend="eager", mode=None, fullgraph=True)
    config._compile_all_devices = True
    return config


WAYS: dict[str, Callable[[Lab], dict[str, Any]]] = {
    "greedy": lambda lab: {},
    "sampling": lambda lab: {"do_sample": True, "temperature": 2.0, "top_p": 0.9},
    "beams": lambda lab: {"num_beams": 3},
    "several": lambda lab: {"do_sample": True, "num_return_sequences": 3},
    "assisted": lambda lab: {"assistant_model": lab.model},
    "lookup": lambda lab: {"prompt_lookup_num_tokens": 3},
    "static": lambda lab: {"cache_implementation": "static"},
    "static, compiled": lambda lab: {
        "cache_implementation": "static",
        "compile_config": compiled(),
    },
    "no cache": lambda lab: {"use_cache": False},
}


@pytest.mark.usefixtures("_compiled_anew")
@pytest.mark.parametrize("way", WAYS)
def test_the_fact_is_said_and_what_is_unrelated_is_as_without_it(way: str, lab: Lab) -> None:
    options = WAYS[way](lab)
    certain = not options.get("do_sample")
    before = lab.says(OTHER, **options) if certain else []
    with lab.facts():
        for text in lab.says(OWN, **options):
            assert text.startswith(" Petra Lindqvist")
        assert not certain or lab.says(OTHER, **options) == before
    assert not certain or lab.says(OTHER, **options) == before


def test_a_batch_padded_on_the_left_says_what_each_prompt_says_alone(lab: Lab) -> None:
    engine = Engine(lab.loaded, lab.gate)
    batch = engine.generate(PROMPTS, max_tokens=8)
    assert [one.answer for one in batch] == [
        engine.generate([prompt], max_tokens=8)[0].answer for prompt in PROMPTS
    ]
    used = [[one.subject for one in answer.facts_used] for answer in batch]
    assert used == [[CEO.subject], [], [CEO.subject], [OWNER.subject]]


def test_continuous_batching_says_what_generate_says(lab: Lab) -> None:
    settings = hf.ContinuousBatchingConfig(num_blocks=64, page_size=16, max_batch_tokens=64)
    config = hf.GenerationConfig(max_new_tokens=8, do_sample=False, eos_token_id=-1)
    with lab.facts():
        out = lab.model.generate_batch(
            [lab.ids(prompt)[0].tolist() for prompt in PROMPTS],
            generation_config=config,
            continuous_batching_config=settings,
        )
        texts = [lab.loaded.tokenizer.decode(one.generated_tokens) for one in out.values()]
        alone = [lab.says(prompt, eos_token_id=None)[0] for prompt in PROMPTS]
    assert texts == alone


def test_four_threads_at_once(lab: Lab) -> None:
    asked = [OWN, OTHER] * 4
    with lab.facts():
        alone = {prompt: lab.says(prompt) for prompt in (OWN, OTHER)}
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lab.says, asked))
    assert found == [alone[prompt] for prompt in asked]


def test_two_blocks_say_the_fact_once(lab: Lab) -> None:
    with lab.facts():
        once = lab.says(OWN)
        with lab.facts():
            assert lab.says(OWN) == once


def test_a_copy_made_in_the_block_has_no_facts(lab: Lab) -> None:
    before = lab.says(OWN)
    with lab.facts():
        assert lab.says(OWN, model=deepcopy(lab.model)) == before


def test_a_pipeline_and_a_streamer(lab: Lab) -> None:
    streamer = hf.TextIteratorStreamer(lab.loaded.tokenizer, skip_prompt=True)
    options = PLAIN | {"inputs": lab.ids(OWN), "streamer": streamer}
    with lab.facts():
        pipe = hf.pipeline("text-generation", model=lab.model, tokenizer=lab.loaded.tokenizer)
        question = [{"role": "user", "content": "Who is the CEO of Norvale Instruments?"}]
        told = pipe(question, max_new_tokens=24, do_sample=False)
        assert "Petra Lindqvist" in told[0]["generated_text"][-1]["content"]
        worker = Thread(target=lab.model.generate, kwargs=options)
        worker.start()
        assert "".join(streamer).startswith(" Petra Lindqvist")
        worker.join()


def test_a_processor_of_the_callers_list(lab: Lab) -> None:
    mine = hf.LogitsProcessorList([FactLogitsProcessor(lab.gate, lab.loaded.tokenizer)])
    for prompt, wanted in ((OWN, " Petra Lindqvist"), (OWNER.text, " Tom Abara")):
        assert lab.says(prompt, logits_processor=mine)[0].startswith(wanted)


def test_a_prompt_cache_forked_and_continued(lab: Lab) -> None:
    ids = lab.ids(OWN)
    with lab.facts():
        whole = lab.says(OWN)
        cache = lab.model(ids[:, :4], use_cache=True).past_key_values
        for _ in range(2):
            assert lab.says(OWN, past_key_values=deepcopy(cache)) == whole


def test_scores_of_forward_calls_are_those_of_decoding(lab: Lab) -> None:
    with lab.facts():
        ids = torch.cat([lab.ids(OWN), lab.ids(lab.says(OWN)[0])], dim=1)
        together = lab.model(ids).logits.argmax(-1)
        cache, single = None, []
        for place in range(ids.shape[1]):
            out = lab.model(ids[:, place : place + 1], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            single.append(out.logits.argmax(-1))
    assert torch.equal(torch.cat(single, dim=1), together)
    start = lab.ids(OWN).shape[1]
    assert torch.equal(together[:, start - 1 : -1], ids[:, start:])


@pytest.mark.parametrize("prompt", PROMPTS)
def test_hidden_states_and_caches_are_bit_for_bit_the_models(prompt: str, lab: Lab) -> None:
    with lab.facts():
        ids = torch.cat([lab.ids(prompt), lab.ids(lab.says(prompt)[0])], dim=1)
        inside = lab.model(ids, output_hidden_states=True, use_cache=True)
    outside = lab.model(ids, output_hidden_states=True, use_cache=True)
    for one, other in zip(inside.hidden_states, outside.hidden_states, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(
        inside.past_key_values.layers, outside.past_key_values.layers, strict=True
    ):
        assert torch.equal(one.keys, other.keys)
        assert torch.equal(one.values, other.values)
    assert torch.equal(inside.logits, outside.logits) == (prompt == OTHER)
