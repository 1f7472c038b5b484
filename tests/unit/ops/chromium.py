"""A real browser without a window, by its own protocol (DevTools): enough of it for one page."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
         "--no-first-run", "--no-zygote", "--disable-background-networking", "--remote-debugging-port=0")  # fmt: skip


def installed() -> str | None:
    """Where it is, if it is there."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Tab:
    """One page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._session: str | None = None

    async def open(self) -> None:
        target = await self("Target.createTarget", url="about:blank")
        attached = await self("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        await self("Page.enable")
        await self("Accessibility.enable")

    async def __call__(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        order = {"id": number, "method": method, "params": params}
        await self._socket.send_json(order | ({"sessionId": self._session} if self._session else {}))
        while True:
            answer = await asyncio.wait_for(self._socket.receive_json(), 30)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    async def look_at(self, url: str, *, dark: bool = False, width: int = 1100) -> None:
        """Load it; returns when it is there."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self("Emulation.setEmulatedMedia", features=[scheme])
        await self(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        await self("Page.navigate", url=url)
        while await self.evaluate("document.readyState + ' ' + location.href") != f"complete {url}":
            await asyncio.sleep(0.02)

    async def evaluate(self, expression: str) -> Any:
        """What an expression is on the page."""
        answer = await self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            await self("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=9)

    async def accessible(self) -> list[tuple[str, str]]:
        """What a screen reader finds: role and name, in the order of the page."""
        tree = await self("Accessibility.getFullAXTree")
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in tree["nodes"]
            if not node.get("ignored")
        ]

    async def screenshot(self, path: Path) -> None:
        """The whole page."""
        size = (await self("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = await self("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def browsing(program: str, folder: Path) -> AsyncIterator[Tab]:
    """A browser with one tab, and gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        program, *FLAGS, f"--user-data-dir={folder}", stderr=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stderr is not None
        address = ""
        while not address:
            line = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
            assert line, "the browser ended"
            address = line.partition("DevTools listening on ")[2].strip()
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            tab = Tab(socket)
            await tab.open()
            yield tab
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its helpers, too: they keep the pipe open
        await process.communicate()
