-- Version 2. Command-line programs have arguments, and calls of the host are counted.

ALTER TABLE tasks ADD COLUMN args TEXT;                               -- JSON array; null when empty
ALTER TABLE tasks ADD COLUMN host_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN host_calls INTEGER;
