"""What is said of a request that is not of its route's shape, or of no route.

The checks of pydantic and Starlette find it; their sentences are for programmers, and some name
parts of a check that no client can see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Options of OpenAI's API that are taken only where they change nothing.
NOT_HERE = frozenset(
    ("best_of", "echo", "frequency_penalty", "functions", "logit_bias", "modalities")
    + ("presence_penalty", "response_format", "suffix", "tool_choice", "tools")
)
NO_OBJECT = ("model_attributes_type", "model_type", "dict_type")


def invalid(faults: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The first fault of a request: `message`, `param`, `code`, and a `hint` where one helps.

    Args:
        faults: as pydantic lists them, the place of each from the part of the request on.
    """
    first = _telling(faults)
    place = _place(first)
    if first["type"] == "json_invalid":
        told = f"The body is no JSON: {_reason(first)} at character {first['loc'][-1]}."
        return {"message": told, "param": None, "code": "invalid_value"}
    if place is None and first["loc"][:1] == ("body",):
        if first["type"] == "missing":
            return _no_object("This route takes a body, and there is none.")
        if first["type"] in NO_OBJECT and isinstance(first.get("input"), bytes):
            return _no_object("The body was not sent as JSON.")
        if first["type"] in NO_OBJECT:
            return _no_object("The body is no JSON object.")
    name = (place or "").partition(".")[0]
    if name in NOT_HERE and first["type"] not in ("missing", "extra_forbidden"):
        told = f"'{name}' is not supported here, but for a value that changes nothing."
        return {
            "message": told,
            "param": place,
            "code": "invalid_value",
            "hint": f"Leave '{name}' out.",
        }
    extra = first["type"] == "extra_forbidden"
    said = str(first["msg"]).removeprefix("Value error, ")
    said = "There is no such field" if extra else said.removesuffix(" to extract fields from")
    code = "unknown_parameter" if extra else "invalid_value"
    return {"message": f"{place}: {said}" if place else said, "param": place, "code": code}


def no_route(
    status: int, detail: str, method: str, headers: Mapping[str, str] | None
) -> dict[str, str]:
    """Of a path or a method that is not there, or a body that cannot be read: `message`, `hint`."""
    if status == 404:
        return {"message": "There is no such route.", "hint": "`GET /openapi.json` lists them."}
    if status == 405:
        takes = (headers or {}).get("allow") or (headers or {}).get("Allow")
        hint = f"It takes {takes}." if takes else "`GET /openapi.json` lists what it takes."
        return {"message": f"This route takes no {method}.", "hint": hint}
    if status == 400 and detail == "There was an error parsing the body":
        return {
            "message": "The body cannot be read as JSON.",
            "hint": "It has to be UTF-8; lists and objects may be too deep, or a number may "
            "have too many digits.",
        }
    return {"message": detail}


def _no_object(message: str) -> dict[str, Any]:
    hint = "Send an object, with the header `Content-Type: application/json`."
    return {"message": message, "param": None, "code": "invalid_value", "hint": hint}


def _telling(faults: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first fault; where a value may be of several kinds, that of the kind which it has."""
    first = faults[0]
    if not any(_is_kind(part) for part in first["loc"]):
        return first
    place = _place(first)
    others = [one for one in faults if _field(one) == _field(first)]
    fitting = [one for one in others if not str(one["type"]).endswith("_type")]
    if fitting:
        return fitting[0]
    said = dict.fromkeys(str(one["msg"]) for one in others if _place(one) == place)
    rest = [message.removeprefix("Input should be ") for message in said]
    return {**first, "msg": f"Input should be {' or '.join(rest)}"}


def _field(fault: Mapping[str, Any]) -> tuple[Any, ...]:
    """Its place up to where kinds are told apart."""
    loc = tuple(fault["loc"])
    return loc[: next((at for at, part in enumerate(loc) if _is_kind(part)), len(loc))]


def _place(fault: Mapping[str, Any]) -> str | None:
    """Where the fault is, with dots; the names of kinds, which no client wrote, left out."""
    loc = fault["loc"][1:]
    last = len(loc) - 1
    named = fault["type"] == "extra_forbidden"  # by the client, in any letters
    kept = [
        str(part) for at, part in enumerate(loc) if not _is_kind(part) or (named and at == last)
    ]
    return ".".join(kept) or None


def _is_kind(part: Any) -> bool:
    """Whether a part of a place is the name that pydantic gives to one kind of several."""
    return isinstance(part, str) and ("[" in part or "constrained-" in part)


def _reason(fault: Mapping[str, Any]) -> str:
    told = str(fault.get("ctx", {}).get("error", "it cannot be read"))
    return told[:1].lower() + told[1:]
