-- +goose Up
-- How far a schedule has come. It belongs to the workflow and its trigger, whatever deployment is
-- live, so that a restart and a redeployment miss nothing and fire nothing twice.
CREATE TABLE schedule (
    project    text NOT NULL,
    workflow   text NOT NULL,
    trigger    text NOT NULL,
    spec       text NOT NULL,
    deployment uuid NOT NULL,
    due        timestamptz NOT NULL,
    run        text NOT NULL,
    PRIMARY KEY (project, workflow, trigger)
);
-- +goose Down
DROP TABLE schedule;
