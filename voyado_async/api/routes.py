"""From a call by its meaning to a request over HTTP, by the table of one API version."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from string import Formatter
from types import MappingProxyType
from typing import Literal, TypeAlias
from urllib.parse import quote

import msgspec

from voyado_async.delivery import Request
from voyado_async.kinds.call import Call, Operation


class Route(msgspec.Struct, frozen=True):
    """Where an operation is. Of `paths`, the first one whose names are all known is taken."""

    method: str
    paths: tuple[str, ...]
    query: tuple[str, ...] = ()
    """Ids that stand in the query."""
    options: Literal["query", "headers"] = "query"
    sends_body: bool = True
    """False where the path says it all already."""
    special: tuple[str, str, str] | None = None
    """An id, a value of it, and the path that this value has of its own."""


Routes: TypeAlias = Mapping[Operation, Route]


class EngageRequest(Request, frozen=True, kw_only=True):
    """A request that still knows what it means, and may have headers: v2 takes a creation's options so (ref 1.8)."""

    operation: Operation
    contact_id: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def routes_of(version: int) -> Routes:
    """The table of API version 2 or 3."""
    from voyado_async.api import v2, v3  # here: the tables are written with this module's words

    return MappingProxyType({2: v2.ROUTES, 3: v3.ROUTES}[version])


def build(routes: Routes, call: Call) -> EngageRequest:
    """The request of a call. Ids in the path are percent-encoded; the query is encoded by whoever sends it."""
    route = routes[call.operation]
    ids = dict(call.ids)
    path, query = _path(route, ids), route.query
    if route.special is not None and ids.get(route.special[0]) == route.special[1]:
        path, query = route.special[2], ()
    params = tuple((name, ids[name]) for name in query if name in ids) + call.params
    if route.options == "query":
        params += call.options
    return EngageRequest(
        operation=call.operation,
        contact_id=ids.get("contactId"),
        method=route.method,
        path=path.format_map({name: quote(value, safe="") for name, value in ids.items()}),
        params=params,
        body=call.body if route.sends_body else b"",
        headers=call.options if route.options == "headers" else (),
    )


def lacking(routes: Routes, call: Call) -> frozenset[str]:
    """The ids that have to be added to a call before this version has a path for it; empty where it has one."""
    return min((_names(path) - dict(call.ids).keys() for path in routes[call.operation].paths), key=len)


def _path(route: Route, ids: Mapping[str, str]) -> str:
    for path in route.paths:
        if _names(path) <= ids.keys():
            return path
    raise LookupError(f"no path of {route.paths} can be made of {', '.join(ids) or 'nothing'}")


@cache
def _names(path: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in Formatter().parse(path) if name is not None)
