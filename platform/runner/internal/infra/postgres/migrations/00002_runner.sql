-- +goose Up
-- An incarnation is one life of a runner replica. Every journal batch holds its row FOR
-- SHARE; a take-over updates it, and so waits for commits under way.
CREATE TABLE incarnation (
    fence      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,
    live       boolean NOT NULL DEFAULT true,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz
);

-- +goose StatementBegin
CREATE FUNCTION hold_fence(want bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM incarnation WHERE fence = want AND live FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'incarnation % has been taken over', want USING ERRCODE = 'PF001';
    END IF;
END $$;
-- +goose StatementEnd

-- Runs, their journal and logs are partitioned by the day in the run's id (UUIDv7).
-- Partitions are made ahead by the runner; there is no default one.
CREATE TABLE run (
    id            uuid NOT NULL,
    project       text NOT NULL,
    workflow      text NOT NULL,
    revision      integer NOT NULL,
    revision_id   text NOT NULL,
    deployment    uuid NOT NULL,
    state         text NOT NULL,
    trigger_kind  text NOT NULL,
    trigger_id    text NOT NULL,
    created_at    timestamptz NOT NULL,
    finished_at   timestamptz,
    error_kind    text NOT NULL DEFAULT '',
    error_message text NOT NULL DEFAULT '',
    error_step    text NOT NULL DEFAULT '',
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX run_by_project ON run (project, id);
CREATE INDEX run_by_workflow ON run (project, workflow, id);

-- Runs that have not ended, small and unpartitioned, so that a take-over finds them at once.
CREATE TABLE live_run (
    run uuid PRIMARY KEY
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE TABLE journal (
    run uuid NOT NULL,
    seq bigint NOT NULL,
    row bytea NOT NULL,
    PRIMARY KEY (run, seq)
) PARTITION BY RANGE (run);

-- Compressed records of one attempt; first and last are cursors within the run.
CREATE TABLE log_chunk (
    run     uuid NOT NULL,
    first   bigint NOT NULL,
    last    bigint NOT NULL,
    lines   integer NOT NULL,
    step    text NOT NULL,
    path    integer[] NOT NULL,
    attempt integer NOT NULL,
    body    bytea NOT NULL,
    PRIMARY KEY (run, first)
) PARTITION BY RANGE (run);
ALTER TABLE log_chunk ALTER COLUMN body SET STORAGE EXTERNAL;

-- Commands to runs, durable before their sender is answered, gone once journalled.
CREATE TABLE inbox (
    id         text PRIMARY KEY,
    run        uuid NOT NULL,
    kind       text NOT NULL,
    reason     text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE dedup (
    scope      text NOT NULL,
    key        text NOT NULL,
    run        uuid NOT NULL,
    body       bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX dedup_expires_at ON dedup (expires_at);

-- claim_key takes a key for a run, or raises. The same run may take it again: a batch is
-- sent again when its outcome is not known.
-- +goose StatementBegin
CREATE FUNCTION claim_key(s text, k text, r uuid, b bytea, until timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO dedup AS d (scope, key, run, body, expires_at) VALUES (s, k, r, b, until)
    ON CONFLICT (scope, key) DO UPDATE SET run = excluded.run, body = excluded.body, expires_at = excluded.expires_at
        WHERE d.expires_at < now() OR d.run = excluded.run;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the key is taken' USING ERRCODE = 'PF002';
    END IF;
END $$;
-- +goose StatementEnd

CREATE TABLE source_cursor (
    deployment uuid NOT NULL,
    trigger    text NOT NULL,
    cursor     bytea NOT NULL,
    PRIMARY KEY (deployment, trigger)
);

CREATE TABLE deployment (
    id         uuid PRIMARY KEY,
    project    text NOT NULL,
    workflow   text NOT NULL,
    state      text NOT NULL,
    reason     text NOT NULL,
    definition bytea NOT NULL,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX deployment_by_project ON deployment (project, id);
CREATE INDEX deployment_standing ON deployment (id) WHERE state IN ('deploying', 'live');

CREATE TABLE secret (
    project    text NOT NULL,
    name       text NOT NULL,
    sealed     bytea NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (project, name)
);

CREATE TABLE variable (
    project    text NOT NULL,
    name       text NOT NULL,
    value      bytea NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (project, name)
);
-- +goose Down
DROP TABLE variable, secret, deployment, source_cursor, dedup, inbox, log_chunk, journal, live_run, run;
DROP FUNCTION claim_key, hold_fence;
DROP TABLE incarnation;
