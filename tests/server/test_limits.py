"""Size and rate have limits on every route."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from revisor.server.limits import KNOWN, Rate
from revisor.server.settings import ServeSettings
from revisor.store import Store
from tests.server.serving import Running, running


@pytest.fixture
def server(store: Store) -> Iterator[Running]:
    with running(store, ServeSettings(per_minute=1, body_bytes=2_000)) as found:
        yield found


def test_so_many_requests_pass_and_the_next_is_told_when_to_come(server: Running) -> None:
    with server.client() as http:
        assert [http.get("/facts").status_code for _ in range(4)] == [200, 429, 429, 429]
        refused = http.get("/v1/models")
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 61
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert http.get("/healthz").status_code == 200


def test_a_body_that_is_too_long_is_refused_said_or_not(server: Running) -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"facts": ['
        for _ in range(100):
            yield b'"' + b"x" * 100 + b'",'

    json_type = {"content-type": "application/json"}
    with server.client("one") as http, server.client("two") as other:
        said = http.post("/facts", content=b"x" * 3_000)
        unsaid = other.post("/facts", content=parts(), headers=json_type)
        assert [said.status_code, unsaid.status_code] == [413, 413]
        assert unsaid.json()["error"]["code"] == "too_large"


def test_a_rate_fills_up_again_and_forgets_who_did_not_come() -> None:
    now = 0.0
    rate = Rate(60, clock=lambda: now)
    assert [rate.wait("a") for _ in range(11)] == [0.0] * 10 + [1.0]
    now = 1.0
    assert rate.wait("a") == 0.0
    assert rate.wait("a") > 0
    for number in range(KNOWN + 5):
        rate.wait(str(number))
    assert len(rate._left) == KNOWN
    assert Rate(0).wait("a") == 0.0
