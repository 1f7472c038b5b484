"""aioresponses 0.7.9 on aiohttp 3.14: two names of its module are replaced by ones that fit (DEPENDENCIES 2).

`ClientResponse` wants a `stream_writer` since 3.14, and a mocked body over 64 KiB would pause a parser that is not
there. Both replacements do nothing once aioresponses passes the argument itself; a canary test tells when.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from aioresponses import aioresponses
from aioresponses import core as _core

core: Any = _core  # what is replaced are names that it imports, not names that it exports
ORIGINAL_RESPONSE = core.ClientResponse


class _Response(aiohttp.ClientResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)


def _reader(loop: Any = None) -> aiohttp.StreamReader:
    return aiohttp.StreamReader(BaseProtocol(loop=loop), limit=2**31, loop=loop)


core.ClientResponse = _Response
core.stream_reader_factory = _reader

__all__ = ["ORIGINAL_RESPONSE", "aioresponses", "core"]
