-- Version 3. DAGs: their versions, their runs, and the task instances of these.

ALTER TABLE tasks ADD COLUMN run INTEGER;                             -- null for a single task
ALTER TABLE tasks ADD COLUMN node INTEGER;                            -- its place in the run's version
ALTER TABLE tasks ADD COLUMN map_index INTEGER;                       -- null where it is not mapped
ALTER TABLE tasks ADD COLUMN map_label TEXT;
ALTER TABLE tasks ADD COLUMN note TEXT;
-- Serves a run when it is loaded and shown. Single tasks stand not in it.
CREATE INDEX tasks_of_run ON tasks (run, node, map_index) WHERE run IS NOT NULL;

-- An event of a run itself has the task 0; its state is one of a run.
ALTER TABLE events ADD COLUMN run INTEGER;
CREATE INDEX events_of_run ON events (run, seq) WHERE run IS NOT NULL;

CREATE TABLE dags (
    dag_id     TEXT    NOT NULL PRIMARY KEY,
    version    BLOB    NOT NULL,                  -- the one that new runs take
    is_paused  INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE dag_versions (
    seq        INTEGER NOT NULL PRIMARY KEY,
    dag_id     TEXT    NOT NULL,
    digest     BLOB    NOT NULL,
    definition TEXT    NOT NULL,                  -- JSON, canonical
    source     TEXT    NOT NULL,                  -- as its author wrote it
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX dag_versions_by_digest ON dag_versions (digest);
CREATE INDEX dag_versions_of_dag ON dag_versions (dag_id, seq);

-- Which modules a version names: they cannot be deleted while it is there.
CREATE TABLE dag_modules (
    digest  BLOB    NOT NULL,                     -- of the module
    version INTEGER NOT NULL,
    PRIMARY KEY (digest, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX dag_modules_of_version ON dag_modules (version);

CREATE TABLE runs (
    id             INTEGER NOT NULL PRIMARY KEY,  -- sorts by time
    dag_id         TEXT    NOT NULL,
    version        BLOB    NOT NULL,
    run_id         TEXT    NOT NULL,
    run_type       INTEGER NOT NULL,
    state          INTEGER NOT NULL,
    verdict        INTEGER,                       -- how it will end, where it is being stopped
    logical_date   INTEGER,
    interval_start INTEGER,
    interval_end   INTEGER,
    conf           TEXT    NOT NULL,              -- JSON object
    params         TEXT    NOT NULL,              -- JSON object
    note           TEXT,
    first_task     INTEGER NOT NULL,              -- the task of node n is this plus n
    nodes          INTEGER NOT NULL,
    queued_at      INTEGER NOT NULL,
    start_date     INTEGER,
    end_date       INTEGER                        -- null until it has ended
) STRICT;
CREATE UNIQUE INDEX runs_by_name ON runs (dag_id, run_id);
CREATE INDEX runs_of_dag ON runs (dag_id, id);
CREATE INDEX runs_by_date ON runs (dag_id, logical_date, id) WHERE logical_date IS NOT NULL;
CREATE INDEX runs_active ON runs (state, dag_id, id) WHERE end_date IS NULL;
CREATE INDEX runs_unwell ON runs (state, id) WHERE state > 3;

-- What mapped tasks and groups were mapped over.
CREATE TABLE expansions (
    run           INTEGER NOT NULL,
    scope         INTEGER NOT NULL,
    total         INTEGER NOT NULL,
    list          TEXT,                           -- JSON
    list_digest   BLOB,
    list_bytes    INTEGER,
    PRIMARY KEY (run, scope)
) STRICT, WITHOUT ROWID;

CREATE TABLE variables (
    key         TEXT    NOT NULL PRIMARY KEY,
    value       TEXT    NOT NULL,
    description TEXT,
    updated_at  INTEGER NOT NULL,
    updated_by  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
