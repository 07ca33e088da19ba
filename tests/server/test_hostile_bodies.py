"""Bodies and addresses made to cost much: they are refused for little, and nobody else notices."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from revisor.errors import UsageError
from revisor.server import prompts as prompts_module
from revisor.server import routes_facts, routes_generations, routes_openai, routes_server
from revisor.server.bodies import Body
from revisor.server.prompts import Prompts
from revisor.store import Store
from tests.server.conftest import ACME, UNRELATED
from tests.server.serving import Running, running

MANY = 50_000
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def server(whole_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("hostile") / "store"
    shutil.copytree(whole_store, place)
    with Store.open(place) as store, running(store) as found:
        yield found


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with server.client() as found:
        yield found


def routes() -> list[APIRoute]:
    """All routes but the console's pages."""
    modules = (routes_openai, routes_facts, routes_generations, routes_server)
    return [one for module in modules for one in module.router.routes if isinstance(one, APIRoute)]


def models(kind: Any) -> Iterator[type[BaseModel]]:
    """The models that a type is made of, each with those of its fields."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from models(field.annotation)
    for part in get_args(kind):
        yield from models(part)


def bodies() -> set[type[BaseModel]]:
    """Every model of every route's body."""
    found: set[type[BaseModel]] = set()
    for route in routes():
        if route.body_field is not None:
            found.update(models(route.body_field.field_info.annotation))
    return found


def faults(model: type[BaseModel], value: dict[str, Any]) -> int:
    try:
        model.model_validate(value)
    except ValidationError as error:
        return error.error_count()
    return 0


def test_no_body_has_more_faults_than_fields_however_long_it_is() -> None:
    found = bodies()
    assert len(found) > 10
    wrong: list[Any] = [[None] * MANY, [{}] * MANY, [[]] * MANY, [-1] * MANY]
    wrong.append({str(number): None for number in range(MANY)})
    for model in found:
        for name in model.model_fields:
            for value in wrong:
                assert faults(model, {name: value}) < 30, (model, name)
        if issubclass(model, Body):
            assert faults(model, wrong[-1]) == 1, model


STORMS = {
    "numbers": ("/v1/completions", '"prompt": [' + ",".join(["-1"] * 300_000) + "]"),
    "lists": ("/v1/completions", '"prompt": [' + ",".join(["[]"] * 300_000) + "]"),
    "keys": ("/v1/completions", ",".join(f'"{n}": 1' for n in range(80_000))),
    "modes": ("/v1/chat/completions", '"modalities": [' + ",".join(["1"] * 300_000) + "]"),
    "records": ("/check", '"facts": [' + ",".join(["[]"] * 300_000) + "]"),
    "fields": ("/check", '"facts": [{' + ",".join(f'"objetc{n}":1' for n in range(50_000)) + "}]"),
    "slips": (
        "/check",
        '"facts": ['
        + ",".join(
            "{" + ",".join(f'"objec{n}x{k}": 1' for k in range(15)) + "}" for n in range(1_000)
        )
        + "]",
    ),
}


@pytest.mark.parametrize("kind", STORMS)
def test_a_body_that_is_wrong_in_every_place_costs_no_more_than_a_reading(
    kind: str, http: httpx.Client
) -> None:
    path, body = STORMS[kind]
    began = time.process_time()
    answer = http.post(path, content="{" + body + "}", headers=JSON)
    assert answer.status_code == 400
    assert len(answer.content) < 1_000
    assert time.process_time() - began < 5


@pytest.mark.parametrize("depth", [7, 500, 900, 100_000])
def test_what_is_nested_too_deep_is_refused(depth: int, http: httpx.Client) -> None:
    deep = "[" * depth + "]" * depth
    for path, body in (
        ("/check", f'{{"facts": [{{"subject": {deep}, "prompt": "{{}} is", "object": "x"}}]}}'),
        ("/v1/completions", f'{{"model": "tiny", "prompt": "A", "metadata": {{"a": {deep}}}}}'),
        ("/v1/chat/completions", f'{{"model": "tiny", "messages": {deep}}}'),
    ):
        answer = http.post(path, content=body, headers=JSON)
        assert answer.status_code == 400, path
        assert answer.json()["error"]["message"]


def test_every_number_of_an_answer_may_be_as_extreme_as_it_likes(
    server: Running, http: httpx.Client
) -> None:
    numbers = ["-0.0", "5e-324", "1e-46", "1.1e-5", "2", "1e400", "-1", "NaN", "9" * 5_000]
    numbers += [str(2**63 - 1), str(-(2**63)), str(2**64)]
    names = ["temperature", "top_p", "seed", "n", "max_tokens", "logprobs"]
    body = {"model": "tiny", "prompt": UNRELATED, "max_tokens": 100, "temperature": 0}
    with http.stream("POST", "/v1/completions", json=body | {"stream": True}) as other:
        lines = other.iter_lines()
        next(lines)
        with server.client() as hostile:
            for name in names:
                for number in numbers:
                    text = (
                        f'{{"model": "tiny", "prompt": "x", "max_tokens": 2, "{name}": {number}}}'
                    )
                    status = hostile.post("/v1/completions", content=text, headers=JSON).status_code
                    assert status in (200, 400), (name, number)
        assert list(lines)[-2:] == ["data: [DONE]", ""]
    assert server.service.scheduler.fault == ""
    assert http.get("/healthz").status_code == 200


def test_the_most_that_one_check_may_hold_costs_seconds_not_minutes(http: httpx.Client) -> None:
    names, wordings = [f"a{n}" for n in range(31)], [f"{{}} b{n}" for n in range(30)]
    fact = {"subject": "S", "prompt": "{} is", "object": "o"}
    fact |= {"aliases": names, "paraphrases": wordings}
    facts = [fact | {"id": f"i{number}"} for number in range(20)]
    few = [{"subject": "S", "prompt": "{} is", "object": "o", "id": f"j{n}"} for n in range(1_000)]
    began = time.process_time()
    for some in (facts, few):
        answer = http.post("/check", json={"facts": some})
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["same_subject"]) == 1
    assert time.process_time() - began < 10
    refused = http.post("/check", json={"facts": [fact | {"id": f"k{n}"} for n in range(21)]})
    assert refused.status_code == 400
    assert "20,832 pairs" in refused.json()["error"]["faults"][0]["fault"]


def test_a_fact_has_no_more_names_and_wordings_than_can_be_looked_up(http: httpx.Client) -> None:
    fact = {"subject": "S", "prompt": "{} is", "object": "o"}
    for more in (
        {"aliases": [f"a{n}" for n in range(101)]},
        {"paraphrases": [f"{{}} b{n}" for n in range(101)]},
        {"aliases": [f"a{n}" for n in range(50)], "paraphrases": [f"{{}} b{n}" for n in range(50)]},
    ):
        for path in ("/facts", "/check"):
            assert http.post(path, json={"facts": [fact | more]}).status_code == 400
        assert http.patch(f"/facts/{ACME.id}", json=more).status_code == 400


HALF = "\\ud800"  # of a pair of surrogates, as JSON writes it


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/facts", f'{{"{HALF}": 1, "{HALF}": 2}}'),
        ("/check", f'{{"{HALF}": NaN}}'),
        ("/keys", f'{{"name": "a", "role": "{HALF}"}}'),
        ("/v1/completions", f'{{"model": "{HALF}", "prompt": "a"}}'),
        ("/v1/chat/completions", f'{{"messages": [{{"role": "user", "content": "{HALF}"}}]}}'),
        ("/explain", f'{{"prompt": "{HALF}"}}'),
    ],
)
def test_half_a_character_is_refused_and_told(path: str, body: str, http: httpx.Client) -> None:
    refused = http.post(path, content=body, headers=JSON)
    assert 400 <= refused.status_code < 500
    assert refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/namespaces/fin", '{"needs_approval": true, "needs_approval": false}'),
        ("POST", "/keys", '{"name": "a", "role": "read", "role": "admin"}'),
        ("POST", "/generations/0/publish", '{"force": false, "force": true}'),
        ("POST", "/v1/completions", '{"prompt": "a", "max_tokens": 1, "prompt": "b"}'),
        ("POST", "/check", '{"facts": [{"object": 1, "object": true}]}'),
    ],
)
def test_no_route_takes_two_values_for_one_key(
    method: str, path: str, body: str, http: httpx.Client
) -> None:
    refused = http.request(method, path, content=body, headers=JSON)
    assert refused.status_code == 400
    assert "has two values" in refused.json()["error"]["message"]


def test_one_value_that_equals_nothing_is_one(http: httpx.Client) -> None:
    refused = http.post("/check", content='{"facts": [{"object": NaN}]}', headers=JSON)
    assert refused.status_code == 400
    assert "two values" not in refused.text


def test_no_address_may_hold_what_a_database_cannot(http: httpx.Client) -> None:
    for route in routes():
        for method in route.methods:
            path = route.path.replace("{start}", "1").replace("{end}", "1")
            named = path.replace("{", "%00{").split("{")[0] if "{" in path else f"{path}?a=%00"
            answer = http.request(method, named)
            assert answer.status_code == 400, (method, named)
    assert http.get("/healthz").status_code == 200


class Reading:
    """A tokenizer that tells how much it was given."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self.most = tokenizer, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, text: str, **options: Any) -> Any:
        self.most = max(self.most, len(text))
        return self._tokenizer(text, **options)


def test_a_text_that_cannot_fit_is_refused_by_its_length_or_its_beginning(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts_module, "FIRST", 2)  # this tokenizer's tokens are short
    prompts = Prompts(server.service.store.loaded, 100)
    longest = prompts._longest
    assert longest > 500
    reading = Reading(prompts._tokenizer)
    prompts._tokenizer = reading
    for text in ("7" * (longest + 1), "7" * (longest - 20), "a7" * (longest // 2 - 10)):
        with pytest.raises(UsageError, match="characters"):
            prompts.of_text(text)
        with pytest.raises(UsageError, match="characters"):
            prompts.of_chat([{"role": "user", "content": text}])
    assert reading.most == 400
    assert len(prompts.of_text("7" * 300)) == 300  # what may fit is read
