-- +goose Up
-- What starts of runs have taken of rates: until when the bucket of a key is not full again.
CREATE TABLE rate (
    project text NOT NULL,
    key     text NOT NULL,
    full_at timestamptz NOT NULL,
    PRIMARY KEY (project, key)
);
CREATE INDEX rate_full_at ON rate (full_at);

-- The place that a run holds while it only waits, '' = none.
ALTER TABLE sleeping ADD COLUMN holds bytea NOT NULL DEFAULT '';
-- +goose Down
ALTER TABLE sleeping DROP COLUMN holds;
DROP TABLE rate;
