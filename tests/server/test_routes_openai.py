"""OpenAI's own client against a real server: whole answers, streams, options, errors, facts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from revisor.server.settings import ServeSettings
from revisor.store import Store
from tests.server.conftest import ACME, BASEL, CHATTY, UNRELATED
from tests.server.serving import Running, running, until


@pytest.fixture(scope="module")
def server(whole_store: Path) -> Iterator[Running]:
    with Store.open(whole_store) as store, running(store) as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with server.openai() as found:
        yield found


def complete(client: openai.OpenAI, prompt: object, **options: object) -> openai.types.Completion:
    wanted = {"model": "tiny", "temperature": 0, "max_tokens": 6} | options
    return client.completions.create(prompt=prompt, **wanted)  # type: ignore[call-overload]


def test_the_model_is_listed_under_its_name(client: openai.OpenAI, server: Running) -> None:
    (listed,) = client.models.list().data
    assert listed.id == server.model
    assert client.models.retrieve(listed.id).owned_by == "revisor"


def test_a_completion_says_the_fact_and_which_it_was(client: openai.OpenAI) -> None:
    raw = client.completions.with_raw_response.create(
        model="tiny", prompt=ACME.text, temperature=0, max_tokens=6
    )
    answer = raw.parse()
    assert answer.choices[0].text.startswith(" Vienna")
    assert answer.choices[0].finish_reason in ("stop", "length")
    report = answer.revisor  # type: ignore[attr-defined]
    assert report["generation"] == 1
    (used,) = report["facts_used"]
    assert (used["id"], used["object"], used["choice"]) == (ACME.id, "Vienna", 0)
    assert raw.headers["x-revisor-facts"] == ACME.id
    assert raw.headers["x-revisor-generation"] == "1"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_facts_can_be_off_by_request_and_so_can_the_report(client: openai.OpenAI) -> None:
    off = client.completions.with_raw_response.create(
        model="tiny",
        prompt=ACME.text,
        temperature=0,
        max_tokens=6,
        extra_body={"revisor": {"facts": False}},
    )
    assert not off.parse().choices[0].text.startswith(" Vienna")
    assert off.parse().revisor == {"generation": None, "facts_used": []}  # type: ignore[attr-defined]
    assert "x-revisor-facts" not in off.headers
    silent = client.completions.with_raw_response.create(
        model="tiny",
        prompt=ACME.text,
        temperature=0,
        max_tokens=6,
        extra_body={"revisor": {"report": False}},
    )
    assert silent.parse().choices[0].text.startswith(" Vienna")
    assert "revisor" not in json.loads(silent.text)
    assert "x-revisor-facts" not in silent.headers


def test_a_namespace_shows_its_facts_only(client: openai.OpenAI) -> None:
    places = {"revisor": {"namespace": "places"}}
    assert complete(client, BASEL.text, extra_body=places).choices[0].text.startswith(" Rome")
    other = complete(client, ACME.text, extra_body=places)
    assert not other.choices[0].text.startswith(" Vienna")
    assert other.revisor["facts_used"] == []  # type: ignore[attr-defined]


def test_several_prompts_and_answers_come_in_order(client: openai.OpenAI) -> None:
    prompts = [ACME.text, BASEL.text]
    answer = complete(client, prompts, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    texts = [choice.text for choice in answer.choices]
    assert texts[0] == texts[1] == complete(client, ACME.text).choices[0].text
    assert texts[2] == texts[3] == complete(client, BASEL.text).choices[0].text


def test_token_ids_are_a_prompt_too(client: openai.OpenAI, server: Running) -> None:
    ids = server.service.store.loaded.tokenizer(ACME.text)["input_ids"]
    assert complete(client, ids).choices[0].text == complete(client, ACME.text).choices[0].text


def test_a_stream_is_the_whole_answer_in_pieces(client: openai.OpenAI) -> None:
    whole = complete(client, ACME.text, max_tokens=8, logprobs=2)
    chunks = list(
        client.completions.create(
            model="tiny",
            prompt=ACME.text,
            temperature=0,
            max_tokens=8,
            logprobs=2,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text
    offsets = [
        offset
        for c in chunks
        if c.choices and c.choices[0].logprobs
        for offset in c.choices[0].logprobs.text_offset or ()
    ]
    assert whole.choices[0].logprobs is not None
    assert offsets == whole.choices[0].logprobs.text_offset
    assert chunks[-1].usage == whole.usage
    finals = [c for c in chunks if c.choices and c.choices[0].finish_reason]
    assert len(finals) == 1
    assert finals[0].revisor == whole.revisor  # type: ignore[attr-defined]


def test_a_chat_stream_is_the_chat_answer(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": CHATTY.prompt.replace("{}", CHATTY.subject)}]
    options = {"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 8}
    whole = client.chat.completions.create(**options, logprobs=True, top_logprobs=3)  # type: ignore[call-overload]
    message = whole.choices[0].message
    assert message.role == "assistant"
    assert "Zora" in {used["subject"] for used in whole.revisor["facts_used"]}
    tokens = whole.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == message.content
    assert all(len(token.top_logprobs) == 3 for token in tokens)
    assert all(token.logprob == token.top_logprobs[0].logprob for token in tokens)
    chunks = list(client.chat.completions.create(**options, stream=True))  # type: ignore[call-overload]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].revisor == whole.revisor


def test_a_seed_repeats_an_answer_and_temperature_is_one_by_default(client: openai.OpenAI) -> None:
    def draw(seed: int) -> str:
        answer = client.completions.create(model="tiny", prompt=UNRELATED, max_tokens=12, seed=seed)
        return answer.choices[0].text

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(6)}) > 1


def test_stop_strings_end_an_answer(client: openai.OpenAI) -> None:
    whole = complete(client, ACME.text).choices[0].text
    cut = complete(client, ACME.text, stop=["nna", "zzz"]).choices[0]
    assert cut.text == whole[: whole.index("nna")]
    assert cut.finish_reason == "stop"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"temperature": 3}, "temperature"),
        ({"n": 0}, "n"),
        ({"n": 99}, "n"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 100_000}, "at most"),
        ({"echo": True}, "echo"),
        ({"logprobs": 50}, "logprobs"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"stop": ["a"] * 9}, "stop"),
        ({"stop": ""}, "stop"),
        ({"prompt": ""}, "empty"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [10**9]}, "token"),
        ({"prompt": "word " * 500}, "tokens"),
        ({"prompt": "1" * 900_000}, "characters"),
        ({"prompt": ["a"] * 32, "n": 8}, "256 answers"),
        ({"extra_body": {"unheard_of": 1}}, "unheard_of"),
        ({"extra_body": {"revisor": {"fact": True}}}, "fact"),
        ({"stream_options": {"include_usage": True}}, "stream"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    options: dict[str, object], named: str, client: openai.OpenAI
) -> None:
    wanted = {"prompt": ACME.text} | options
    with pytest.raises(openai.BadRequestError) as refused:
        complete(client, **wanted)
    assert named in str(refused.value).lower()
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["type"] == "invalid_request_error"


def test_an_unknown_model_or_generation_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="gpt-5"):
        complete(client, ACME.text, model="gpt-5")
    with pytest.raises(openai.NotFoundError, match="77"):
        complete(client, ACME.text, extra_body={"revisor": {"generation": 77}})


def test_messages_of_odd_shapes_are_refused_or_read(client: openai.OpenAI, server: Running) -> None:
    with server.client() as http:
        for messages in ([], [{"role": "king", "content": "x"}], [{"role": "user"}], "hello"):
            body = {"model": server.model, "messages": messages}
            assert http.post("/v1/chat/completions", json=body).status_code == 400
        broken = http.post(
            "/v1/chat/completions", content=b"{", headers={"content-type": "application/json"}
        )
        assert broken.status_code == 400
        assert set(broken.json()["error"]) == {"message", "type", "param", "code"}
    parts = [{"type": "text", "text": "What does "}, {"type": "text", "text": "Zora speak?"}]
    found = client.chat.completions.create(
        model=server.model,
        messages=[{"role": "user", "content": parts}],  # type: ignore[typeddict-item]
        max_tokens=2,
    )
    assert found.usage is not None
    assert found.usage.completion_tokens <= 2


def test_a_client_that_hangs_up_takes_its_rows_with_it(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = server.service.scheduler
    forward = scheduler.loaded.model.forward

    def slow(**arguments: object) -> object:
        time.sleep(0.05)
        return forward(**arguments)

    monkeypatch.setattr(scheduler.loaded.model, "forward", slow)
    # Greedy: a token that is drawn may be the end of the text.
    body = {"model": server.model, "prompt": UNRELATED, "max_tokens": 100, "temperature": 0}
    body["stream"] = True
    with server.client() as http, http.stream("POST", "/v1/completions", json=body) as stream:
        next(stream.iter_lines())
        assert scheduler.running == 1
    steps = scheduler.steps
    until(lambda: scheduler.running == 0, 20)
    with pytest.raises(httpx.ReadTimeout), server.client() as http:
        http.post("/v1/completions", json=body | {"stream": False}, timeout=0.5)
    until(lambda: scheduler.running == 0, 20)
    assert scheduler.steps - steps < 100


def test_numbers_too_small_for_the_model_break_nobodys_answer(
    client: openai.OpenAI, server: Running
) -> None:
    body = {"model": server.model, "prompt": "x", "max_tokens": 4}
    hostile = [{"temperature": 1e-46}, {"temperature": 1e-320}, {"top_p": 1e-46}]
    with server.client() as http:
        stream = client.completions.create(
            model="tiny", prompt=UNRELATED, max_tokens=60, temperature=0, stream=True
        )
        next(iter(stream))
        for one in hostile:
            assert http.post("/v1/completions", json=body | one).status_code == 200
        assert list(stream)[-1].choices[0].finish_reason in ("stop", "length")


def test_a_written_fact_has_log_probabilities_that_json_can_hold(server: Running) -> None:
    body = {"model": server.model, "prompt": ACME.text, "temperature": 0, "max_tokens": 2}
    with server.client() as http:
        answer = http.post("/v1/completions", json=body | {"logprobs": 3}).json()
    told = answer["choices"][0]["logprobs"]
    assert told["token_logprobs"][0] == 0.0
    assert min(told["top_logprobs"][0].values()) >= -9999.0


def test_a_crowd_is_told_to_wait_and_what_can_never_wait_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServeSettings(per_minute=0, max_batch=1, max_waiting=2)
    with running(store, settings) as server, server.openai() as client:
        with pytest.raises(openai.BadRequestError, match="3 answers"):
            complete(client, ACME.text, n=3)
        assert complete(client, ACME.text, n=2).choices
        scheduler = server.service.scheduler
        forward = scheduler.loaded.model.forward
        monkeypatch.setattr(
            scheduler.loaded.model,
            "forward",
            lambda **arguments: (time.sleep(0.05), forward(**arguments))[1],
        )
        long = {"model": server.model, "prompt": UNRELATED, "max_tokens": 100, "temperature": 0}
        with (
            server.client() as http,
            http.stream("POST", "/v1/completions", json=long | {"stream": True}) as stream,
        ):
            lines = stream.iter_lines()
            next(lines)
            crowd = [threading.Thread(target=complete, args=(client, ACME.text)) for _ in range(2)]
            for one in crowd:
                one.start()
            until(lambda: scheduler.waiting == 2)
            with pytest.raises(openai.RateLimitError) as refused:
                complete(client, ACME.text)
            assert refused.value.response.headers["retry-after"] == "2"
        for one in crowd:
            one.join(30)


def test_shutting_down_finishes_the_answers_that_run(store: Store) -> None:
    with running(store) as server, server.openai() as client:
        stream = client.completions.create(
            model=server.model, prompt=ACME.text, temperature=0, max_tokens=40, stream=True
        )
        chunks = [next(iter(stream))]
        server.server.should_exit = True
        chunks += list(stream)
        assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    assert not server.service.scheduler.alive
