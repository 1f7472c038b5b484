"""The REST road: a message or a question goes in, an outcome or an answer comes out.

http.py      one request -> Reply; errors mapped once
replies.py   what a reply means (pure)
routes.py    a call by its meaning -> Request, by the table of v2.py or v3.py
carrier.py   one message -> look-up, request, outcome
direct.py    one direct call -> its answer, or EngageUnavailable / EngageRefused
reads.py     direct reads with a memory: cache, one request for many callers, last known values

Nothing here writes to the outbox, retries or sleeps on a schedule: that is the drainer's.
"""
