"""A shop's process that writes and does not drain: orders come on standard input, its books go to standard output.

The first line is the customers; then ``"welcome"``, or how many customers are to be served.
"""

from __future__ import annotations

import asyncio
import sys
from random import Random

import msgspec

from voyado_async import Settings, VoyadoClient
from voyado_async.cli.demo_shop import Customer, Shop


async def main() -> None:
    encode = msgspec.json.Encoder(decimal_format="number").encode

    def tell(value: object) -> None:
        sys.stdout.buffer.write(encode(value) + b"\n")
        sys.stdout.buffer.flush()

    customers = msgspec.json.decode(await asyncio.to_thread(sys.stdin.buffer.readline), type=list[Customer])
    async with VoyadoClient(Settings.from_env(), drain=False) as voyado:
        shop = Shop(voyado, customers, Random(1))
        tell([])
        told = 0
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            order = msgspec.json.decode(line)
            if order == "welcome":
                await shop.welcome()
            else:
                await shop.serve(order)
            tell(shop.books[told:])
            told = len(shop.books)


asyncio.run(main())
