-- Every statement that the SQLite store runs.
--
-- Moves are conditional on the state they move from and return what moved. Sets of entries come as one JSON argument,
-- so that a batch is a handful of statements however large it is. Instants are milliseconds and always an argument.

-- ---------------------------------------------------------------------------------------------------------- writing

-- name: around
-- For each draft (kind, key, lane), in their order: its lane, or the one that this became part of, and whether that has
-- nothing to send and nothing held, or is held; who holds its key. Beside each, how the outbox stands: up to which id it
-- is counted; the highest id that is there; the highest lane; and which of the rare things there are at all.
WITH wanted (kind, key, lane) AS (
    VALUES (?, ?, ?)
)
SELECT
    home.id, home.head IS NULL AND home.hold = 0, home.head IS NULL AND home.hold > 0,
    holder.id, holder.state, body.content,
    (SELECT value FROM counter WHERE name = 'counted' AND kind = ''),
    (SELECT coalesce(max(id), 0) FROM entry),
    (SELECT coalesce(max(id), 0) FROM lane),
    EXISTS (SELECT 1 FROM entry WHERE natural_key IS NOT NULL),
    EXISTS (SELECT 1 FROM entry WHERE released_key IS NOT NULL),
    EXISTS (SELECT 1 FROM spent_key)
FROM wanted
LEFT JOIN lane ON lane.key = wanted.lane
LEFT JOIN lane AS home ON home.id = coalesce(lane.joined, lane.id)
LEFT JOIN entry AS holder ON holder.key = wanted.key AND holder.kind = wanted.kind
LEFT JOIN body ON body.entry = holder.id;

-- name: last_id
-- The highest id ever given, which is also the number of entries ever written.
SELECT max(value, coalesce((SELECT max(id) FROM entry), 0)) FROM counter WHERE name = 'counted' AND kind = '';

-- name: holders
-- Who holds these keys.
SELECT entry.kind, entry.key, entry.id, entry.state, body.content
FROM json_each(:names) AS wanted
JOIN entry ON entry.key = wanted.value ->> 1 AND entry.kind = wanted.value ->> 0
JOIN body ON body.entry = entry.id;

-- name: holders_by_nature
-- Who has these names by nature, under a key of the shop's own.
SELECT entry.kind, entry.natural_key, entry.id, entry.state, body.content
FROM json_each(:names) AS wanted
JOIN entry ON entry.natural_key = wanted.value ->> 1 AND entry.kind = wanted.value ->> 0
JOIN body ON body.entry = entry.id;

-- name: former_holders
-- Who held these keys last, until it was rejected or discarded.
SELECT entry.kind, entry.released_key, max(entry.id)
FROM json_each(:names) AS wanted
JOIN entry ON entry.released_key = wanted.value ->> 1 AND entry.kind = wanted.value ->> 0
GROUP BY entry.kind, entry.released_key;

-- name: spent_keys
-- What was delivered under these keys and is purged.
SELECT spent_key.hash, spent_key.entry, spent_key.content
FROM json_each(:hashes) AS wanted JOIN spent_key ON spent_key.hash = wanted.value;

-- name: add_lanes
-- A lane begins with its first entry at its head.
INSERT INTO lane (id, key, head, due, rank) VALUES (?, ?, ?, ?, ?);

-- name: add_lane
-- A lane without entries, where there is none of this key.
INSERT INTO lane (key) VALUES (:key) ON CONFLICT (key) DO NOTHING;

-- name: add_entries
-- New entries, each under its lane.
INSERT INTO entry (id, lane, kind, state, key, natural_key, created, changed, due, lines, warnings, replaces)
VALUES (?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_bodies
-- The content, beside the entry.
INSERT INTO body (entry, content) VALUES (?, ?);

-- name: head_idle
-- Lanes with nothing to send and nothing held get a new entry as their head.
UPDATE lane SET head = new.value ->> 1, due = max(new.value ->> 2, lane.rest_until), rank = new.value ->> 3
FROM json_each(:heads) AS new
WHERE lane.id = new.value ->> 0;

-- name: fill_log
-- So many bytes that are taken back and leave nothing but a longer log.
INSERT INTO body (entry, content) VALUES (0, zeroblob(:size));

-- name: count_new
-- The entries that are not counted yet.
UPDATE counter SET value = value + uncounted.entries FROM uncounted
WHERE counter.name = 'waiting' AND counter.kind = uncounted.kind;

-- name: counted
-- They are counted now. The highest id that is there is no less than that; or nothing is there any more.
UPDATE counter SET value = max(value, coalesce((SELECT max(id) FROM entry), 0)) WHERE name = 'counted' AND kind = '';

-- name: pass
-- Which entries wait no more, from the first one on. Some of them at a time: what stood behind one that waited for long
-- may be many.
UPDATE counter SET value = coalesce(
    (
        SELECT id - 1 FROM entry
        WHERE id > counter.value AND id <= counter.value + :span AND state IN ('pending', 'sending')
        ORDER BY id LIMIT 1
    ),
    min(counter.value + :span, coalesce((SELECT max(id) FROM entry), counter.value))
)
WHERE name = 'passed' AND kind = '' AND (
    SELECT state NOT IN ('pending', 'sending') FROM entry WHERE id > counter.value ORDER BY id LIMIT 1
);

-- ---------------------------------------------------------------------------------------------------------- lanes

-- name: refresh_lanes
-- Puts lanes right after a move, by the rules of DESIGN 3 "Order": entries go oldest first; a creation on the second
-- road holds everything later of its contact; an update or type change there holds later ones of the two. Lanes that
-- were joined are one: the turn of all of them is kept by the one that they were joined to.
-- Materialized: otherwise each look-up is repeated wherever its column is named, a hundred times in all.
WITH touched AS (
    SELECT DISTINCT coalesce(lane.joined, lane.id) AS id
    FROM json_each(:lanes) AS wanted JOIN lane ON lane.id = wanted.value
),
members AS (
    SELECT id AS root, id AS lane FROM touched
    UNION ALL
    SELECT lane.joined, lane.id FROM touched JOIN lane ON lane.joined = touched.id
),
facts AS MATERIALIZED (
    SELECT
        members.root AS lane,
        min((
            SELECT min(id) FROM entry WHERE lane = members.lane AND kind = 'contact_create'
            AND away = 1
        )) AS creation,
        min((
            SELECT min(id) FROM entry WHERE lane = members.lane AND kind IN ('contact_update', 'contact_type')
            AND away = 1
        )) AS change,
        min((
            SELECT min(id) FROM entry WHERE lane = members.lane AND profile = 0 AND state IN ('pending', 'sending')
        )) AS next_other,
        min((
            SELECT min(id) FROM entry WHERE lane = members.lane AND profile = 1 AND state IN ('pending', 'sending')
        )) AS next_change
    FROM members GROUP BY members.root
),
free AS (
    SELECT
        lane, creation, change, next_other IS NOT NULL OR next_change IS NOT NULL AS waits,
        CASE WHEN creation IS NULL OR next_other < creation THEN next_other END AS next_other,
        CASE
            WHEN (creation IS NULL OR next_change < creation) AND (change IS NULL OR next_change < change)
            THEN next_change
        END AS next_change,
        CASE
            WHEN (creation IS NULL OR change < creation) AND (next_change IS NULL OR change < next_change) THEN change
        END AS confirms
    FROM facts
),
heads AS MATERIALIZED (
    SELECT
        lane, waits, confirms,
        CASE WHEN creation IS NOT NULL THEN 2 WHEN change IS NOT NULL THEN 1 ELSE 0 END AS hold,
        coalesce(min(next_other, next_change), next_other, next_change) AS head
    FROM free
)
UPDATE lane SET
    head = heads.head,
    hold = heads.hold,
    behind = heads.head IS NULL AND heads.waits,
    due = CASE
        WHEN heads.head IS NOT NULL
        THEN max(entry.due, CASE WHEN lane.rest_until > :far THEN 0 ELSE lane.rest_until END)
    END,
    rank = coalesce(entry.kind NOT IN ('redeem', 'voucher_redeem'), 1),
    moves = lane.moves + 1,
    rest_until = CASE WHEN lane.rest_until > :far THEN 0 ELSE lane.rest_until END,
    confirms = imported.id,
    confirm_due = imported.due
FROM heads
LEFT JOIN entry ON entry.id = heads.head
LEFT JOIN entry AS imported ON imported.id = heads.confirms AND imported.state = 'imported'
WHERE lane.id = heads.lane;

-- name: rest_lane
-- Nothing of the lane goes out before.
UPDATE lane SET rest_until = max(rest_until, :until)
WHERE id = (SELECT coalesce(joined, id) FROM lane WHERE id = :lane);

-- name: claim
-- The heads of the lanes that are due, in the order of their turn. Reads lanes, never the backlog.
SELECT
    entry.id, entry.kind, body.content, lane.id, lane.key, entry.created, entry.slots, entry.requests, entry.unknown,
    contact.id, NULL, coalesce((SELECT max(number) FROM attempt WHERE attempt.entry = entry.id), 0), NULL, entry.outage,
    entry.kind = 'contact_update' AND lane.hold > 0
FROM lane
JOIN entry ON entry.id = lane.head
JOIN body ON body.entry = entry.id
LEFT JOIN contact ON contact.address = lane.key
WHERE lane.head IS NOT NULL AND lane.rank = :rank AND lane.due BETWEEN :since AND :until
AND entry.state = 'pending'
ORDER BY lane.due, lane.id
LIMIT :limit;

-- name: next_due
-- When the next lane of this rank is due.
SELECT min(due) FROM lane WHERE head IS NOT NULL AND rank = :rank AND due > :now;

-- name: next_confirmation
-- When the next confirmation is due of those that are not due yet.
SELECT coalesce(min(other, change), other, change) FROM (
    SELECT
        (SELECT min(due) FROM entry WHERE state = 'imported' AND profile = 0 AND due > :now) AS other,
        (SELECT min(confirm_due) FROM lane WHERE confirms IS NOT NULL AND confirm_due > :now) AS change
) AS earliest;

-- name: due_since
-- Since when the longest waiting lane of this rank has been due.
SELECT min(due) FROM lane WHERE head IS NOT NULL AND rank = :rank;

-- name: lane_of_key
-- The lane of a contact, or the one that it became part of.
SELECT coalesce(joined, id) FROM lane WHERE key = :key;

-- name: lane_of_lane
-- The lane itself, or the one that it became part of.
SELECT coalesce(joined, id) FROM lane WHERE id = :lane;

-- name: sending_in_lane
-- Whether a request of the lane is under way. The plus keeps the planner on what is being sent, which is little; in the
-- lane may be much.
SELECT 1 FROM entry WHERE state = 'sending' AND +lane IN (
    SELECT :lane
    UNION ALL
    SELECT id FROM lane WHERE joined = :lane
) LIMIT 1;

-- name: is_forgotten
-- Whether the contact of the lane was forgotten; the lane may be purged by now.
SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM lane WHERE id = :lane AND key <> 'forgotten:' || id);

-- name: join_lane
-- The lane has its turn with the other one from now on. Its entries stay where they are, however many they are; what is
-- written to it later goes to the other one.
UPDATE lane SET
    joined = :target, head = NULL, due = NULL, hold = 0, behind = 0, follows = 0, confirms = NULL, confirm_due = NULL
WHERE id = :lane;

-- name: join_joined
-- What was joined to the one lane earlier is joined to the other one now: a lane is never more than one step away.
UPDATE lane SET joined = :target WHERE joined = :lane;

-- name: inherit_rest
-- The longer rest of two lanes holds for the one, the moves of both count, and what was to follow a head still is.
UPDATE lane SET
    rest_until = max(lane.rest_until, other.rest_until), moves = lane.moves + other.moves,
    follows = max(lane.follows, other.follows)
FROM lane AS other WHERE other.id = :lane AND lane.id = :target;

-- ---------------------------------------------------------------------------------------------------------- moving

-- name: mark_sending
-- Its request goes out now, if it is its turn: two lanes may have become one since it was claimed. Not where it has
-- moved since, even where it came back: its content, or what may have happened to it, may be another by now.
UPDATE entry SET state = 'sending', requests = requests + 1, changed = :now
FROM json_each(:going) AS going
WHERE entry.id = going.value ->> 0 AND entry.state = 'pending'
AND entry.id = (
    SELECT head FROM lane WHERE id = (SELECT coalesce(own.joined, own.id) FROM lane AS own WHERE own.id = entry.lane)
    AND id = coalesce(going.value ->> 1, id)
)
AND (
    going.value ->> 2 IS NULL
    OR coalesce((SELECT max(number) FROM attempt WHERE attempt.entry = entry.id), 0) = going.value ->> 2
)
RETURNING entry.id;

-- name: settle
-- Each entry moves if it still is where it was seen last, and has not been elsewhere since; says which moved.
UPDATE entry SET
    state = move.value ->> 2, due = move.value ->> 3, slots = move.value ->> 4, unknown = move.value ->> 5,
    reason = move.value ->> 6, outage = move.value ->> 7, changed = :now
FROM json_each(:moves) AS move
WHERE entry.id = move.value ->> 0 AND entry.state = move.value ->> 1
AND (
    move.value ->> 8 IS NULL
    OR coalesce((SELECT max(number) FROM attempt WHERE attempt.entry = entry.id), 0) = move.value ->> 8
)
RETURNING entry.id, entry.lane;

-- name: release_keys
-- A rejected or discarded entry holds no key.
UPDATE entry SET released_key = coalesce(key, released_key), key = NULL, natural_key = NULL
WHERE id IN (SELECT value FROM json_each(:ids));

-- name: record
-- One line in the record of each entry.
INSERT INTO attempt (entry, number, at, what, outcome, status, code, duration_ms, known)
SELECT
    line.value ->> 0,
    coalesce((SELECT max(number) FROM attempt WHERE entry = line.value ->> 0), 0) + 1,
    line.value ->> 1, line.value ->> 2, line.value ->> 3, line.value ->> 4, line.value ->> 5, line.value ->> 6,
    line.value ->> 7
FROM json_each(:lines) AS line;

-- name: take_over
-- What was being sent when its process died has an unknown outcome and used up a turn.
UPDATE entry SET state = 'pending', unknown = 1, slots = slots + 1, due = :now, changed = :now, reason = 'Interrupted'
WHERE state = 'sending'
RETURNING id, lane;

-- name: exhaust_lanes
-- The waiting entries of lanes go with their heads, some at a time.
WITH whole AS (
    SELECT DISTINCT coalesce(lane.joined, lane.id) AS id
    FROM json_each(:lanes) AS wanted JOIN lane ON lane.id = wanted.value
)
UPDATE entry SET state = 'exhausted', outage = 1, changed = :now, reason = 'BreakerOpen'
WHERE id IN (
    SELECT id FROM entry WHERE lane IN (
        SELECT id FROM whole
        UNION ALL
        SELECT lane.id FROM whole JOIN lane ON lane.joined = whole.id
    )
    AND state IN ('pending', 'sending') AND state = 'pending' LIMIT :limit
) AND state = 'pending'
RETURNING id, lane;

-- name: lanes_behind_files
-- Lanes in which everything that waits stands behind something on the second road, or was to follow its head there when
-- a process died, some of them.
SELECT id FROM lane WHERE (behind = 1 OR follows = 1) AND id > :after ORDER BY id LIMIT :limit;

-- name: follow_heads
-- The heads of these lanes were exhausted in an outage: the commit that says so also says that the rest is to follow.
UPDATE lane SET follows = 1 WHERE head IS NOT NULL AND id IN (
    SELECT coalesce(own.joined, own.id) FROM json_each(:lanes) AS wanted JOIN lane AS own ON own.id = wanted.value
);

-- name: followed
-- All that waited in these lanes has followed.
UPDATE lane SET follows = 0 WHERE follows = 1 AND +id IN (
    SELECT coalesce(own.joined, own.id) FROM json_each(:lanes) AS wanted JOIN lane AS own ON own.id = wanted.value
);

-- name: follow_no_longer
-- The outage is over: what has not followed yet stays.
UPDATE lane SET follows = 0 WHERE follows = 1;

-- name: bring_back
-- Exhausted entries of an outage get a fresh schedule, oldest first, some at a time.
UPDATE entry SET state = 'pending', slots = 0, due = :now, changed = :now, outage = 0
WHERE id IN (
    SELECT id FROM entry INDEXED BY entry_outage WHERE state = 'exhausted' AND outage = 1 ORDER BY id LIMIT :limit
)
AND state = 'exhausted'
RETURNING id, lane;

-- name: cancel
-- A waiting entry is dropped.
UPDATE entry SET state = 'discarded', reason = :reason, outage = 0, changed = :now
WHERE id = :id AND state = 'pending'
RETURNING id, lane;

-- ---------------------------------------------------------------------------------------------------------- purging

-- name: purgeable
-- Finished entries of one span of ids that are old enough, and whether the span is older than that at all.
SELECT id FROM entry
WHERE id > :after AND id <= :until AND state IN ('delivered', 'discarded') AND changed < :before AND created < :before;

-- name: to_purge
-- Those that still are finished and old enough. A change stays for as long as an older one of its contact could be sent
-- or replayed: it says what must not be overwritten.
SELECT id, kind, state, key, natural_key, created FROM entry
WHERE id IN (SELECT value FROM json_each(:ids)) AND state IN ('delivered', 'discarded') AND changed < :before
AND NOT (kind IN ('contact_create', 'contact_update', 'contact_type') AND EXISTS (
    SELECT 1 FROM (
        SELECT coalesce(joined, id) AS id FROM lane WHERE lane.id = entry.lane
        UNION ALL
        SELECT id FROM lane AS part WHERE part.joined = (SELECT coalesce(joined, id) FROM lane WHERE lane.id = entry.lane)
    ) AS mine
    WHERE EXISTS (
        SELECT 1 FROM entry AS older WHERE older.lane = mine.id
        AND older.state = 'rejected' AND older.id < entry.id AND older.profile = 1
    ) OR EXISTS (
        SELECT 1 FROM entry AS older WHERE older.lane = mine.id
        AND older.away = 1 AND older.kind IN ('contact_update', 'contact_type') AND older.id < entry.id
    ) OR EXISTS (
        SELECT 1 FROM entry AS older WHERE older.lane = mine.id
        AND older.state IN ('pending', 'sending') AND older.profile = 1 AND older.id < entry.id
    )
));

-- name: spend_keys
-- The hashes that a delivered entry leaves behind.
INSERT INTO spent_key (hash, content, entry, created)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:keys) WHERE true
ON CONFLICT (hash) DO UPDATE SET content = excluded.content, entry = excluded.entry, created = excluded.created;

-- name: purge_files
-- Some of the files that have no way to go and no entry any more. The newest stays, so that no id is given twice; that
-- of names is seen to elsewhere (`file_number`).
DELETE FROM file WHERE id IN (
    SELECT id FROM file
    WHERE state IN ('imported', 'withdrawn', 'lost') AND id < (SELECT max(id) FROM file)
    AND max(created, coalesce(uploaded, 0), coalesce(seen, 0), coalesce(imported, 0)) < :before
    AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.file = file.id)
    ORDER BY id LIMIT :limit
)
RETURNING id;

-- name: purge_entries
-- They go.
DELETE FROM entry WHERE id IN (SELECT value FROM json_each(:ids));

-- name: purge_bodies
-- With their content.
DELETE FROM body WHERE entry IN (SELECT value FROM json_each(:ids));

-- name: purge_former_bodies
-- And what it was before.
DELETE FROM former_body WHERE entry IN (SELECT value FROM json_each(:ids));

-- name: purge_attempts
-- And their record.
DELETE FROM attempt WHERE entry IN (SELECT value FROM json_each(:ids));

-- name: count_purged
-- The books are written in the same transaction.
UPDATE counter SET value = value + :count WHERE name = 'purged';

-- name: purge_keys
-- Some of the keys of one span that are old enough.
DELETE FROM spent_key WHERE hash IN (
    SELECT hash FROM spent_key WHERE hash >= :since AND hash < :until AND created < :before LIMIT :limit
)
RETURNING hash;

-- name: lanes_in_use
-- The lanes of the entries of one span of ids, whatever became of them.
SELECT DISTINCT lane FROM entry WHERE id > :after AND id <= :until;

-- name: idle_lanes
-- Lanes in which nothing waits, is away or rests, some of them, each with those that were joined to it.
SELECT id, (SELECT json_group_array(member.id) FROM lane AS member WHERE member.joined = lane.id)
FROM lane WHERE id > :after AND joined IS NULL AND head IS NULL AND hold = 0 AND rest_until < :now
ORDER BY id LIMIT :limit;

-- name: purge_lanes
-- Of these lanes without an entry, those go that still are idle, got none since, and of whose contact no address is
-- known; with all that were joined to them, so that none is ever joined to one that is gone. Where one that is not among
-- these was joined since, it has entries, and all stay. An edit can have brought one a rejected entry. The newest lane stays: no id is used twice.
WITH gone AS MATERIALIZED (
    SELECT lane.id FROM json_each(:lanes) AS wanted JOIN lane ON lane.id = wanted.value
    WHERE lane.joined IS NULL AND lane.head IS NULL AND lane.hold = 0
    AND lane.id <> (SELECT coalesce(joined, id) FROM lane ORDER BY id DESC LIMIT 1)
    AND lane.id NOT IN (
        SELECT coalesce(own.joined, own.id) FROM entry JOIN lane AS own ON own.id = entry.lane WHERE entry.id > :seen
    )
    AND NOT EXISTS (
        SELECT 1 FROM entry WHERE entry.lane = lane.id AND entry.settled = 1
    )
    AND NOT EXISTS (SELECT 1 FROM contact WHERE contact.address = lane.key)
    AND NOT EXISTS (
        SELECT 1 FROM lane AS member WHERE member.joined = lane.id
        AND (
            member.id NOT IN (SELECT value FROM json_each(:lanes))
            OR EXISTS (SELECT 1 FROM contact WHERE contact.address = member.key)
        )
    )
)
DELETE FROM lane WHERE id IN (
    SELECT id FROM gone
    UNION ALL
    SELECT lane.id FROM gone JOIN lane ON lane.joined = gone.id
)
RETURNING id;

-- name: count_lane_purges
-- Who asked about a contact without a lane is told of a lane that came and went meanwhile.
INSERT INTO meta (name, value) VALUES ('lane_purges', '1')
ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT);

-- ------------------------------------------------------------------------------------------------------- second road

-- name: exhausted_lines
-- How many lines of files wait, and since when the oldest does. Reads the index alone, never the entries.
SELECT coalesce(sum(lines), 0), min(changed) FROM entry WHERE state = 'exhausted';

-- name: exhausted_before
-- What is exhausted, newest first, some at a time, and whether it may be on its way into a file: an update or type
-- change may not while an older one of its contact still waits for the API.
SELECT entry.id, entry.profile = 0 OR NOT EXISTS (
    SELECT 1 FROM entry AS older
    WHERE older.lane IN (SELECT lane.id UNION ALL SELECT id FROM lane AS member WHERE member.joined = lane.id)
    AND older.profile = 1 AND older.id < entry.id
    AND older.state IN ('pending', 'sending')
)
FROM entry
JOIN lane AS own ON own.id = entry.lane
JOIN lane ON lane.id = coalesce(own.joined, own.id)
WHERE entry.state = 'exhausted' AND entry.id < :before
ORDER BY entry.id DESC
LIMIT :limit;

-- name: exhausted
-- Of these, what may go into a file, oldest first. A creation on the second road holds everything later of its contact
-- until it is imported (DESIGN 3, "Order across files"). An update or type change waits for an older one that goes by
-- the API, and every contact write for a newer one that stands in a file which is still here: the older one would get the
-- later name. When that has left, what it has set is left out.
SELECT
    entry.id, entry.kind, body.content, lane.id, lane.key, entry.created, entry.slots, entry.requests, entry.unknown,
    contact.id, (
        SELECT json_group_array(at) FROM attempt
        WHERE attempt.entry = entry.id AND what = 'file' AND outcome = 'spooled'
    ), coalesce((SELECT max(number) FROM attempt WHERE attempt.entry = entry.id), 0), typed.type
FROM entry
JOIN body ON body.entry = entry.id
JOIN lane AS own ON own.id = entry.lane
JOIN lane ON lane.id = coalesce(own.joined, own.id)
LEFT JOIN contact ON contact.address = lane.key
LEFT JOIN contact AS typed ON typed.address = 'contact:' || lower(contact.id)
WHERE entry.id IN (SELECT value FROM json_each(:ids)) AND entry.state = 'exhausted' AND NOT EXISTS (
    SELECT 1 FROM entry AS creation
    WHERE creation.lane IN (SELECT lane.id UNION ALL SELECT id FROM lane AS member WHERE member.joined = lane.id)
    AND creation.kind = 'contact_create'
    AND creation.away = 1
    AND creation.state <> 'imported' AND creation.id < entry.id
)
AND (entry.profile = 0 OR NOT EXISTS (
    SELECT 1 FROM entry AS older
    WHERE older.lane IN (SELECT lane.id UNION ALL SELECT id FROM lane AS member WHERE member.joined = lane.id)
    AND older.profile = 1 AND older.id < entry.id
    AND older.state IN ('pending', 'sending')
))
AND (entry.kind NOT IN ('contact_create', 'contact_update', 'contact_type') OR NOT EXISTS (
    SELECT 1 FROM entry AS newer
    WHERE newer.lane IN (SELECT lane.id UNION ALL SELECT id FROM lane AS member WHERE member.joined = lane.id)
    AND newer.state = 'spooled' AND newer.kind IN ('contact_create', 'contact_update', 'contact_type')
    AND newer.id > entry.id
))
ORDER BY entry.id;

-- name: lanes_on_the_road
-- Where a contact write that left is not settled yet. From lane to lane: of a thousand writes of one, one is read.
WITH RECURSIVE place (lane) AS (
    SELECT min(lane) FROM entry
    WHERE away = 1 AND state <> 'exhausted' AND (profile = 1 OR kind = 'contact_create')
    UNION ALL
    SELECT (
        SELECT min(lane) FROM entry
        WHERE away = 1 AND state <> 'exhausted' AND (profile = 1 OR kind = 'contact_create') AND lane > place.lane
    )
    FROM place WHERE place.lane IS NOT NULL
)
SELECT DISTINCT coalesce(lane.joined, lane.id) FROM place JOIN lane ON lane.id = place.lane;

-- name: as_they_were
-- Of what was read for a file or a bulk request, what is exhausted still and has not moved since, not even to where it
-- was: its content, its lane, or what is newer in that, may be another by now. Asked in the transaction that moves it.
SELECT entry.id FROM json_each(:entries) AS written JOIN entry ON entry.id = written.value ->> 0
WHERE entry.state = 'exhausted'
AND (written.value ->> 1 IS NULL OR (
    (SELECT coalesce(own.joined, own.id) FROM lane AS own WHERE own.id = entry.lane) = written.value ->> 1
    AND coalesce((SELECT max(number) FROM attempt WHERE attempt.entry = entry.id), 0) = written.value ->> 2
    AND (written.value ->> 3 IS NULL OR coalesce((
        SELECT max(newer.id) FROM entry AS newer INDEXED BY entry_in_force
        WHERE newer.lane IN (
            SELECT written.value ->> 1 UNION ALL SELECT id FROM lane AS member WHERE member.joined = written.value ->> 1
        )
        AND newer.id > entry.id AND newer.in_force = 1
    ), 0) = written.value ->> 3)
));

-- name: begin_bulk
-- The entries that go in a bulk request from now on.
UPDATE entry SET
    state = 'uploaded', due = :now, slots = 0, requests = requests + 1, unknown = 1, reason = NULL, outage = 0,
    changed = :now
WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'exhausted'
RETURNING id, lane;

-- name: left_in_bulk
-- What was in a bulk request when its process died stands in no file.
SELECT id FROM entry
WHERE away = 1 AND state = 'uploaded' AND file IS NULL
ORDER BY id;

-- name: file_number
-- Numbers of files only grow.
INSERT INTO meta (name, value) VALUES ('file_number', '1')
ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)
RETURNING CAST(value AS INTEGER);

-- name: file_stamp
-- The time in a file's name never goes back, whatever the clock does.
INSERT INTO meta (name, value) VALUES ('file_stamp', CAST(:now AS TEXT))
ON CONFLICT (name) DO UPDATE SET value = CAST(max(CAST(value AS INTEGER), :now) AS TEXT)
RETURNING CAST(value AS INTEGER);

-- name: add_file
-- A file that is complete on disk, while its entries are not all marked as standing in it.
INSERT INTO file (name, family, contact_type, match_key_type, state, entries, lines, size, created, problem)
VALUES (:name, :family, :contact_type, :match_key_type, 'spooled', :entries, :lines, :size, :created, 'incomplete')
RETURNING id;

-- name: spool_entries
-- The entries that stand in it, unless it was withdrawn meanwhile.
UPDATE entry SET state = 'spooled', file = :file, changed = :now
WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'exhausted'
AND EXISTS (SELECT 1 FROM file WHERE id = :file AND state = 'spooled')
RETURNING id, lane;

-- name: withhold
-- Why these stand in no file; they stay as they are.
UPDATE entry SET reason = :reason
WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'exhausted'
RETURNING id;

-- name: mark_formless
-- What stands in no file and does not go back to the API by itself; said once.
UPDATE entry SET reason = :reason
WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'exhausted' AND outage = 0 AND reason IS NOT :reason
RETURNING id;

-- name: files
-- Every file, oldest first.
SELECT
    id, name, family, contact_type, match_key_type, state, entries, lines, size, created, uploaded, seen, imported,
    carried, problem
FROM file ORDER BY id;

-- name: waiting_in_files
-- In which file each of so many entries waits that are spooled, with Engage, or not confirmed yet.
SELECT file, count(*) FROM (
    SELECT file FROM entry INDEXED BY entry_left
    WHERE state = 'spooled' OR state = 'uploaded' OR state = 'imported' LIMIT :limit
) GROUP BY file;

-- name: open_files
-- The files that still have a way to go, oldest first.
SELECT
    id, name, family, contact_type, match_key_type, state, entries, lines, size, created, uploaded, seen, imported,
    carried, problem
FROM file WHERE state IN ('spooled', 'uploading', 'uploaded') ORDER BY id;

-- name: file_state
-- Where a file is.
SELECT state, name, problem FROM file WHERE id = :id;

-- name: update_file
-- What became of a file. First times stay, and so does the mark of an interrupted step while it is in the spool.
UPDATE file SET
    state = :state, problem = CASE WHEN :state = 'spooled' AND problem = 'incomplete' THEN problem ELSE :problem END,
    carried = max(carried, :carried),
    uploaded = CASE WHEN :state IN ('uploading', 'uploaded') THEN coalesce(uploaded, :now) ELSE uploaded END,
    seen = CASE WHEN :seen THEN :now ELSE seen END,
    imported = CASE WHEN :state = 'imported' THEN coalesce(imported, :now) ELSE imported END
WHERE id = :id;

-- name: mark_incomplete
-- Nobody uploads a file that is marked so.
UPDATE file SET problem = 'incomplete' WHERE id = :id;

-- name: mark_complete
-- Every entry of the file is where it belongs.
UPDATE file SET problem = NULL WHERE id = :id AND problem = 'incomplete';

-- name: file_of_outage
-- Whether an entry of the file was exhausted while the breaker was open.
SELECT 1 FROM entry WHERE file = :file AND outage = 1 LIMIT 1;

-- name: files_of_outage
-- The files in the spool that go back to the API when it is back.
SELECT id FROM file
WHERE state IN ('spooled', 'uploading', 'uploaded') AND state = 'spooled'
AND EXISTS (SELECT 1 FROM entry WHERE entry.file = file.id AND entry.outage = 1);

-- name: move_file_entries
-- Entries of a file go on together, those that stand where it stood, some at a time.
UPDATE entry SET
    state = CASE WHEN :target = 'pending' AND outage = 0 AND :outage_only THEN 'exhausted' ELSE :target END,
    changed = :now, due = :now,
    slots = CASE
        WHEN :target = 'imported' OR :target = 'pending' AND (outage = 1 OR NOT :outage_only) THEN 0 ELSE slots
    END,
    outage = CASE WHEN :target = 'pending' THEN 0 ELSE outage END,
    reason = CASE WHEN :target = 'delivered' THEN NULL ELSE reason END,
    file = CASE WHEN :target IN ('exhausted', 'pending') THEN NULL ELSE file END
WHERE id IN (SELECT id FROM entry WHERE file = :file AND state = :source LIMIT :limit) AND state = :source
RETURNING id, lane, state;

-- name: to_confirm
-- Imported entries whose confirmation is due, oldest first. An update or type change waits for the older ones of its
-- contact, on whichever road they are: confirmed last, the newest has the last word. Its lane says which is next, so
-- that a thousand that wait for it are not read. Everything waits for a creation.
SELECT
    entry.id, entry.kind, body.content, lane.id, lane.key, entry.created, entry.slots, entry.requests, entry.unknown,
    contact.id, (
        SELECT json_group_array(at) FROM attempt
        WHERE attempt.entry = entry.id AND what = 'file' AND outcome = 'spooled'
    ), coalesce((SELECT max(number) FROM attempt WHERE attempt.entry = entry.id), 0)
FROM (
    SELECT id FROM (
        SELECT entry.id FROM entry
        JOIN lane AS own ON own.id = entry.lane
        JOIN lane ON lane.id = coalesce(own.joined, own.id)
        WHERE entry.state = 'imported' AND entry.profile = 0 AND entry.due BETWEEN :since AND :until
        AND (lane.hold < 2 OR NOT EXISTS (
            SELECT 1 FROM entry AS older
            WHERE older.lane IN (SELECT lane.id UNION ALL SELECT id FROM lane AS member WHERE member.joined = lane.id)
            AND older.kind = 'contact_create' AND older.id < entry.id
            AND older.away = 1
        ))
        ORDER BY entry.due, entry.id
        LIMIT :limit
    ) AS others
    UNION ALL
    SELECT id FROM (
        SELECT confirms AS id FROM lane
        WHERE confirms IS NOT NULL AND confirm_due BETWEEN :since AND :until
        ORDER BY confirm_due, lane.id
        LIMIT :limit
    ) AS changes
) AS ready
JOIN entry ON entry.id = ready.id
JOIN body ON body.entry = entry.id
JOIN lane AS own ON own.id = entry.lane
JOIN lane ON lane.id = coalesce(own.joined, own.id)
LEFT JOIN contact ON contact.address = lane.key
WHERE entry.state = 'imported'
ORDER BY entry.due, entry.id
LIMIT :limit;

-- name: newer_in_force
-- The contact writes of an entry's lane that are newer and whose values Engage has or may have.
WITH whole AS (
    SELECT coalesce(lane.joined, lane.id) AS id FROM entry JOIN lane ON lane.id = entry.lane WHERE entry.id = :id
),
members AS (SELECT id FROM whole UNION ALL SELECT lane.id FROM whole JOIN lane ON lane.joined = whole.id)
SELECT entry.id, entry.kind, body.content FROM entry JOIN body ON body.entry = entry.id
WHERE entry.lane IN (SELECT id FROM members)
AND entry.id > :id AND entry.in_force = 1;

-- name: in_force_after
-- The same for many lanes at once: what is newer in each of them than an entry.
SELECT wanted.value ->> 0, entry.id, entry.kind, body.content
FROM json_each(:lanes) AS wanted
CROSS JOIN entry INDEXED BY entry_in_force ON entry.lane IN (
    SELECT wanted.value ->> 0 UNION ALL SELECT id FROM lane AS member WHERE member.joined = wanted.value ->> 0
)
AND entry.id > wanted.value ->> 1
JOIN body ON body.entry = entry.id
WHERE entry.in_force = 1;

-- name: newer_changes
-- Some of the contact writes of one lane that are newer than an entry and have set their values, or may have: the next
-- ones that are being sent, and that are in force, each in its order. Not what waits, for the API or for a file: it goes
-- after that entry, and may never go. One can be told twice.
SELECT 0 AS road, id, kind, content, settled FROM (
    SELECT id, kind, settled FROM entry INDEXED BY entry_sending
    WHERE state = 'sending' AND lane = :lane AND profile = 1 AND id > :after
    ORDER BY id LIMIT :limit
) AS going JOIN body ON body.entry = going.id
UNION ALL
SELECT 1, id, kind, content, settled FROM (
    SELECT id, kind, settled FROM entry
    WHERE lane = :lane AND id > :after AND in_force = 1
    ORDER BY id LIMIT :limit
) AS force JOIN body ON body.entry = force.id;

-- name: whole_lane
-- The lane in which an entry is now, with those that became part of it. Since it was read it may have been joined.
WITH whole AS (
    SELECT coalesce(lane.joined, lane.id) AS id FROM entry JOIN lane ON lane.id = entry.lane WHERE entry.id = :id
)
SELECT id FROM whole UNION ALL SELECT lane.id FROM whole JOIN lane ON lane.joined = whole.id;

-- --------------------------------------------------------------------------------------------------------- operating

-- name: selected
-- The entries of one span of ids that fit every part of the filter, newest first.
SELECT id FROM entry
WHERE id > :after AND id <= :upto
AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)))
AND (
    :error IS NULL OR reason IN (:error, :error || ' (may have happened)')
    -- behind a colon stand the contacts among which Engage cannot choose
    OR substr(reason, 1, instr(reason, ': ') - 1) IN (:error, :error || ' (may have happened)')
)
AND (:since IS NULL OR created >= :since)
AND (:until IS NULL OR created < :until)
ORDER BY id DESC;

-- name: fitting
-- Those of these entries that fit every part of the filter. Reads nothing else.
SELECT entry.id FROM json_each(:ids) AS wanted JOIN entry ON entry.id = wanted.value
WHERE (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)))
AND (:lanes IS NULL OR lane IN (SELECT value FROM json_each(:lanes)))
AND (
    :error IS NULL OR reason IN (:error, :error || ' (may have happened)')
    OR substr(reason, 1, instr(reason, ': ') - 1) IN (:error, :error || ' (may have happened)')
)
AND (:since IS NULL OR created >= :since)
AND (:until IS NULL OR created < :until)
AND (:file IS NULL OR file = (SELECT id FROM file WHERE name = :file));

-- name: ids_rejected
-- The newest of the rejected ones before an id.
SELECT id FROM entry INDEXED BY entry_refused WHERE state = 'rejected' AND id < :before ORDER BY id DESC LIMIT :limit;

-- name: ids_discarded
-- The newest of the discarded ones before an id.
SELECT id FROM entry INDEXED BY entry_dropped WHERE state = 'discarded' AND id < :before ORDER BY id DESC LIMIT :limit;

-- name: ids_exhausted
-- The newest of the exhausted ones before an id.
SELECT id FROM entry INDEXED BY entry_exhausted WHERE state = 'exhausted' AND id < :before ORDER BY id DESC LIMIT :limit;

-- name: ids_waiting
-- The newest of those that wait for the API before an id.
SELECT id FROM entry NOT INDEXED
WHERE id > (SELECT value FROM counter WHERE name = 'passed' AND kind = '') AND state IN ('pending', 'sending')
AND id < :before ORDER BY id DESC LIMIT :limit;

-- name: ids_sending
-- The newest of what is under way before an id.
SELECT id FROM entry INDEXED BY entry_sending WHERE state = 'sending' AND id < :before ORDER BY id DESC LIMIT :limit;

-- name: ids_left
-- The newest of those in files or bulk requests, or taken by Engage, before an id.
SELECT id FROM entry INDEXED BY entry_left
WHERE (state = 'spooled' OR state = 'uploaded' OR state = 'imported') AND id < :before ORDER BY id DESC LIMIT :limit;

-- name: ids_of_lanes
-- The newest of some lanes before an id. Reads these lanes, in indexes alone.
SELECT id FROM entry
WHERE lane IN (SELECT value FROM json_each(:lanes)) AND state IN ('pending', 'sending') AND id < :before
UNION ALL
SELECT id FROM entry WHERE lane IN (SELECT value FROM json_each(:lanes)) AND away = 1 AND id < :before
UNION ALL
SELECT id FROM entry WHERE lane IN (SELECT value FROM json_each(:lanes)) AND settled = 1 AND id < :before
ORDER BY id DESC LIMIT :limit;

-- name: ids_of_file
-- The newest in one fallback file before an id.
SELECT id FROM entry INDEXED BY entry_file
WHERE file = (SELECT id FROM file WHERE name = :file) AND id < :before ORDER BY id DESC LIMIT :limit;

-- name: ids_of_reason
-- The newest with exactly this reason before an id.
SELECT id FROM entry WHERE reason = :error AND id < :before ORDER BY id DESC LIMIT :limit;

-- name: ids_of_longer_reason
-- The newest before an id whose reason goes on after the code: that it may have happened, or which contacts match.
SELECT id FROM entry
WHERE reason > :error AND reason < :error || ':!' AND id < :before ORDER BY id DESC LIMIT :limit;

-- name: standings
-- Where entries stand for whoever wants to move them: what a move is decided by.
SELECT
    entry.id, entry.kind, entry.state, lane.id, lane.key, entry.created, entry.key,
    entry.released_key, entry.unknown, entry.outage, file.name, file.state, contact.id,
    coalesce((SELECT max(number) FROM attempt WHERE attempt.entry = entry.id), 0),
    EXISTS (
        SELECT 1 FROM attempt
        WHERE attempt.entry = entry.id AND what IN ('file', 'bulk') AND outcome IN ('uploaded', 'imported')
    )
FROM json_each(:ids) AS wanted
JOIN entry ON entry.id = wanted.value
JOIN lane AS own ON own.id = entry.lane
JOIN lane ON lane.id = coalesce(own.joined, own.id)
LEFT JOIN file ON file.id = entry.file
LEFT JOIN contact ON contact.address = lane.key;

-- name: bodies
-- The contents of entries.
SELECT body.entry, body.content FROM json_each(:ids) AS wanted JOIN body ON body.entry = wanted.value;

-- name: changes_after
-- Every later entry that sets fields of the lane's contact, in whichever of the lanes that are one. A creation has
-- set something only where it made the contact.
SELECT entry.id, entry.kind, entry.state
FROM (SELECT :lane AS id UNION ALL SELECT id FROM lane WHERE joined = :lane) AS mine
JOIN entry INDEXED BY entry_settled ON entry.lane = mine.id
WHERE entry.kind IN ('contact_update', 'contact_type') AND entry.id > :after
AND entry.settled = 1
UNION ALL
SELECT entry.id, entry.kind, entry.state
FROM (SELECT :lane AS id UNION ALL SELECT id FROM lane WHERE joined = :lane) AS mine
JOIN entry INDEXED BY entry_settled ON entry.lane = mine.id
WHERE entry.kind = 'contact_create' AND entry.id > :after
AND entry.settled = 1 AND EXISTS (
    SELECT 1 FROM attempt
    WHERE attempt.entry = entry.id AND attempt.outcome = 'delivered' AND attempt.code = 'accepted'
)
UNION ALL
SELECT entry.id, entry.kind, entry.state
FROM (SELECT :lane AS id UNION ALL SELECT id FROM lane WHERE joined = :lane) AS mine
JOIN entry INDEXED BY entry_waiting ON entry.lane = mine.id
WHERE entry.profile = 1 AND entry.id > :after AND entry.state IN ('pending', 'sending')
UNION ALL
SELECT entry.id, entry.kind, entry.state
FROM (SELECT :lane AS id UNION ALL SELECT id FROM lane WHERE joined = :lane) AS mine
JOIN entry INDEXED BY entry_away ON entry.lane = mine.id
WHERE entry.kind IN ('contact_update', 'contact_type') AND entry.id > :after AND entry.away = 1;

-- name: rivals
-- Who has a key that another entry had to give up: a live entry, one that is purged, or a later one that gave it up too
-- and can be replayed itself.
SELECT wanted.value ->> 2, entry.id FROM json_each(:names) AS wanted
JOIN entry ON entry.key = wanted.value ->> 1 AND entry.kind = wanted.value ->> 0
UNION ALL
SELECT wanted.value ->> 2, entry.id FROM json_each(:names) AS wanted
JOIN entry ON entry.natural_key = wanted.value ->> 1 AND entry.kind = wanted.value ->> 0
UNION ALL
SELECT wanted.value ->> 2, entry.id FROM json_each(:names) AS wanted
JOIN entry ON entry.released_key = wanted.value ->> 1 AND entry.kind = wanted.value ->> 0
WHERE entry.state = 'rejected' AND entry.id > wanted.value ->> 2
UNION ALL
SELECT wanted.value ->> 2, spent_key.entry FROM json_each(:names) AS wanted
JOIN spent_key ON spent_key.hash = wanted.value ->> 3;

-- name: replay
-- Each entry begins anew, if it still is where it was seen last. What may have happened stays so. A key that it had to
-- give up is its own again.
UPDATE entry SET
    state = move.value ->> 2, unknown = max(unknown, move.value ->> 3),
    natural_key = coalesce(natural_key, move.value ->> 4), key = coalesce(entry.key, released_key), released_key = NULL,
    slots = 0, outage = 0, reason = NULL, file = NULL, due = :now, changed = :now
FROM json_each(:moves) AS move
WHERE entry.id = move.value ->> 0 AND entry.state = move.value ->> 1
RETURNING entry.id, entry.lane;

-- name: count_replay
-- Whoever works out what newer entries have set can see that some of them came back meanwhile.
INSERT INTO meta (name, value) VALUES ('replays', '1')
ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT);

-- name: discard
-- Each entry is dropped, if it still is where it was seen last.
UPDATE entry SET state = 'discarded', reason = :reason, file = NULL, outage = 0, changed = :now
FROM json_each(:moves) AS move
WHERE entry.id = move.value ->> 0 AND entry.state = move.value ->> 1
RETURNING entry.id, entry.lane;

-- name: keep_former_body
-- What the content was before it changes, under the line of the record that tells of the change.
INSERT INTO former_body (entry, number, content)
SELECT entry, (SELECT max(number) FROM attempt WHERE attempt.entry = body.entry), content FROM body WHERE entry = :id;

-- name: replace_body
-- The content as it is now.
UPDATE body SET content = :content WHERE entry = :id;

-- name: first_body
-- The content as it was written, where it was changed since.
SELECT content FROM former_body WHERE entry = :id ORDER BY number LIMIT 1;

-- name: rewrite
-- The corrected entry, in the lane of the contact that it names now. It is rejected still.
UPDATE entry SET
    lane = (SELECT coalesce(joined, id) FROM lane WHERE key = :lane), released_key = :key, warnings = :warnings,
    lines = :lines,
    changed = :now
WHERE id = :id AND state = 'rejected'
RETURNING id;

-- name: ask_for_files
-- Whoever drains writes files of what is exhausted as soon as it looks.
INSERT INTO meta (name, value) VALUES ('files_wanted', CAST(:now AS TEXT))
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: files_written
-- They are written, unless more was asked for meanwhile.
DELETE FROM meta WHERE name = 'files_wanted' AND value = :asked;

-- name: add_action
-- What an operator does is written down before it is done.
INSERT INTO action (at, who, what, chosen, reason) VALUES (:at, :who, :what, :chosen, :reason) RETURNING id;

-- name: count_action
-- How far it came, in the transaction that changes the entries.
UPDATE action SET entries = entries + :count WHERE id = :id;

-- name: end_action
-- It came to its end.
UPDATE action SET ended = :now, entries = entries + :count WHERE id = :id;

-- name: actions
-- What operators did, newest first.
SELECT id, at, who, what, chosen, reason, entries, ended FROM action ORDER BY id DESC LIMIT :limit;

-- -------------------------------------------------------------------------------------------------------- forgetting

-- name: lanes_of
-- Every lane of a contact: by its id, by the addresses that stand for it, and those that became part of these.
WITH named AS (
    SELECT coalesce(joined, id) AS id FROM lane WHERE key = :lane
    UNION
    SELECT coalesce(lane.joined, lane.id) FROM contact JOIN lane ON lane.key = contact.address
    WHERE contact.id IN (
        :contact, lower(:contact), upper(:contact), (SELECT known.id FROM contact AS known WHERE known.address = :lane)
    )
)
SELECT id FROM named UNION SELECT lane.id FROM named JOIN lane ON lane.joined = named.id;

-- name: states_in_lane
-- How much of a lane is where.
SELECT state, count(*) FROM entry WHERE lane = :lane AND state IN ('pending', 'sending') GROUP BY state
UNION ALL
SELECT state, count(*) FROM entry
WHERE lane = :lane AND away = 1 GROUP BY state
UNION ALL
SELECT state, count(*) FROM entry WHERE lane = :lane AND settled = 1 GROUP BY state;

-- name: files_of_lane
-- The files in which its entries stand, or stood.
SELECT DISTINCT file.id, file.name, file.state FROM entry JOIN file ON file.id = entry.file
WHERE entry.lane = :lane AND entry.away = 1
UNION
SELECT DISTINCT file.id, file.name, file.state
FROM entry JOIN attempt ON attempt.entry = entry.id AND attempt.what = 'file' JOIN file ON file.name = attempt.code
WHERE entry.lane = :lane AND entry.settled = 1
UNION
SELECT DISTINCT file.id, file.name, file.state
FROM entry JOIN attempt ON attempt.entry = entry.id AND attempt.what = 'file' JOIN file ON file.name = attempt.code
WHERE entry.lane = :lane AND entry.state IN ('pending', 'sending')
UNION
SELECT DISTINCT file.id, file.name, file.state
FROM entry JOIN attempt ON attempt.entry = entry.id AND attempt.what = 'file' JOIN file ON file.name = attempt.code
WHERE entry.lane = :lane AND entry.away = 1;

-- name: forgettable_settled
-- Some of what is settled in a lane.
SELECT id FROM entry WHERE lane = :lane AND settled = 1 LIMIT :limit;

-- name: forgettable_waiting
-- Some of what waits in a lane; never what is being sent, and never what stands in a file that is still here.
SELECT id FROM entry WHERE lane = :lane AND state IN ('pending', 'sending') AND state = 'pending' LIMIT :limit;

-- name: forgettable_away
-- Some of what is on the second road; never what stands in a file that can still be withdrawn.
SELECT id FROM entry WHERE lane = :lane AND away = 1
AND state <> 'spooled' LIMIT :limit;

-- name: count_forgotten
-- The books are written in the same transaction.
UPDATE counter SET value = value + :count WHERE name = 'forgotten';

-- name: addresses_of
-- The addresses that stand for a contact.
SELECT address, id FROM contact WHERE address = :lane OR id IN (
    :contact, lower(:contact), upper(:contact), (SELECT known.id FROM contact AS known WHERE known.address = :lane)
);

-- name: forget_addresses
-- They are not known any more.
DELETE FROM contact WHERE address IN (SELECT value FROM json_each(:addresses));

-- name: reasons_that_name
-- The rejected entries whose reason names this contact among others that have the same attribute.
SELECT id, reason FROM entry WHERE state = 'rejected' AND instr(lower(reason), lower(:contact)) > 0;

-- name: forget_in_reasons
-- What else was said stays.
UPDATE entry SET reason = said.value ->> 2 FROM json_each(:reasons) AS said
WHERE entry.id = said.value ->> 0 AND entry.state = 'rejected' AND entry.reason = said.value ->> 1;

-- name: forget_lanes
-- Lanes that are empty lose their name; the lane itself goes with the next purge, so that no id is used twice.
UPDATE lane SET key = 'forgotten:' || id WHERE id IN (SELECT value FROM json_each(:lanes))
AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.lane = lane.id AND state IN ('pending', 'sending'))
AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.lane = lane.id AND away = 1)
AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.lane = lane.id AND settled = 1);

-- ---------------------------------------------------------------------------------------------------------- looking

-- name: records
-- These entries.
SELECT
    entry.id, entry.kind, entry.state, coalesce(entry.key, entry.released_key), lane.key, entry.created, entry.changed,
    entry.due, entry.slots, entry.requests, entry.unknown, entry.reason, entry.outage, file.name, entry.replaces,
    entry.warnings
FROM json_each(:ids) AS wanted
JOIN entry ON entry.id = wanted.value
JOIN lane AS own ON own.id = entry.lane
JOIN lane ON lane.id = coalesce(own.joined, own.id)
LEFT JOIN file ON file.id = entry.file;

-- name: turn_of
-- Whose turn is next in the lane of an entry that waits; NULL: nothing of it may be sent now.
SELECT turn.head
FROM entry
JOIN lane AS own ON own.id = entry.lane
JOIN lane AS turn ON turn.id = coalesce(own.joined, own.id)
WHERE entry.id = :id AND entry.state = 'pending';

-- name: attempts
-- The record of an entry.
SELECT at, what, outcome, status, code, duration_ms, known FROM attempt WHERE entry = :id ORDER BY number;

-- name: body
-- The content of an entry.
SELECT content FROM body WHERE entry = :id;

-- name: states_of
-- Where these entries are.
SELECT entry.id, entry.state, entry.reason FROM json_each(:ids) AS wanted JOIN entry ON entry.id = wanted.value;

-- name: counters
-- The books, and how many entries are where. Answers at once, however many entries there are.
SELECT name, kind, value FROM books;

-- name: sending_count
-- What is under way at this moment: a handful.
SELECT kind, count(*) FROM entry WHERE state = 'sending' GROUP BY kind;

-- name: oldest_pending
-- When the oldest entry that waits was written.
SELECT created FROM entry
WHERE id > (SELECT value FROM counter WHERE name = 'passed' AND kind = '') AND state IN ('pending', 'sending')
ORDER BY id LIMIT 1;

-- name: newest
-- When the newest entry was written.
SELECT created FROM entry ORDER BY id DESC LIMIT 1;

-- name: look_waiting
-- Why they wait: those whose turn is next.
SELECT entry.reason FROM lane JOIN entry ON entry.id = lane.head
WHERE lane.head IS NOT NULL AND lane.rank = :rank ORDER BY lane.due, lane.id LIMIT :limit;

-- name: look_exhausted
-- Those that have waited longest for a file, and why.
SELECT created, reason FROM entry WHERE state = 'exhausted' ORDER BY id LIMIT :limit;

-- name: look_rejected
-- The oldest that wait for a person, and why.
SELECT created, reason FROM entry WHERE state = 'rejected' ORDER BY id LIMIT :limit;

-- name: look_imported
-- The next to be confirmed, and when: of the updates and type changes, or of all others.
SELECT due, id, created FROM entry WHERE state = 'imported' AND profile = :profile ORDER BY due, id LIMIT 1;

-- name: look_unconfirmed
-- The oldest whose confirmation fails while the API is well.
SELECT id FROM entry WHERE reason = 'ConfirmationFails' AND state = 'imported' ORDER BY id LIMIT :limit;

-- name: file_totals
-- The files of each state. There are some dozens for a day of outage.
SELECT
    state, count(*), sum(entries), sum(size),
    min(CASE state WHEN 'imported' THEN imported WHEN 'spooled' THEN created ELSE coalesce(uploaded, created) END)
FROM file GROUP BY state ORDER BY state;

-- name: written_from
-- The first entry of this id or a later one, and when it was written.
SELECT id, created FROM entry WHERE id >= :id ORDER BY id LIMIT 1;

-- name: history
-- What came where, span by span.
SELECT span, name, value FROM history WHERE span BETWEEN :first AND :last;

-- name: forget_history
-- Older spans are of no use to anybody.
DELETE FROM history WHERE span < :before;

-- name: pending_redeems
-- Those of these assignments or vouchers whose redemption is under way on either road, or was delivered since.
SELECT wanted.value FROM json_each(:ids) AS wanted
WHERE EXISTS (
    SELECT 1 FROM entry WHERE entry.key = wanted.value AND entry.kind = :kind
    AND (entry.state IN ('pending', 'sending') OR entry.away = 1
    OR (entry.state = 'delivered' AND entry.changed >= :as_of))
) OR EXISTS (
    SELECT 1 FROM entry WHERE entry.natural_key = wanted.value AND entry.kind = :kind
    AND (entry.state IN ('pending', 'sending') OR entry.away = 1
    OR (entry.state = 'delivered' AND entry.changed >= :as_of))
);

-- -------------------------------------------------------------------------------------------------------- verifying

-- name: counts
-- How many entries are where, counted one by one: what the counters must agree with.
SELECT kind, state, count(*) FROM entry GROUP BY kind, state;

-- name: passed_over
-- Entries that wait although none of them should.
SELECT id FROM entry
WHERE id <= (SELECT value FROM counter WHERE name = 'passed' AND kind = '') AND state IN ('pending', 'sending');

-- name: without_content
-- Entries that could not be sent, because what is to be sent is gone.
SELECT entry.id FROM entry LEFT JOIN body ON body.entry = entry.id
WHERE body.entry IS NULL AND entry.state NOT IN ('delivered', 'discarded');

-- name: contents
-- Every content, those from before a change as well.
SELECT entry, content FROM body UNION ALL SELECT entry, content FROM former_body;

-- name: unfinished
-- What decides where the lanes stand.
SELECT coalesce(lane.joined, entry.lane), entry.id, entry.kind, entry.state, entry.due
FROM entry LEFT JOIN lane ON lane.id = entry.lane
WHERE entry.settled = 0;

-- name: lanes
-- Where the lanes stand.
SELECT id, head, due, rank, hold, behind, confirms, confirm_due, rest_until, joined FROM lane;

-- ------------------------------------------------------------------------------------------------------------ facts

-- name: facts
-- What this outbox knows of itself.
SELECT name, value FROM meta;

-- name: set_fact
-- One fact, written or replaced.
INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: fact
-- One fact.
SELECT value FROM meta WHERE name = :name;

-- name: drop_fact
-- No longer so.
DELETE FROM meta WHERE name = :name;

-- name: contact_id
-- The contact's id that an address stands for.
SELECT id FROM contact WHERE address = :address;

-- name: told_contact
-- The contact's id as Engage was asked for it, and when. Nothing while a contact write is on the second road: an import may
-- give the address to somebody else at any moment.
SELECT id, asked, ticks FROM contact WHERE address = :address AND asked IS NOT NULL
AND NOT EXISTS (
    SELECT 1 FROM entry WHERE away = 1 AND state <> 'exhausted' AND (profile = 1 OR kind = 'contact_create')
);

-- name: remember_lane
-- The address that a lane is named by stands for this contact. When that was asked stays as it was, unless it says
-- something else now.
INSERT INTO contact (address, id, learned) SELECT key, :id, :now FROM lane WHERE id = :lane AND key NOT LIKE 'contact:%'
ON CONFLICT (address) DO UPDATE SET id = excluded.id, learned = excluded.learned,
asked = CASE WHEN contact.id = excluded.id THEN contact.asked END;

-- name: remember_contact
-- An address stands for one contact; the newest word counts. When it was asked stays where that is not told.
INSERT INTO contact (address, id, learned, asked, ticks) VALUES (:address, :id, :now, :asked, :ticks)
ON CONFLICT (address) DO UPDATE SET id = excluded.id, learned = excluded.learned,
asked = coalesce(excluded.asked, CASE WHEN contact.id = excluded.id THEN contact.asked END),
ticks = coalesce(excluded.ticks, contact.ticks);

-- name: contact_type
-- The contact's type, where it is not the usual one.
SELECT type FROM contact WHERE address = :address AND type IS NOT NULL;

-- name: remember_type
-- A contact is of this type; the newest word counts.
INSERT INTO contact (address, id, learned, type) VALUES (:address, :id, :now, :type)
ON CONFLICT (address) DO UPDATE SET learned = excluded.learned, type = excluded.type;

-- name: news_of_contacts
-- Which of these pairs of address and id, with the type and when Engage was asked, the store does not have, learned too
-- long ago, or was asked before. That a contact is of the usual type is news only where another one is known.
SELECT
    pair.value ->> 0, pair.value ->> 1, pair.value ->> 2, pair.value ->> 3, pair.value ->> 4, pair.value ->> 5
FROM json_each(:pairs) AS pair
LEFT JOIN contact ON contact.address = pair.value ->> 0
WHERE contact.type IS NOT pair.value ->> 3 OR (
    (pair.value ->> 0 NOT LIKE 'contact:%' OR pair.value ->> 3 IS NOT NULL)
    AND (contact.id IS NOT pair.value ->> 1 OR contact.learned NOT BETWEEN :since AND :now)
) OR (pair.value ->> 4 IS NOT NULL AND (contact.asked IS NULL OR contact.asked NOT BETWEEN pair.value ->> 4 AND :now));

-- name: remember_contacts
-- What was read before a contact was forgotten is not learned after it.
INSERT INTO contact (address, id, learned, type, asked, ticks)
SELECT pair.value ->> 0, pair.value ->> 1, :now, pair.value ->> 3, pair.value ->> 4, pair.value ->> 5
FROM json_each(:pairs) AS pair
WHERE pair.value ->> 2 = coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'forgets'), 0)
ON CONFLICT (address) DO UPDATE SET id = excluded.id, learned = excluded.learned, type = excluded.type,
asked = excluded.asked, ticks = excluded.ticks;

-- name: unlearn_address
-- Engage says that nobody, or more than one, has this address.
DELETE FROM contact WHERE address = :address;

-- name: forget_ids
-- No address stands for this contact any more.
DELETE FROM contact WHERE id = :id;

-- name: count_forget
-- Answers that were asked for before this are nothing to go by.
INSERT INTO meta (name, value) VALUES ('forgets', '1')
ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)
RETURNING CAST(value AS INTEGER);

-- name: purge_contacts
-- The addresses go that nobody has used for longest, some at a time.
DELETE FROM contact WHERE address IN (
    SELECT address FROM contact WHERE learned < :before ORDER BY learned LIMIT :limit
)
RETURNING address;

-- name: count_contacts
-- How many addresses are known.
SELECT count(*) FROM contact;

-- name: touch_lane
-- Answers about the contact from before are not the newest.
UPDATE lane SET moves = moves + 1 WHERE id = (SELECT coalesce(joined, id) FROM lane WHERE key = :key);

-- name: mark
-- How many contacts were forgotten, and how often anything of this contact has moved, whichever address it was written
-- under. A lane that was purged and comes again has another id, and so never the same number.
SELECT
    coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'forgets'), 0),
    coalesce((
        SELECT (max(id) << 32) + sum(moves) FROM lane WHERE id IN (
            SELECT coalesce(joined, id) FROM lane WHERE key = :lane
            UNION ALL
            SELECT coalesce(lane.joined, lane.id) FROM contact JOIN lane ON lane.key = contact.address
            WHERE contact.id = :contact
            UNION ALL
            SELECT coalesce(lane.joined, lane.id) FROM contact JOIN lane ON lane.key = 'contact:' || lower(contact.id)
            WHERE contact.address = :lane
        )
    ), (SELECT -CAST(value AS INTEGER) FROM meta WHERE name = 'lane_purges'), 0);
