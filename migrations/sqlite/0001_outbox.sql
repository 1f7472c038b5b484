-- The outbox.
--
-- entry    one row per write, small; the content stands beside it in `body`, so that moving an entry never copies it
-- lane     one row per contact: which entry of it is next and when. A claim reads lanes, never the backlog
-- spent_key  what was delivered under a key, as hashes; outlives the entry
-- attempt  the record of an entry, one line per attempt, never with text that Engage sent
-- former_body  what an entry's content was before a person edited it, or a replay left out what newer entries set
-- file     the fallback files and their history
-- action   what operators did to entries: who, when, what, why
-- contact  which id an address of a contact stands for, and of which type a contact is
-- meta     facts of this outbox; counter: its books; history: how many entries came where, every five minutes
--
-- Instants are milliseconds since 1970, UTC. Ids of entries grow in the order of writing and are never used again.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Without a kind: how many entries were purged and forgotten, up to which id they are counted as `waiting`, and up to
-- which id none waits. With one: how many entries of that kind stand where. `waiting` is `pending` and `sending` in one:
-- the step between the two is the most frequent one, and `entry_sending` counts those.
-- Few rows, so that they share a page: a commit that changes any of them writes one page. One that only adds entries
-- changes none: ids are given in the transaction that writes an entry, none is left out and none is used twice, so the
-- highest is the number of entries ever written. New ones are counted some hundreds at a time; what is told of the
-- counters is the view `books`, which looks at the few that are not counted yet.
CREATE TABLE counter (
    name TEXT NOT NULL CHECK (name IN (
        'purged', 'forgotten', 'counted', 'passed',
        'waiting', 'delivered', 'rejected', 'exhausted', 'spooled', 'uploaded', 'imported', 'discarded'
    )),
    kind TEXT NOT NULL DEFAULT '',
    value INTEGER NOT NULL,
    PRIMARY KEY (name, kind)
) STRICT, WITHOUT ROWID;

INSERT INTO counter (name, value) VALUES ('purged', 0), ('forgotten', 0), ('counted', 0), ('passed', 0);

INSERT INTO counter (name, kind, value)
SELECT place.column1, kind.column1, 0
FROM (
    VALUES ('waiting'), ('delivered'), ('rejected'), ('exhausted'), ('spooled'), ('uploaded'), ('imported'), ('discarded')
) AS place
CROSS JOIN (
    VALUES ('redeem'), ('contact_create'), ('contact_update'), ('contact_type'), ('receipt'), ('voucher_redeem')
) AS kind;

CREATE TABLE history (
    -- the five minutes, counted since 1970
    span INTEGER NOT NULL,
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (span, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE lane (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    -- the entry whose turn is next; NULL: nothing of this lane may be sent now
    head INTEGER,
    due INTEGER,
    -- 0: the head redeems something and goes before the others
    rank INTEGER NOT NULL DEFAULT 1,
    -- what entries on the second road hold back: 0 nothing, 1 later updates and type changes, 2 everything later
    hold INTEGER NOT NULL DEFAULT 0,
    -- 1: all that waits stands behind something on the second road
    behind INTEGER NOT NULL DEFAULT 0,
    -- 1: its head was exhausted in an outage, and what waits is on its way after it
    follows INTEGER NOT NULL DEFAULT 0,
    -- the update or type change that was imported and is the next of the lane to be confirmed, and when. The later ones
    -- wait for it, and nobody looks through them
    confirms INTEGER,
    confirm_due INTEGER,
    -- nothing of this lane goes out before: Engage may still be working on an earlier request
    rest_until INTEGER NOT NULL DEFAULT 0,
    -- how often anything of it has moved: an answer of Engage's from before is not the newest
    moves INTEGER NOT NULL DEFAULT 0,
    -- the lane that this one became part of, and that has the turn of both. The entries of this one stay with it; new
    -- ones go to the other one
    joined INTEGER REFERENCES lane (id)
) STRICT;

CREATE INDEX lane_due ON lane (rank, due, id) WHERE head IS NOT NULL;
CREATE INDEX lane_held ON lane (id) WHERE hold > 0;
CREATE INDEX lane_behind ON lane (id) WHERE behind = 1 OR follows = 1;
CREATE INDEX lane_follows ON lane (id) WHERE follows = 1;
CREATE INDEX lane_confirms ON lane (confirm_due, id) WHERE confirms IS NOT NULL;
CREATE INDEX lane_joined ON lane (joined) WHERE joined IS NOT NULL;

CREATE TABLE entry (
    id INTEGER PRIMARY KEY,
    lane INTEGER NOT NULL REFERENCES lane (id),
    -- ORs, because an IN of more than two words builds a table of them for every statement that inserts
    kind TEXT NOT NULL CHECK (
        kind = 'redeem' OR kind = 'contact_create' OR kind = 'contact_update' OR kind = 'contact_type'
        OR kind = 'receipt' OR kind = 'voucher_redeem'
    ),
    state TEXT NOT NULL CHECK (
        state = 'pending' OR state = 'sending' OR state = 'delivered' OR state = 'rejected' OR state = 'exhausted'
        OR state = 'spooled' OR state = 'uploaded' OR state = 'imported' OR state = 'discarded'
    ),
    key TEXT,
    -- what names it by nature, where the shop gave a key of its own
    natural_key TEXT,
    -- the key that it held until it was rejected or discarded
    released_key TEXT,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    due INTEGER NOT NULL,
    -- what it counts in a file: a receipt one per item
    lines INTEGER NOT NULL DEFAULT 1,
    -- turns of the retry schedule that are used up
    slots INTEGER NOT NULL DEFAULT 0,
    -- requests that may have changed something at Engage
    requests INTEGER NOT NULL DEFAULT 0,
    -- an earlier request may have taken effect
    unknown INTEGER NOT NULL DEFAULT 0,
    -- the open breaker has used up a turn of it, or exhausted it
    outage INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    file INTEGER REFERENCES file (id),
    -- the rejected or discarded entry whose key it took over
    replaces INTEGER,
    warnings TEXT,
    -- the contact writes whose order among themselves matters even on the second road
    profile INTEGER GENERATED ALWAYS AS (kind IN ('contact_update', 'contact_type')) VIRTUAL,
    -- on the second road
    away INTEGER GENERATED ALWAYS AS (
        state = 'exhausted' OR state = 'spooled' OR state = 'uploaded' OR state = 'imported'
    ) VIRTUAL,
    settled INTEGER GENERATED ALWAYS AS (state = 'delivered' OR state = 'rejected' OR state = 'discarded') VIRTUAL,
    -- a contact write whose values Engage has, or may have. A creation only where it sent something: one that found its
    -- contact has set nothing
    in_force INTEGER GENERATED ALWAYS AS (
        (kind = 'contact_update' OR (kind = 'contact_create' AND (requests > 0 OR file IS NOT NULL)))
        AND (
            state = 'delivered' OR state = 'uploaded' OR state = 'imported'
            OR (unknown = 1 AND state <> 'rejected' AND state <> 'discarded')
        )
    ) VIRTUAL
) STRICT;

CREATE UNIQUE INDEX entry_key ON entry (key, kind) WHERE key IS NOT NULL;
CREATE INDEX entry_natural ON entry (natural_key, kind) WHERE natural_key IS NOT NULL;
CREATE INDEX entry_released ON entry (released_key, kind) WHERE released_key IS NOT NULL;
CREATE INDEX entry_refused ON entry (id) WHERE state = 'rejected';
CREATE INDEX entry_dropped ON entry (id) WHERE state = 'discarded';
-- What failed, by code. Writing and delivering at the first attempt never touch it.
CREATE INDEX entry_reason ON entry (reason, id) WHERE reason IS NOT NULL;
CREATE INDEX entry_waiting ON entry (lane, profile, id) WHERE state IN ('pending', 'sending');
CREATE INDEX entry_sending ON entry (id) WHERE state = 'sending';
CREATE INDEX entry_away ON entry (lane, kind, id) WHERE away = 1;
CREATE INDEX entry_changes_left ON entry (lane)
WHERE away = 1 AND state <> 'exhausted' AND (profile = 1 OR kind = 'contact_create');
CREATE INDEX entry_spooled ON entry (lane, id) WHERE state = 'spooled';
CREATE INDEX entry_settled ON entry (lane, kind, id) WHERE settled = 1;
CREATE INDEX entry_rejected ON entry (lane, id) WHERE state = 'rejected';
-- All that is asked of many of them, so that counting their lines reads nothing else; SQLite wants the state there, too.
CREATE INDEX entry_exhausted ON entry (id, changed, lines, state) WHERE state = 'exhausted';
CREATE INDEX entry_left ON entry (id) WHERE state = 'spooled' OR state = 'uploaded' OR state = 'imported';
CREATE INDEX entry_outage ON entry (id) WHERE state = 'exhausted' AND outage = 1;
CREATE INDEX entry_imported ON entry (profile, due, id) WHERE state = 'imported';
CREATE INDEX entry_in_bulk ON entry (id) WHERE state = 'uploaded' AND file IS NULL;
CREATE INDEX entry_in_force ON entry (lane, id) WHERE in_force = 1;
CREATE INDEX entry_file ON entry (file, id) WHERE file IS NOT NULL;

-- Whoever moves or removes an entry, the counters go with it in the same transaction. One that moves before it is counted
-- leaves `waiting` one too low for so long.
CREATE TRIGGER entry_moved AFTER UPDATE OF state ON entry
WHEN old.state <> new.state
AND NOT (old.state IN ('pending', 'sending') AND new.state IN ('pending', 'sending'))
BEGIN
    UPDATE counter SET value = value - 1
    WHERE name = CASE WHEN old.state IN ('pending', 'sending') THEN 'waiting' ELSE old.state END AND kind = old.kind;
    UPDATE counter SET value = value + 1
    WHERE name = CASE WHEN new.state IN ('pending', 'sending') THEN 'waiting' ELSE new.state END AND kind = new.kind;
    INSERT INTO history (span, name, value) VALUES (new.changed / 300000, new.state, 1)
    ON CONFLICT (span, name) DO UPDATE SET value = value + 1;
END;

-- Who waits again stands before others that wait.
CREATE TRIGGER entry_back AFTER UPDATE OF state ON entry
WHEN new.state = 'pending' AND old.state NOT IN ('pending', 'sending')
BEGIN
    UPDATE counter SET value = new.id - 1 WHERE name = 'passed' AND kind = '' AND value >= new.id;
END;

CREATE TRIGGER entry_gone AFTER DELETE ON entry
BEGIN
    SELECT raise(ABORT, 'an entry is removed before it is counted')
    FROM counter WHERE name = 'counted' AND kind = '' AND value < old.id;
    UPDATE counter SET value = value - 1
    WHERE name = CASE WHEN old.state IN ('pending', 'sending') THEN 'waiting' ELSE old.state END AND kind = old.kind;
END;

CREATE VIEW uncounted (kind, entries) AS
SELECT kind, count(*) FROM entry
WHERE id > (SELECT value FROM counter WHERE name = 'counted' AND kind = '')
GROUP BY kind;

CREATE VIEW books (name, kind, value) AS
SELECT 'enqueued', '', max(value, coalesce((SELECT max(id) FROM entry), 0)) FROM counter
WHERE name = 'counted' AND kind = ''
UNION ALL
SELECT name, kind, value FROM counter WHERE name <> 'waiting' AND name <> 'counted' AND name <> 'passed'
UNION ALL
SELECT counter.name, counter.kind, counter.value + coalesce(uncounted.entries, 0)
FROM counter LEFT JOIN uncounted ON uncounted.kind = counter.kind
WHERE counter.name = 'waiting';

CREATE TABLE body (
    entry INTEGER PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE former_body (
    entry INTEGER NOT NULL,
    -- the number of the line in the entry's record that tells of the change
    number INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (entry, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE spent_key (
    hash TEXT PRIMARY KEY,
    content TEXT NOT NULL,
    entry INTEGER NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE attempt (
    entry INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    what TEXT NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER,
    code TEXT,
    duration_ms INTEGER,
    known INTEGER NOT NULL,
    PRIMARY KEY (entry, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE file (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    family TEXT NOT NULL CHECK (family IN ('contacts', 'redemptions', 'transactions')),
    contact_type TEXT NOT NULL,
    match_key_type TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('spooled', 'uploading', 'uploaded', 'imported', 'withdrawn', 'lost')),
    entries INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    size INTEGER NOT NULL,
    created INTEGER NOT NULL,
    uploaded INTEGER,
    seen INTEGER,
    imported INTEGER,
    carried INTEGER NOT NULL DEFAULT 0,
    problem TEXT
) STRICT;

CREATE INDEX file_open ON file (state, id) WHERE state IN ('spooled', 'uploading', 'uploaded');

CREATE TABLE contact (
    address TEXT PRIMARY KEY,
    id TEXT NOT NULL COLLATE NOCASE,
    learned INTEGER NOT NULL,
    -- the contact's type, where the address is the id itself; NULL: not known, or the usual one
    type TEXT,
    -- when Engage was asked whose the address is: by the wall clock, and in ms since the machine was started; NULL: what
    -- told it was no answer to that question
    asked INTEGER,
    ticks INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX contact_of_id ON contact (id);
CREATE INDEX contact_learned ON contact (learned);

CREATE TABLE action (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    -- which entries were asked for; never what names a person
    chosen TEXT NOT NULL,
    reason TEXT,
    -- entries that it has changed so far; one that was interrupted has no end
    entries INTEGER NOT NULL DEFAULT 0,
    ended INTEGER
) STRICT;
