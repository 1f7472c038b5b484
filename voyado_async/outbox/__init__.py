"""The durable part.

In come drafts, out go messages; every move of an entry is a conditional update here. Knows bytes, lanes and states, not
endpoints. In the order of reading:

states.py      every state and every move (pure)
store.py       what a stage may ask of an outbox
sqlite.py      the store in one SQLite file          sqlite.sql     its named queries
writer.py      group commit
moves.py       what happens inside one transaction   file_moves.py  the same for fallback files
chunks.py      how much of a large move goes into one
overview.py    what it says of itself in one look    looking.py     the reads behind it
choosing.py    which entries fit a filter            glance.py      a look from outside, without an event loop
lock.py        the writers' turn, the right to drain
access.py      who may use the files                 seal.py        what stands in place of contents and addresses
wake.py        a poke across processes
shelf.py       answers of Engage that outlive a process: nothing depends on them
migrate.py     the schema                            queries.py     the loader of named queries
"""
