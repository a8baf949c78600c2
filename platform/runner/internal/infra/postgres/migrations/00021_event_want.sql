-- +goose Up
-- Which events of a project somebody wants to be told.
CREATE TABLE event_want (
    project text PRIMARY KEY,
    version bigint NOT NULL,
    started boolean NOT NULL,
    ended   boolean NOT NULL,
    failed  boolean NOT NULL
);
-- +goose Down
DROP TABLE event_want;
