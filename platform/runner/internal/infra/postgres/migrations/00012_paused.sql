-- +goose Up
-- Workflows that start no runs for now.
CREATE TABLE paused_workflow (
    project  text NOT NULL,
    workflow text NOT NULL,
    reason   text NOT NULL,
    since    timestamptz NOT NULL,
    PRIMARY KEY (project, workflow)
);
-- +goose Down
DROP TABLE paused_workflow;
