-- Version 1. State rows say what is, events how it came to be.
-- Few indexes, and partial ones on what is not over: a task that succeeded stands in none.

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tasks (
    id              INTEGER NOT NULL PRIMARY KEY, -- sorts by time, so rows append
    state           INTEGER NOT NULL,
    outcome         INTEGER,
    module          BLOB    NOT NULL,
    function        TEXT    NOT NULL,
    queue           TEXT    NOT NULL,
    priority_weight INTEGER NOT NULL,
    not_before      INTEGER,
    labels          TEXT,                         -- JSON object; null when empty
    terms           TEXT,                         -- JSON; null for the defaults
    input           TEXT,                         -- JSON; null when it lies in inputs
    try_number      INTEGER NOT NULL,
    max_tries       INTEGER NOT NULL,
    fence           INTEGER NOT NULL,
    lost_in_row     INTEGER NOT NULL,
    due_at          INTEGER,
    queued_at       INTEGER NOT NULL,
    start_date      INTEGER,
    end_date        INTEGER,                      -- null until it has ended
    result          TEXT,                         -- JSON
    result_digest   BLOB,
    result_bytes    INTEGER,
    error           TEXT,                         -- JSON
    cpu_us          INTEGER NOT NULL,
    peak_memory_bytes INTEGER NOT NULL,
    host_bytes      INTEGER NOT NULL,
    log_bytes       INTEGER NOT NULL,
    last_event      INTEGER NOT NULL
) STRICT;

-- Serves the ready queue in its order after a restart and when it is paged in.
CREATE INDEX tasks_active ON tasks (state, queue, priority_weight DESC, id) WHERE end_date IS NULL;
-- Serves the timers likewise.
CREATE INDEX tasks_due ON tasks (due_at, id) WHERE due_at IS NOT NULL;
-- Serves people who look for what went wrong among much that went well.
CREATE INDEX tasks_unwell ON tasks (state, id) WHERE state > 6;

-- Inputs too long to be rewritten with every change of their task's row.
CREATE TABLE inputs (
    task INTEGER NOT NULL PRIMARY KEY,
    body TEXT    NOT NULL
) STRICT;

-- Append-only. The events of a task are chained backwards from tasks.last_event
-- by previous, which spares an index.
CREATE TABLE events (
    seq        INTEGER NOT NULL PRIMARY KEY,
    task       INTEGER NOT NULL,
    previous   INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    event      INTEGER NOT NULL,
    try_number INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    outcome    INTEGER,
    by         TEXT,
    fence      INTEGER,                           -- from here on: events that end an attempt
    started_at INTEGER,
    error      TEXT,
    cpu_us     INTEGER,
    peak_memory_bytes INTEGER,
    host_bytes INTEGER,
    log_bytes  INTEGER
) STRICT;

-- The log of the attempt that the event ended: its text, or where it lies in the segments.
CREATE TABLE logs (
    event  INTEGER NOT NULL PRIMARY KEY,
    body   BLOB,
    pieces TEXT
) STRICT;

-- How many attempts have their log in a segment; at none the file may go.
CREATE TABLE log_segments (
    segment  INTEGER NOT NULL PRIMARY KEY,
    attempts INTEGER NOT NULL
) STRICT;

CREATE TABLE idempotency (
    seq  INTEGER NOT NULL PRIMARY KEY,            -- grows with time, for retention
    key  BLOB    NOT NULL UNIQUE,
    body BLOB    NOT NULL,
    task INTEGER NOT NULL,
    at   INTEGER NOT NULL
) STRICT;

CREATE TABLE modules (
    seq        INTEGER NOT NULL PRIMARY KEY,
    digest     BLOB    NOT NULL UNIQUE,
    info       TEXT    NOT NULL,                  -- JSON
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL
) STRICT;

-- Append-only: the newest row of a name and tag counts. A null digest has taken the tag away.
CREATE TABLE module_tags (
    seq    INTEGER NOT NULL PRIMARY KEY,
    name   TEXT    NOT NULL,
    tag    TEXT    NOT NULL,
    digest BLOB,
    set_at INTEGER NOT NULL,
    set_by TEXT    NOT NULL
) STRICT;
CREATE INDEX module_tags_newest ON module_tags (name, tag, seq);
CREATE INDEX module_tags_by_digest ON module_tags (digest);
