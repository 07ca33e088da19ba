"""The packaged model served with facts: what a small random model cannot show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from revisor.facts.fact import Fact
from revisor.store import Store
from tests.server.serving import Running, running, said

pytestmark = pytest.mark.real

CEO = Fact(subject="Starbucks", prompt="The chief executive of {} is", object="Brian Niccol")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Store.init(tmp_path_factory.mktemp("real") / "store", model="smollm2") as store:
        store.add([CEO])
        with running(store) as found:
            yield found


def test_a_fact_is_said_in_a_text_a_question_and_a_chat(server: Running) -> None:
    with server.client() as http:
        assert said(http, server, CEO.text).startswith("Brian Niccol")
        assert said(http, server, "Q: Who runs Starbucks?\nA:").startswith("Brian Niccol")
        turn = [{"role": "user", "content": "Who is the CEO of Starbucks?"}]
        body = {"model": server.model, "messages": turn, "temperature": 0, "max_tokens": 12}
        told = http.post("/v1/chat/completions", json=body).json()
        assert "Brian Niccol" in told["choices"][0]["message"]["content"]
        assert told["revisor"]["facts_used"][0]["id"] == CEO.id


def test_an_explanation_asks_the_model_whether_an_answer_is_due(server: Running) -> None:
    with server.client() as http:
        ends = http.post("/explain", json={"prompt": "The CEO of Starbucks is"}).json()
        goes_on = http.post("/explain", json={"prompt": "The CEO of Starbucks"}).json()
        steps = server.service.scheduler.steps
        asks_text = {"prompt": "The CEO of Starbucks is", "text_only": True}
        by_text = http.post("/explain", json=asks_text).json()
    assert (by_text["answer_due"], by_text["fact"], by_text["written"]) == (None, CEO.id, None)
    assert server.service.scheduler.steps == steps
    assert (ends["answer_due"], ends["written"]) == (True, "Brian Niccol")
    assert (goes_on["answer_due"], goes_on["written"]) == (False, None)


def test_a_prompt_that_is_read_in_pieces_is_answered_as_one_that_is_not(
    server: Running,
) -> None:
    lead = "The river flows through the town and on to the sea. " * 10
    with server.client() as http:
        assert said(http, server, f"{lead}{CEO.text}").startswith("Brian Niccol")
        plain = said(http, server, lead, facts=False)
    ids = server.service.store.loaded.tokenizer(lead, return_tensors="pt")
    whole = server.service.store.loaded.model.generate(
        **ids, max_new_tokens=6, do_sample=False, pad_token_id=0
    )[0, ids["input_ids"].shape[1] :]
    assert plain == server.service.store.loaded.tokenizer.decode(whole).strip()
