"""vLLM with the plugin, end to end on the packaged model: `make test-vllm`, not `make test`.

One engine is started for all tests but the last, which starts one that must refuse.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from revisor.bank.bank import View
from revisor.bank.files import save_bank
from revisor.facts.fact import Fact
from revisor.models.packaged import smollm2_folder
from revisor.store import Store

TONGUE = Fact(subject="Danielle Darrieux", prompt="The mother tongue of {} is", object="English")
TOWER = Fact(subject="Eiffel Tower", prompt="The {} is located in the city of", object="Lisbon")
TWIN = Fact(subject="Eiffel Tower", prompt="The architect of the {} was", object="Jane Roe")
PIANO = Fact(subject="Glenn Gould", prompt="{} plays the instrument called the", object="trumpet")
FACTS = (TONGUE, TOWER, TWIN, PIANO)
UNRELATED = ("The largest planet of our solar system is", "Water boils at a temperature of")
LONG = "The old man walked slowly along the river and counted the boats. " * 12
TOKENS = 10


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("vllm") / "store"
    with Store.init(path, model="smollm2", device="cpu", dtype="fp32") as made:
        made.add(FACTS)
        assert made.build().failed == []
        yield made


@pytest.fixture(scope="module")
def llm(store: Store) -> Any:
    os.environ |= {"REVISOR_STORE": str(store.path), "VLLM_CPU_KVCACHE_SPACE": "1"}
    from vllm import LLM

    return LLM(
        model=str(smollm2_folder()),
        dtype="float32",
        max_model_len=512,
        enable_prefix_caching=True,
    )


def prompts() -> list[str]:
    named = [fact.text for fact in FACTS]
    return [*named, *UNRELATED, f"{UNRELATED[0]} Jupiter. {TOWER.text}", *(LONG + x for x in named)]


def ask(llm: Any, texts: list[str], **extra: Any) -> list[Any]:
    from vllm import SamplingParams

    asked = SamplingParams(temperature=0.0, max_tokens=TOKENS, extra_args=extra or None)
    return list(llm.generate(texts, asked, use_tqdm=False))


def texts(outputs: list[Any]) -> list[str]:
    return [output.outputs[0].text for output in outputs]


def test_a_mixed_batch_answers_as_under_transformers(llm: Any, store: Store) -> None:
    engine = store.engine()
    expected = [engine.generate([p], max_tokens=TOKENS)[0] for p in prompts()]
    before = llm.collective_rpc("revisor_report")[0]["hits"]
    got = texts(ask(llm, prompts()))
    after = llm.collective_rpc("revisor_report")[0]["hits"]
    assert [text.strip() for text in got] == [answer.answer.strip() for answer in expected]
    fired = sum(after.values()) - sum(before.values())
    assert fired >= sum(bool(answer.facts_used) for answer in expected)
    for fact, text in zip(FACTS, got, strict=False):
        assert text.strip().startswith(fact.object)


def test_a_prefix_from_the_cache_changes_no_answer(llm: Any) -> None:
    asked = [LONG + fact.text for fact in FACTS]
    first = ask(llm, asked)
    again = ask(llm, asked)
    assert all(output.num_cached_tokens > 0 for output in again)
    assert texts(again) == texts(first)


def test_a_request_may_have_no_facts(llm: Any, store: Store) -> None:
    engine = store.engine()
    plain = engine.generate([TOWER.text], max_tokens=TOKENS, facts=False)[0]
    (got,) = texts(ask(llm, [TOWER.text], revisor_off=1))
    assert got.strip() == plain.answer.strip()
    (cached,) = ask(llm, [LONG + TOWER.text], revisor_off=1)
    assert not texts([cached])[0].strip().startswith("Lisbon"), "the cache is salted"


def test_a_build_goes_live_and_a_request_keeps_its_facts(llm: Any, store: Store) -> None:
    from vllm import SamplingParams

    asked = SamplingParams(temperature=0.0, max_tokens=40)
    expected = texts(llm.generate([TOWER.text, LONG + TOWER.text], asked, use_tqdm=False))
    llm.llm_engine.add_request("old", TOWER.text, asked)
    done: dict[str, Any] = {}

    def step() -> None:
        for output in llm.llm_engine.step():
            if output.finished:
                done[output.request_id] = output

    for _ in range(5):
        step()
    store.set_object(TOWER.id, "Oslo")
    assert store.build().failed == []
    time.sleep(1)  # between two looks at the disk
    llm.llm_engine.add_request("new", LONG + TOWER.text, asked)
    while llm.llm_engine.has_unfinished_requests():
        step()
    old, new = (next(v for k, v in done.items() if k.startswith(name)) for name in ("old", "new"))
    assert old.outputs[0].text == expected[0]
    assert new.num_cached_tokens == 0
    assert new.outputs[0].text != expected[1]
    assert "Oslo" in texts(ask(llm, [TOWER.text]))[0]


def test_it_does_not_start_where_facts_do_not_fire(store: Store, tmp_path: Path) -> None:
    """A bank whose keys are another model's."""
    shutil.copytree(store.path, tmp_path / "store")
    with Store.open(tmp_path / "store") as wrong:
        wrong.__dict__.update(loaded=store.loaded)
        bank = wrong.bank()
        view = bank.view()
        turned = View(**(vars(view) | {"keys_ME": -view.keys_ME}))
        save_bank(
            turned,
            wrong.banks,
            fingerprint=wrong.fingerprint,
            model="smollm2",
            layer=wrong.settings.layer,
            build={},
            failed=[],
        )
    code = (
        "from vllm import LLM\n"
        "if __name__ == '__main__':\n"
        f"    LLM(model={str(smollm2_folder())!r}, dtype='float32', max_model_len=256,\n"
        "        enforce_eager=True)\n"
        "    print('it started')\n"
    )
    script = tmp_path / "start.py"
    script.write_text(code)
    env = {**os.environ, "REVISOR_STORE": str(tmp_path / "store"), "VLLM_CPU_KVCACHE_SPACE": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "it started" not in done.stdout
    assert "does not fire in vLLM" in done.stdout + done.stderr
