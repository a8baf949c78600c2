-- +goose Up
-- What the history is searched by, and what runs cost.
ALTER TABLE run ADD COLUMN retry_of uuid;
ALTER TABLE run ADD COLUMN tags text[] NOT NULL DEFAULT '{}';
ALTER TABLE run ADD COLUMN fingerprint text NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN cpu_micros bigint NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN gib_seconds double precision NOT NULL DEFAULT 0;
CREATE INDEX run_by_fingerprint ON run (project, fingerprint, id) WHERE fingerprint <> '';
CREATE INDEX run_by_retry_of ON run (retry_of) WHERE retry_of IS NOT NULL;

-- Orders for many runs.
CREATE TABLE bulk (
    id         uuid PRIMARY KEY,
    project    text NOT NULL,
    kind       text NOT NULL,
    query      jsonb NOT NULL,
    state      text NOT NULL,
    done       integer NOT NULL DEFAULT 0,
    failed     integer NOT NULL DEFAULT 0,
    problem    text NOT NULL DEFAULT '',
    cursor     uuid NOT NULL,
    created_at timestamptz NOT NULL,
    ended_at   timestamptz
);
CREATE INDEX bulk_by_project ON bulk (project, id);
-- +goose Down
DROP TABLE bulk;
DROP INDEX run_by_retry_of, run_by_fingerprint;
ALTER TABLE run DROP COLUMN gib_seconds, DROP COLUMN cpu_micros, DROP COLUMN fingerprint, DROP COLUMN tags, DROP COLUMN retry_of;
