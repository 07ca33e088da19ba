"""The shapes of OpenAI's API: what requests may say, and what answers look like.

An option that would change the answer and is not supported here is refused, not ignored; options
that only label a request (`user`, `metadata`, `store`) are taken and do nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Field, model_validator

from revisor.facts.rules import NAMESPACE_LIMIT
from revisor.server.bodies import Body, Record
from revisor.server.sampling import Sampling

MOST_CHOICES = 8
MOST_STOPS = 4
MOST_PROMPTS = 32
MOST_RIVALS = 20
MOST_PARTS = 100  # of a message
DEFAULT_COMPLETION = 16  # tokens, as OpenAI's completions have it

Text = Annotated[str, Field(max_length=1_000_000)]
Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, fail_fast=True)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]


class Facts(Body):
    """The extension `revisor` of a request: which facts it has.

    Attributes:
        facts: False for the model without facts.
        generation: another one than the live.
        namespace: only facts of this namespace.
        report: False to leave the facts used out of the answer and its headers.
    """

    facts: bool = True
    generation: Annotated[int, Field(ge=0)] | None = None
    namespace: Annotated[str, Field(min_length=1, max_length=NAMESPACE_LIMIT)] | None = None
    report: bool = True


class StreamOptions(Body):
    """`stream_options` of a request."""

    include_usage: bool = False
    include_obfuscation: bool = False


class _Request(Body):
    """What both kinds of requests may say."""

    model: Annotated[str, Field(max_length=1_000)]
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS, fail_fast=True)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    revisor: Facts = Facts()
    user: str | None = None
    metadata: Record | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    # Taken where they change nothing, refused where they would.
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None

    @model_validator(mode="after")
    def _only_streams_have_stream_options(self) -> _Request:
        if self.stream_options is not None and not self.stream:
            raise ValueError("'stream_options' needs 'stream': true")
        return self

    @property
    def stops(self) -> list[str]:
        """All stop strings."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def usage_at_end(self) -> bool:
        """Whether a stream ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self, rivals: int | None) -> Sampling:
        """How tokens are chosen; OpenAI's defaults are temperature 1 and top_p 1."""
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            logprobs=rivals,
        )


class CompletionRequest(_Request):
    """Body of `POST /v1/completions`."""

    prompt: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True)]
        | Ids
        | Annotated[list[Ids], Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True)]
    )
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: Literal[False] | None = None
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    suffix: Annotated[str, Field(max_length=0)] | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """One or more prompts, each as text or token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if all(isinstance(part, int) for part in self.prompt):
            return [[part for part in self.prompt if isinstance(part, int)]]
        return [part for part in self.prompt if not isinstance(part, int)]

    @property
    def rivals(self) -> int | None:
        """How many rivals of a token are told; None for no log-probabilities."""
        return self.logprobs


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    text: Text


class Message(Body):
    """A turn of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: (
        Text | Annotated[list[TextPart], Field(min_length=1, max_length=MOST_PARTS, fail_fast=True)]
    )
    name: str | None = None

    @property
    def text(self) -> str:
        """What was said, its parts together."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class TextFormat(BaseModel):
    """`response_format`: text only."""

    type: Literal["text"]


class ChatRequest(_Request):
    """Body of `POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1_000, fail_fast=True)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_RIVALS)] | None = None
    response_format: TextFormat | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=8, fail_fast=True)] | None = None

    @property
    def rivals(self) -> int | None:
        """How many rivals of a token are told; None for no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @model_validator(mode="after")
    def _rivals_need_log_probabilities(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("'top_logprobs' needs 'logprobs': true")
        return self

    def turns(self) -> list[dict[str, str]]:
        """For a chat template; `developer` is what newer clients call `system`."""
        return [
            {"role": "system" if m.role == "developer" else m.role, "content": m.text}
            for m in self.messages
        ]


class TokenTold(NamedTuple):
    """A token as log probabilities name it.

    Attributes:
        text: of the token alone.
        logprob: its log probability.
        rivals: text and log probability of the likeliest tokens.
    """

    text: str
    logprob: float
    rivals: Sequence[tuple[str, float]]


def chat_logprobs(tokens: Sequence[TokenTold]) -> dict[str, Any]:
    """`logprobs` of a chat choice."""

    def one(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    return {
        "content": [
            one(token.text, token.logprob) | {"top_logprobs": [one(*r) for r in token.rivals]}
            for token in tokens
        ],
        "refusal": None,
    }


def completion_logprobs(tokens: Sequence[TokenTold], offset: int) -> dict[str, Any]:
    """`logprobs` of a completion choice; `offset` is where its first token begins in the answer."""
    offsets = list(accumulate((len(token.text) for token in tokens), initial=offset))
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [dict(token.rivals) for token in tokens],
        "text_offset": offsets[:-1],
    }


def usage(prompt: int, completion: int) -> dict[str, int]:
    """`usage` of an answer."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def error_body(
    message: str, *, status: int, code: str | None = None, param: str | None = None, **more: Any
) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    told = {"message": message, "type": kind, "param": param, "code": code}
    return {"error": told | more}
