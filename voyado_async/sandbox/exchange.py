"""One request and one answer as values, and what Engage demands of every request (ref 1.2). Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn

import msgspec

from voyado_async.sandbox.settings import SandboxSettings

_encoder = msgspec.json.Encoder(decimal_format="number")
_AGENT = re.compile(r"[^\s/]+/\S+.*")


def to_json(value: Any) -> bytes:
    """Plain JSON; decimals as numbers, times as ISO 8601 with their offset."""
    return _encoder.encode(value)


@dataclass(kw_only=True)
class Call:
    """A request whose body has arrived. `version` and `params` come from the path."""

    seq: int
    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    version: int = 3
    params: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Reply:
    status: int
    body: bytes = b""
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @classmethod
    def json(cls, status: int, value: Any) -> Reply:
        return cls(status=status, body=to_json(value))


class Refused(Exception):
    """Engage's no: a status, one of its codes, and a sentence without anybody's data."""

    def __init__(self, status: int, code: str, text: str = "", **details: Any) -> None:
        self.status = status
        self.code = code
        self.text = text or code
        self.details = details
        super().__init__(code)


def error_reply(refused: Refused, shape: str) -> Reply:
    """The body of an error: where the code stands is not documented (ref 1.6), so `shape` selects it."""
    if shape == "text":
        text = f"The request failed: {refused.code}. {refused.text}"
        return Reply(status=refused.status, body=text.encode(), code=refused.code, content_type="text/plain")
    value: dict[str, Any] = {shape: refused.code}
    if shape != "message":
        value["message"] = refused.text
    if refused.details:
        value["messageDetails"] = refused.details
    return Reply(status=refused.status, body=to_json(value), code=refused.code)


def server_error(status: int = 500) -> Reply:
    return Reply(status=status, body=to_json({"message": "An error has occurred"}))


def check_headers(headers: Mapping[str, str], settings: SandboxSettings) -> Reply | None:
    """What a request without the mandatory headers gets; None when they are all there."""
    if headers.get(settings.api_key_header) != settings.api_key:
        return Reply(status=401, body=to_json({"message": "Authorization has been denied for this request."}))
    if not _AGENT.fullmatch(headers.get("User-Agent", "")):
        return Reply(status=400, body=to_json({"message": "User-Agent is missing or is not System/Version"}))
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        return server_error()
    return None


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice")
    return value


def body_of(call: Call) -> Any:
    """The decoded body, decimals exact. Malformed JSON or a name that stands twice: 400."""
    try:
        return json.loads(
            call.body.decode("utf-8"),
            parse_float=Decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_no_duplicates,
        )
    except (ValueError, RecursionError) as error:
        raise Refused(400, "BadRequest", "The body is not JSON") from error


def object_of(call: Call, allowed: frozenset[str] | None = None) -> dict[str, Any]:
    """The body as an object; with `allowed`, one that has no other names."""
    value = body_of(call)
    if not isinstance(value, dict):
        raise Refused(400, "BadRequest", "The body is not an object")
    if allowed is not None and (unknown := value.keys() - allowed):
        raise Refused(400, "BadRequest", f"Unknown field {min(unknown)}")
    return value


def contact_of(call: Call, *names: str) -> str:
    """Whose list is asked for: v3 has the contact in the query, v2 in the path (ref 1.8). Refuses other parameters."""
    if call.version == 2:
        only_query(call, *names)
        return call.params["contact"]
    only_query(call, "contactId", *names)
    return call.query.get("contactId", "")


def only_query(call: Call, *names: str) -> None:
    """Refuse query parameters that this call does not have."""
    if unknown := call.query.keys() - set(names):
        raise Refused(400, "BadRequest", f"Unknown query parameter {min(unknown)}")
