-- Version 4. What a list of DAGs says of each, so that it need not read whole definitions: these may be large.
-- (Lists that version 3 kept as artifacts lay under other names. No release wrote any, so they are not looked for.)

ALTER TABLE dags ADD COLUMN summary TEXT NOT NULL DEFAULT '{}';       -- JSON, of the version that new runs take

UPDATE dags SET summary = (
    SELECT json_object('description', json_extract(definition, '$.description'),
                       'tags', json(coalesce(json_extract(definition, '$.tags'), '[]')),
                       'max_active_runs', coalesce(json_extract(definition, '$.max_active_runs'), 16),
                       'tasks', json_array_length(definition, '$.tasks'))
    FROM dag_versions WHERE digest = dags.version
);
