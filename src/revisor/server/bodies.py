"""What all bodies of requests have in common: every field is known, and none is wide or deep.

A body of a mebibyte can be wrong in half a million places. Lists are refused at the first
(`FailFast`) and objects by how many keys they have, so that a refusal costs no more than a reading.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

MOST_KEYS = 50
DEEPEST = 5


class Body(BaseModel):
    """An object of which every key is known."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _must_have_few_keys(cls, value: Any) -> Any:
        return _with_few_keys(value)


def _with_few_keys(value: Any) -> Any:
    if isinstance(value, dict) and len(value) > MOST_KEYS:
        raise ValueError(f"the object has {len(value)} keys; at most {MOST_KEYS} are read")
    return value


def _flat(value: Any) -> Any:
    if not _is_within(value, DEEPEST):
        raise ValueError(f"it is nested deeper than {DEEPEST} levels")
    return _with_few_keys(value)


def _is_within(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested no deeper than so many levels."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return True
    return levels > 0 and all(_is_within(inner, levels - 1) for inner in value)


Record = Annotated[dict[str, Any], BeforeValidator(_flat)]
"""An object of any keys, but few, and not deep."""


class _Told(Request):
    """A request whose body is refused where a key has two values: which one is meant?"""

    async def json(self) -> Any:
        body = await self.body()
        try:
            return json.loads(body, object_pairs_hook=_object)
        except _Twice as twice:
            told, text = f"'{twice}' has two values", body.decode("utf-8", "replace")
            at = text.rfind(json.dumps(str(twice), ensure_ascii=False))
            raise json.JSONDecodeError(told, text, max(at, 0)) from None


class _Twice(Exception):
    """A key that has two values."""


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made and json.dumps(made[key]) != json.dumps(value):
            raise _Twice(key)
        made[key] = value
    return made


class Route(APIRoute):
    """A route that takes no body in which a key has two values."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request, whose body is read as `_Told` reads it."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            return await handle(_Told(request.scope, request.receive))

        return handled
