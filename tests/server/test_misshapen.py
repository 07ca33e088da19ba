"""A request that is not of its route's shape is told what it is and what helps, in plain words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from revisor.store import Store
from tests.server.serving import running

JSON = {"content-type": "application/json"}
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]}
TEXT = {"model": "tiny", "prompt": "Hello"}


@pytest.fixture(scope="module")
def http(whole_store: Path) -> Iterator[httpx.Client]:
    with Store.open(whole_store) as store, running(store) as server, server.client() as found:
        yield found


def refusal(http: httpx.Client, path: str, body: Any, **options: Any) -> dict[str, Any]:
    """The error of a request, of which the body is given as an object or as it is sent."""
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    answer = http.post(path, content=content, **{"headers": JSON, **options})
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert "constrained" not in answer.text
    assert "extract fields" not in answer.text
    return error


def test_a_body_that_is_no_json_is_told_where(http: httpx.Client) -> None:
    error = refusal(http, "/v1/completions", '{"model": tiny}')
    assert error["message"] == "The body is no JSON: expecting value at character 10."
    assert error["param"] is None


def test_a_key_with_two_values_is_refused(http: httpx.Client) -> None:
    fact = '{"subject": "ACME", "prompt": "The CEO of {} is", "object": "Jane", "object": "Ann"}'
    error = refusal(http, "/facts", f'{{"facts": [{fact}]}}')
    assert error["message"] == "The body is no JSON: 'object' has two values at character 79."


@pytest.mark.parametrize("body", ["[]", "null", "3", '"x"', ""])
def test_a_body_that_is_no_object_is_told_what_to_send(body: str, http: httpx.Client) -> None:
    error = refusal(http, "/facts", body)
    assert "body" in error["message"]
    assert "Content-Type: application/json" in error["hint"]


def test_json_that_is_sent_as_a_form_is_told_the_header_that_is_missing(http: httpx.Client) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}  # as curl has it by itself
    error = refusal(http, "/v1/completions", TEXT, headers=form)
    assert error["message"] == "The body was not sent as JSON."
    assert "Content-Type: application/json" in error["hint"]


@pytest.mark.parametrize("body", ["[" * 100_000, '{"n": ' + "9" * 5_000 + "}"])
def test_a_body_that_cannot_be_read_is_told_why_it_may_be(body: str, http: httpx.Client) -> None:
    error = refusal(http, "/v1/completions", body)
    assert error["message"] == "The body cannot be read as JSON."
    assert "too deep" in error["hint"]


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/completions", TEXT | {"echo": True}, "echo"),
        ("/v1/completions", TEXT | {"suffix": "x"}, "suffix"),
        ("/v1/completions", TEXT | {"logit_bias": {"5": 1}}, "logit_bias"),
        ("/v1/completions", TEXT | {"frequency_penalty": 1}, "frequency_penalty"),
        ("/v1/completions", TEXT | {"best_of": 2}, "best_of"),
        ("/v1/chat/completions", CHAT | {"tools": [{"type": "function"}]}, "tools"),
        ("/v1/chat/completions", CHAT | {"response_format": {"type": "json_object"}}, None),
    ],
)
def test_an_option_that_is_not_there_is_refused_by_name(
    path: str, body: dict[str, Any], name: str | None, http: httpx.Client
) -> None:
    error = refusal(http, path, body)
    name = name or "response_format"
    assert error["message"].startswith(f"'{name}' is not supported here")
    assert error["param"].startswith(name)
    assert error["hint"] == f"Leave '{name}' out."


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (TEXT | {"prompt": 3}, "prompt: Input should be a valid string or a valid list"),
        (TEXT | {"prompt": []}, "prompt: List should have at least 1 item after validation, not 0"),
        (TEXT | {"stop": ""}, "stop: String should have at least 1 character"),
        (TEXT | {"stop": 3}, "stop: Input should be a valid string or a valid list"),
        (TEXT | {"foo-bar[0]": 3}, "foo-bar[0]: There is no such field"),
        (TEXT | {"revisor": {"namspace": "hr"}}, "revisor.namspace: There is no such field"),
        (TEXT | {"revisor": []}, "revisor: Input should be a valid dictionary or object"),
    ],
)
def test_a_field_is_named_as_the_client_wrote_it(
    body: dict[str, Any], message: str, http: httpx.Client
) -> None:
    error = refusal(http, "/v1/completions", body)
    assert error["message"] == message
    assert error["param"] == message.partition(":")[0]


def test_a_route_that_is_not_there_and_a_method_say_what_is(http: httpx.Client) -> None:
    assert "openapi.json" in http.get("/nowhere").json()["error"]["hint"]
    error = http.get("/v1/completions").json()["error"]
    assert error["message"] == "This route takes no GET."
    assert error["hint"] == "It takes POST."
