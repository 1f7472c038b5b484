"""The REST road: a message or a question goes in, an outcome or an answer comes out.

http.py      one request -> Reply; errors mapped once
replies.py   what a reply means (pure)
routes.py    a call by its meaning -> Request, by the table of v2.py or v3.py
carrier.py   one message -> look-up, request, outcome
bulk.py      many contacts in one request
readback.py  what of an update a contact does not show (pure)
direct.py    one direct call -> its answer, or EngageUnavailable / EngageRefused
memory.py    answers kept for a while, one request for many callers
reads.py     the direct reads, with a memory

Nothing here writes to the outbox, retries or sleeps on a schedule: that is the drainer's.
"""
