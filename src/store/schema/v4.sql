-- The tables of one state directory, version 4. Compared word for word when a database is opened,
-- so a change here needs a new `user_version`, the text of this version in `schema/`, and a step in
-- `migrate.rs` that leads there. The migration makes what is new from this very text.

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

CREATE TABLE api_tokens (
    id      BLOB    PRIMARY KEY NOT NULL, -- 16 bytes
    hash    BLOB    NOT NULL UNIQUE,      -- SHA-256 of the token; the token itself is nowhere
    name    TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    created INTEGER NOT NULL,             -- microseconds since 1970
    expires INTEGER,
    scope   TEXT                          -- JSON; NULL stands for null
) STRICT;

CREATE TABLE sessions (
    hash    BLOB    PRIMARY KEY NOT NULL, -- SHA-256 of the session token
    who     TEXT    NOT NULL,             -- JSON
    peer    TEXT    NOT NULL,
    created INTEGER NOT NULL,             -- microseconds since 1970
    used    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_use ON sessions (used);

-- Public keys that log in by a signature.
CREATE TABLE ssl_keys (
    id       BLOB    PRIMARY KEY NOT NULL, -- 16 bytes
    account  TEXT    NOT NULL,
    pem      TEXT    NOT NULL,
    nickname TEXT    NOT NULL,
    email    TEXT    NOT NULL,
    created  INTEGER NOT NULL,             -- microseconds since 1970
    UNIQUE (account, pem)
) STRICT;

-- What was done in whose name. Only the oldest are ever deleted, and `audit_ends` knows up to where.
CREATE TABLE audit (
    seq     INTEGER PRIMARY KEY, -- contiguous, from 1
    time    INTEGER NOT NULL,    -- microseconds since 1970, strictly growing with seq
    actor   TEXT    NOT NULL,
    origin  TEXT    NOT NULL,
    method  TEXT    NOT NULL,
    outcome TEXT    NOT NULL,
    details TEXT    NOT NULL,    -- JSON
    hash    BLOB    NOT NULL     -- SHA-256 over the hash before it and all of this row
) STRICT;

-- One row, changed in the same transaction as `audit`: what stands before the oldest record, and
-- the newest one.
CREATE TABLE audit_ends (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    anchor_seq  INTEGER NOT NULL, -- the newest record that was removed; 0: none
    anchor_hash BLOB    NOT NULL, -- its hash; 32 zero bytes before the first
    head_seq    INTEGER NOT NULL, -- the newest record; the anchor when there is none
    head_hash   BLOB    NOT NULL
) STRICT;

-- Calls that outlive their reply. A row is changed in the transaction of the event that tells of it.
CREATE TABLE jobs (
    id      BLOB    PRIMARY KEY NOT NULL, -- 16 bytes
    created INTEGER NOT NULL,             -- microseconds since 1970
    ended   INTEGER,                      -- NULL while it waits or runs
    job     TEXT    NOT NULL,             -- JSON: what is shown of it
    work    TEXT,                         -- JSON: what is to be done; NULL when that is not kept
    result  TEXT                          -- JSON; NULL without one
) STRICT;

CREATE INDEX jobs_by_end ON jobs (ended);

-- What a job has said: its beginning and its end, each of bounded length.
CREATE TABLE job_logs (
    job   BLOB    NOT NULL,
    part  INTEGER NOT NULL, -- 0: the beginning; 1: the end
    start INTEGER NOT NULL, -- bytes before it
    text  BLOB    NOT NULL,
    PRIMARY KEY (job, part)
) STRICT, WITHOUT ROWID;

-- What is wrong, or was. A row is changed in the transaction of the event that tells of it.
CREATE TABLE alerts (
    id     INTEGER PRIMARY KEY, -- never used twice
    closed INTEGER,             -- microseconds since 1970; NULL while it is not over
    alert  TEXT    NOT NULL     -- JSON
) STRICT;
