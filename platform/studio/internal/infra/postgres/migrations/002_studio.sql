-- +goose Up
CREATE TABLE build (
    project       text NOT NULL,
    build         text NOT NULL,
    action        text NOT NULL, -- id
    version       text NOT NULL,
    action_json   text NOT NULL,
    artifact      text NOT NULL,
    repository_id text NOT NULL,
    repository    text NOT NULL,
    commit        text NOT NULL,
    path          text NOT NULL,
    offered_at    timestamptz NOT NULL,
    PRIMARY KEY (project, build)
);
CREATE INDEX build_action ON build (project, action, offered_at DESC);
CREATE TABLE workflow (
    project     text NOT NULL,
    name        text NOT NULL,
    -- the source that deploys it by itself: what the newest scan said
    source      text NOT NULL DEFAULT '', -- repository id
    path        text NOT NULL DEFAULT '',
    wanted_yaml text NOT NULL DEFAULT '',
    builds      jsonb NOT NULL DEFAULT '{}', -- ./folder -> digest
    broken      jsonb NOT NULL DEFAULT '{}', -- ./folder -> first error
    auto_deploy boolean NOT NULL DEFAULT false,
    problems    jsonb NOT NULL DEFAULT '[]',
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (project, name)
);
CREATE TABLE revision (
    id         uuid PRIMARY KEY,
    project    text NOT NULL,
    workflow   text NOT NULL,
    number     int NOT NULL,
    yaml       text NOT NULL,
    definition bytea NOT NULL, -- studio.v1.Definition
    digest     bytea NOT NULL, -- of what makes it differ from another
    created_at timestamptz NOT NULL,
    UNIQUE (project, workflow, number),
    UNIQUE (project, workflow, digest)
);
CREATE TABLE deployment (
    id          uuid PRIMARY KEY,
    project     text NOT NULL,
    workflow    text NOT NULL,
    revision_id uuid NOT NULL REFERENCES revision,
    number      int NOT NULL,
    state       text NOT NULL, -- deploying live failed stopped
    reason      text NOT NULL DEFAULT '',
    endpoints   jsonb NOT NULL DEFAULT '[]',
    created_at  timestamptz NOT NULL,
    changed_at  timestamptz NOT NULL
);
CREATE INDEX deployment_workflow ON deployment (project, workflow, id DESC);
-- +goose Down
DROP TABLE deployment;
DROP TABLE revision;
DROP TABLE workflow;
DROP TABLE build;
