"""The durable part.

In come drafts, out go messages; every move of an entry is a conditional update here. Knows bytes, lanes and states, not
endpoints. In the order of reading:

states.py               every state, of entries and of files, and every move (pure)
records.py              what is told of an outbox and to it
store.py                what a stage may ask of an outbox          operator_store.py  and what operators may

sqlite.py               the store in one SQLite file, put together from its parts; beside each, what it runs on a
                        connection's thread: inside one transaction, or one snapshot
  sqlite_file.py          the open file under all of them          making.py          its making; migrate.py, its schema
  sqlite_sending.py       the way by the API                       moves.py           adding.py
  sqlite_second_road.py   by file or bulk request                  file_moves.py      newest.py (pure)
  sqlite_operator.py      replay, discard, edit                    operator_moves.py  replaying.py (pure)
  sqlite_forgetting.py    one contact's data leaves                forgetting.py
  sqlite_purging.py       what is finished and old leaves          purging.py
  sqlite_looking.py       entries and books                        looking.py         choosing.py
  sqlite_facts.py         what is known of contacts, who drains

sqlite.sql              every statement, by name                   queries.py         the loader
writer.py               group commit                               commit.py          a commit that fails
chunks.py               how much of a large move goes into one     together.py        single calls made one
lock.py                 the writers' turn, the right to drain      wake.py            a poke across processes
access.py               who may use the files                      seal.py            what stands in place of contents
overview.py             what it says of itself in one look         verify.py          what must hold, checked
glance.py               a look from outside, without a loop        backup.py          a copy at one moment
shelf.py                answers of Engage that outlive a process: nothing depends on them
"""
