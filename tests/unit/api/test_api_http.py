"""One request against a real server on loopback: what goes out, and what every kind of answer and fault becomes."""

from __future__ import annotations

import asyncio
import logging
import socket

import aiohttp
import pytest
from aioresponses_bridge import ORIGINAL_RESPONSE, aioresponses, core
from loopback import KEY, answer, calling, close, hang, json_answer, loopback, reset, truncated

from voyado_async.api import http as http_module
from voyado_async.api.http import Http, open_session
from voyado_async.api.routes import EngageRequest
from voyado_async.clock import SystemClock
from voyado_async.delivery import Failure, Request
from voyado_async.errors import ClientClosed
from voyado_async.kinds.call import Operation

GET = Request("GET", "/api/v3/contacts/id", (("mobilePhone", "+46 70"), ("contactType", "Å&=?#/%")))
POST = Request("POST", "/api/v3/receipts", body=b'{"total":640.00}')


# what goes out --------------------------------------------------------------------------------------------------------


async def test_every_request_carries_the_mandatory_headers_also_without_a_body() -> None:
    async with loopback(answer(200)) as place, calling(place.url, api_key_header="x-api-key") as http:
        for request in (GET, POST, Request("POST", "/api/v3/x")):
            assert (await http.send(request)).status == 200
    for seen in place.seen:
        assert seen.headers["x-api-key"] == KEY
        assert seen.headers["user-agent"] == "ShopTill/2.3"
        assert seen.headers["content-type"] == "application/json"
        assert seen.headers["accept"] == "application/json"
        assert "cookie" not in seen.headers
    assert [seen.body for seen in place.seen] == [b"", b'{"total":640.00}', b""]


async def test_the_query_is_encoded_once_and_a_plus_stays_a_plus() -> None:
    async with loopback(answer(200)) as place, calling(place.url + "/") as http:
        await http.send(GET)
    assert place.lines == [
        "GET /api/v3/contacts/id?mobilePhone=%2B46%2070&contactType=%C3%85%26%3D%3F%23%2F%25",
    ]


async def test_a_request_may_have_headers_of_its_own() -> None:
    request = EngageRequest("POST", "/x", operation=Operation.CREATE_CONTACT, headers=(("source", "POS"),))
    async with loopback(answer(200)) as place, calling(place.url) as http:
        await http.send(request)
    assert place.seen[0].headers["source"] == "POS"


async def test_a_body_of_megabytes_goes_out_as_it_is_and_without_a_warning() -> None:
    body = b"[" + b"1," * 700_000 + b"1]"
    async with loopback(answer(200)) as place, calling(place.url) as http:
        await http.send(Request("POST", "/x", body=body))
    assert place.seen[0].body == body


async def test_the_key_stands_in_no_repr_and_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with loopback(answer(200), reset) as place, calling(place.url) as http:
        replies = [await http.send(POST), await http.send(POST)]
        assert KEY not in repr((http, replies))
    assert KEY not in caplog.text


async def test_middlewares_of_a_shops_session_cannot_repeat_our_requests() -> None:
    async def twice(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        await handler(request)
        return await handler(request)

    async with loopback(answer(200)) as place, aiohttp.ClientSession(middlewares=(twice,)) as session:
        http = Http(session, base_url=place.url, api_key=KEY, user_agent="A/1", clock=SystemClock())
        await http.send(POST)
    assert len(place.seen) == 1


async def test_a_session_that_raises_for_statuses_changes_nothing() -> None:
    async with loopback(answer(404)) as place, aiohttp.ClientSession(raise_for_status=True) as session:
        http = Http(session, base_url=place.url, api_key=KEY, user_agent="A/1", clock=SystemClock())
        assert (await http.send(POST)).status == 404


async def test_a_session_of_our_own_keeps_no_cookies() -> None:
    async with loopback(answer(200, Set_Cookie="a=b")) as place, open_session(2) as session:
        http = Http(session, base_url=place.url, api_key=KEY, user_agent="A/1", clock=SystemClock())
        await http.send(GET)
        await http.send(GET)
        assert not session.trust_env
    assert "cookie" not in place.seen[1].headers


# what comes back ------------------------------------------------------------------------------------------------------


async def test_an_answer_is_told_with_its_body_its_type_its_retry_after_and_its_time() -> None:
    body = b'{"errorCode":"NoData"}'
    past = "Fri, 14 Mar 2025 08:00:00 GMT"
    told = answer(400, body, Content_Type="application/json; charset=utf-8", Retry_After="7", Date=past)
    async with loopback(told) as place, calling(place.url) as http:
        reply = await http.send(POST)
    assert (reply.status, reply.body, reply.content_type) == (400, body, "application/json")
    assert (reply.retry_after, reply.failure) == (7.0, None)
    assert reply.at is not None
    assert reply.at - reply.ahead == 1_741_939_200_000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("request_", [GET, POST])
async def test_a_redirect_is_never_followed(status: int, request_: Request) -> None:
    async with loopback(answer(status, Location="/elsewhere")) as place, calling(place.url) as http:
        reply = await http.send(request_)
    assert reply.status == status
    assert len(place.seen) == 1


async def test_a_page_comes_back_as_a_page() -> None:
    told = answer(200, b"<html></html>", Content_Type="text/html")
    async with loopback(told) as place, calling(place.url) as http:
        reply = await http.send(POST)
    assert (reply.status, reply.content_type, reply.body) == (200, "text/html", b"<html></html>")


# faults ---------------------------------------------------------------------------------------------------------------


async def test_a_refused_connection_means_that_nothing_was_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else can take the port
        async with calling(f"http://127.0.0.1:{taken.getsockname()[1]}") as http:
            reply = await http.send(POST)
    assert (reply.failure, reply.status) == (Failure.REFUSED, 0)


async def test_a_host_that_does_not_exist_means_that_nothing_was_sent() -> None:
    class Nowhere(aiohttp.abc.AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[aiohttp.abc.ResolveResult]:
            raise OSError("no such host")

        async def close(self) -> None:
            return

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Nowhere())) as session:
        http = Http(session, base_url="http://nowhere.invalid", api_key=KEY, user_agent="A/1", clock=SystemClock())
        assert (await http.send(POST)).failure is Failure.REFUSED


async def test_a_server_without_tls_where_tls_was_meant_means_that_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_module, "CONNECT_TIMEOUT", 0.2)
    async with loopback(answer(200)) as place, calling(place.url.replace("http:", "https:")) as http:
        reply = await http.send(POST)
    assert reply.failure is Failure.REFUSED
    assert place.seen == []


async def test_a_wait_for_a_pooled_connection_is_not_part_of_the_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "CONNECT_TIMEOUT", 0.2)
    async with loopback(hang) as place, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        http = Http(session, base_url=place.url, api_key=KEY, user_agent="A/1", clock=SystemClock(), timeout=30)
        first = asyncio.create_task(http.send(POST))
        while not place.seen:
            await asyncio.sleep(0.005)
        waiting = await http.send(POST)
        assert waiting.failure is Failure.REFUSED
        assert len(place.seen) == 1
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_the_time_out_runs_from_when_a_connection_is_held() -> None:
    """Cut short by the wait for it, a redemption's would end before Engage's point of no return."""

    async def late(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.6)
        writer.write(answer(200))

    async with loopback(late) as place, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        http = Http(session, base_url=place.url, api_key=KEY, user_agent="A/1", clock=SystemClock(), timeout=1.0)
        replies = await asyncio.gather(http.send(POST), http.send(POST))
    assert [reply.status for reply in replies] == [200, 200]
    assert max(reply.duration_ms for reply in replies) > 1000


@pytest.mark.parametrize("end", [reset, close])
async def test_a_connection_that_ends_before_the_answer_is_broken_and_a_post_is_never_repeated(end: object) -> None:
    async with loopback(end) as place, calling(place.url) as http:  # type: ignore[arg-type]  # one of two answers
        reply = await http.send(POST)
    assert reply.failure is Failure.BROKEN
    assert len(place.seen) == 1


@pytest.mark.parametrize("end", [reset, close])
async def test_a_post_on_a_kept_alive_connection_that_ends_is_not_repeated_either(end: object) -> None:
    async with loopback(answer(200), end) as place, calling(place.url) as http:  # type: ignore[arg-type]  # as above
        assert (await http.send(POST)).status == 200
        reply = await http.send(POST)
    assert reply.failure is Failure.BROKEN
    assert len(place.seen) == 2


async def test_a_truncated_body_is_broken_although_the_status_came() -> None:
    async with loopback(truncated(b'{"id":"1"}')) as place, calling(place.url) as http:
        reply = await http.send(POST)
    assert (reply.failure, reply.status, reply.body) == (Failure.BROKEN, 0, b"")


async def test_something_that_is_not_http_is_broken() -> None:
    async with loopback(b"220 ready for mail\r\n\r\n") as place, calling(place.url) as http:
        assert (await http.send(POST)).failure is Failure.BROKEN


async def test_a_body_beyond_the_cap_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "MAX_ANSWER", 1000)
    told = [json_answer(200, "x" * 998), json_answer(200, "x" * 999)]
    async with loopback(*told) as place, calling(place.url) as http:
        assert len((await http.send(POST)).body) == 1000
        assert (await http.send(POST)).failure is Failure.BROKEN


async def test_silence_ends_with_the_time_out() -> None:
    async with loopback(hang) as place, calling(place.url, timeout=0.1) as http:
        reply = await http.send(POST)
    assert reply.failure is Failure.TIMEOUT
    assert reply.duration_ms >= 90


async def test_an_answer_that_drips_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "CONNECT_TIMEOUT", 0.1)

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200, Content_Length="1000"))
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.02)

    async with loopback(drip) as place, calling(place.url, timeout=0.2) as http:
        assert (await http.send(POST)).failure is Failure.TIMEOUT


async def test_a_read_ends_within_its_limit_however_patient_the_client_is() -> None:
    async with loopback(hang) as place, calling(place.url, timeout=60) as http:
        reply = await http.send(GET, within=0.1)
    assert reply.failure is Failure.TIMEOUT
    assert reply.duration_ms < 5000


async def test_cancelling_passes_through() -> None:
    async with loopback(hang) as place, calling(place.url) as http:
        task = asyncio.create_task(http.send(POST))
        while not place.seen:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_closed_session_is_the_callers_error() -> None:
    async with calling("http://127.0.0.1:9") as http:
        pass
    with pytest.raises(ClientClosed):
        await http.send(GET)


# aioresponses ---------------------------------------------------------------------------------------------------------


async def test_mocked_replies_look_the_same() -> None:
    with aioresponses() as mocked:
        mocked.post("https://shop.example.com/api/v3/receipts", status=202, body=b"x" * 200_000)
        async with calling("https://shop.example.com") as http:
            reply = await http.send(POST)
    assert (reply.status, len(reply.body)) == (202, 200_000)


@pytest.mark.parametrize(
    ("raised", "failure"),
    [
        (aiohttp.ServerDisconnectedError(), Failure.BROKEN),
        (aiohttp.ClientOSError(104, "reset"), Failure.BROKEN),
        (aiohttp.ClientPayloadError(), Failure.BROKEN),
        (aiohttp.SocketTimeoutError(), Failure.TIMEOUT),
        (TimeoutError(), Failure.TIMEOUT),
        (aiohttp.ConnectionTimeoutError(), Failure.REFUSED),
        (aiohttp.ServerFingerprintMismatch(b"a", b"b", "host", 443), Failure.REFUSED),
    ],
)
async def test_every_error_of_aiohttp_has_its_meaning(raised: Exception, failure: Failure) -> None:
    with aioresponses() as mocked:
        mocked.post("https://shop.example.com/api/v3/receipts", exception=raised)
        async with calling("https://shop.example.com") as http:
            assert (await http.send(POST)).failure is failure


async def test_canary_the_bridge_is_still_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Red when an aioresponses comes out that knows aiohttp 3.14: then delete the bridge and this test."""
    monkeypatch.setattr(core, "ClientResponse", ORIGINAL_RESPONSE)
    with aioresponses() as mocked:
        mocked.get("https://shop.example.com/")
        async with aiohttp.ClientSession() as session:
            with pytest.raises(TypeError, match="stream_writer"):
                await session.get("https://shop.example.com/")
