-- +goose Up
-- Runs that only wait are a row here and nothing in memory, until they are due.
CREATE TABLE sleeping (
    run uuid PRIMARY KEY,
    due timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX sleeping_due ON sleeping (due);

-- Step runs that wait for a signal or a person.
CREATE TABLE awaiting (
    run      uuid NOT NULL,
    step     text NOT NULL,
    path     integer[] NOT NULL,
    project  text NOT NULL,
    workflow text NOT NULL,
    kind     text NOT NULL,
    text     text NOT NULL,
    since    timestamptz NOT NULL,
    due      timestamptz,
    PRIMARY KEY (run, step, path)
);
CREATE INDEX awaiting_by_project ON awaiting (project, since, run);

-- Outputs of pure and read steps that others with the same build and key may take.
CREATE TABLE step_cache (
    project    text NOT NULL,
    build      text NOT NULL,
    key        bytea NOT NULL,
    outputs    bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (project, build, key)
);
CREATE INDEX step_cache_expires_at ON step_cache (expires_at);

-- How many action steps may be under way at a time: of a project, a workflow, an action.
CREATE TABLE step_cap (
    project text NOT NULL,
    kind    text NOT NULL,
    name    text NOT NULL,
    value   integer NOT NULL,
    PRIMARY KEY (project, kind, name)
);

ALTER TABLE inbox ADD COLUMN IF NOT EXISTS payload bytea NOT NULL DEFAULT '';
CREATE INDEX inbox_by_run ON inbox (run);
-- +goose Down
DROP INDEX inbox_by_run;
DROP TABLE step_cap, step_cache, awaiting, sleeping;
