"""Many contacts in one request (ref 4.9): see `delivery.BulkCarrier`."""

from __future__ import annotations

from voyado_async.api import replies
from voyado_async.api.http import Http
from voyado_async.api.routes import Routes, build
from voyado_async.delivery import BulkTaken, Kind, Outcome, Reply
from voyado_async.kinds.call import Call, Operation

_OPERATIONS = {Kind.CONTACT_CREATE: Operation.BULK_CREATE, Kind.CONTACT_UPDATE: Operation.BULK_UPDATE}


class EngageBulk:
    """Bulk requests over HTTP, one at a time: the courier sends a handful of them when the API is back."""

    def __init__(self, http: Http, routes: Routes) -> None:
        self._http = http
        self._routes = routes

    async def send_bulk(self, kind: Kind, contact_type: str, contacts: bytes) -> BulkTaken | Outcome:
        params = (("contactType", contact_type),) if contact_type else ()
        call = Call(_OPERATIONS[kind], params=params, body=contacts)
        return taken(await self._http.send(build(self._routes, call)))


def taken(reply: Reply) -> BulkTaken | Outcome:
    """What a bulk request came to. Its answer is the batch's id, a bare JSON string (ref 4.9)."""
    refused = replies.trouble(reply, earlier_unknown=False, changes=True)
    if refused is not None:
        return refused
    batch_id = replies.identity(reply.body) if replies.is_json(reply) else None
    if batch_id is None:
        return replies.strange(reply, changes=True)
    return BulkTaken(batch_id, reply.status, reply.duration_ms)
