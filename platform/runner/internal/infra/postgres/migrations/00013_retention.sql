-- +goose Up
-- How long ended runs are kept, where that is less than the server's settings say.
CREATE TABLE retention (
    project text PRIMARY KEY,
    ms      bigint NOT NULL
);
ALTER TABLE deployment ADD COLUMN retention_ms bigint NOT NULL DEFAULT 0;

-- Runs removed one by one. What a writer had still under way for them then is removed a little later.
CREATE TABLE removed_run (
    run uuid PRIMARY KEY,
    at  timestamptz NOT NULL
);

-- The run whose step called this one, or whose failure this one handles.
ALTER TABLE run ADD COLUMN parent uuid;

-- run_needed tells whether a run is not to be removed: it has not ended, or the run that started it
-- has not, which may ask for it again after a crash. Of runs from before parents were kept here, any
-- older run that has not ended may be the parent.
CREATE FUNCTION run_needed(r uuid, of uuid, kind text, created timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM live_run l WHERE l.run = r OR l.run = of)
        OR (of IS NULL AND kind IN ('workflow', 'failure')
            AND EXISTS (SELECT FROM live_run l JOIN run p ON p.id = l.run WHERE p.created_at <= created))
$$;
-- +goose Down
DROP FUNCTION run_needed;
ALTER TABLE run DROP COLUMN parent;
ALTER TABLE deployment DROP COLUMN retention_ms;
DROP TABLE removed_run, retention;
