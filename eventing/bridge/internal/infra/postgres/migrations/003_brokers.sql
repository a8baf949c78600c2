-- +goose Up
-- Triggers for events from outside, as a JSON list.
ALTER TABLE wanting ADD COLUMN outside text NOT NULL DEFAULT '[]';

-- Projects that have a Broker in a cluster.
CREATE TABLE broker (
    project    text PRIMARY KEY,
    sealed     bytea NOT NULL, -- the API key that its events come with
    created_at timestamptz NOT NULL,
    going      boolean NOT NULL DEFAULT false -- it is to be removed there
);
-- +goose Down
DROP TABLE broker;
ALTER TABLE wanting DROP COLUMN outside;
