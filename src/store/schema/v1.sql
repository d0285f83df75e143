-- The tables of one state directory, version 1. Compared word for word before a database of that
-- version is migrated, so this text never changes.

CREATE TABLE instance (
    id BLOB NOT NULL            -- 16 bytes, made once: names this database in cursors
) STRICT;

CREATE TABLE events (
    seq      INTEGER PRIMARY KEY, -- contiguous: only the oldest are ever deleted, never the newest
    time     INTEGER NOT NULL,    -- microseconds since 1970, strictly growing with seq
    salt     INTEGER NOT NULL,    -- the low half of the id; the high half is salt XOR time
    priority INTEGER NOT NULL,
    class    TEXT    NOT NULL,
    source   TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    message  TEXT    NOT NULL,
    data     TEXT                 -- JSON; NULL stands for null
) STRICT;

CREATE INDEX events_by_class ON events (class, seq);

-- The few that matter, in order: a history from priority 6 up reads nothing else.
CREATE INDEX events_urgent ON events (seq) WHERE priority >= 6;

-- The newest event of every class and subject: the snapshot a subscription may begin with.
CREATE TABLE newest (
    class   TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (class, subject)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX newest_by_seq ON newest (seq);

CREATE TABLE tokens (
    id      BLOB    PRIMARY KEY NOT NULL, -- 16 bytes
    hash    BLOB    NOT NULL UNIQUE,      -- SHA-256 of the token; the token itself is nowhere
    name    TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    created INTEGER NOT NULL,             -- microseconds since 1970
    expires INTEGER
) STRICT;
