-- +goose Up
-- Why nothing of a run goes on until somebody lets it, '' = it does. Unlike a pause it is not part of its
-- journal: the run stays as it was.
ALTER TABLE live_run ADD COLUMN held text NOT NULL DEFAULT '';
-- +goose Down
ALTER TABLE live_run DROP COLUMN held;
