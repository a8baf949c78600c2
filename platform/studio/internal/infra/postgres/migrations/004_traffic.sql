-- +goose Up
-- Who share the deployment's new runs, [] = its own revision takes all.
ALTER TABLE deployment ADD COLUMN traffic jsonb NOT NULL DEFAULT '[]';
-- +goose Down
ALTER TABLE deployment DROP COLUMN traffic;
