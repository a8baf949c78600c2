-- +goose Up
-- Of the message, such as traceparent. Written by those who know it: the version before does not.
ALTER TABLE outbox ADD COLUMN headers jsonb NOT NULL DEFAULT '{}';
-- +goose Down
ALTER TABLE outbox DROP COLUMN headers;
