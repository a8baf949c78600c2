-- +goose Up
CREATE TABLE repository (
    id          uuid PRIMARY KEY,
    project     text NOT NULL,
    name        text NOT NULL,
    url         text NOT NULL,
    branch      text NOT NULL,
    path        text NOT NULL,
    watch       boolean NOT NULL,
    auto_deploy boolean NOT NULL,
    created_at  timestamptz NOT NULL,
    UNIQUE (project, name)
);
CREATE TABLE scan (
    id            uuid PRIMARY KEY,
    project       text NOT NULL,
    repository_id uuid NOT NULL REFERENCES repository ON DELETE CASCADE,
    commit        text NOT NULL,
    state         text NOT NULL,
    error         text NOT NULL,
    actions       bytea NOT NULL, -- JSON list of entries
    workflows     bytea NOT NULL,
    started_at    timestamptz NOT NULL,
    finished_at   timestamptz NOT NULL
);
CREATE INDEX scan_repository ON scan (repository_id, id DESC);
CREATE TABLE build (
    id            uuid PRIMARY KEY,
    project       text NOT NULL,
    build         text NOT NULL,
    repository_id uuid NOT NULL,
    repository    text NOT NULL,
    commit        text NOT NULL,
    path          text NOT NULL,
    action        text NOT NULL,
    action_json   text NOT NULL,
    state         text NOT NULL,
    kind          text NOT NULL DEFAULT '',
    message       text NOT NULL DEFAULT '',
    host          text NOT NULL DEFAULT '',
    setting       text NOT NULL DEFAULT '',
    file          text NOT NULL DEFAULT '',
    line          int NOT NULL DEFAULT 0,
    artifact      text NOT NULL DEFAULT '',
    phases_ms     jsonb NOT NULL DEFAULT '{}',
    notes         text[] NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL,
    started_at    timestamptz NOT NULL DEFAULT 'epoch',
    finished_at   timestamptz NOT NULL DEFAULT 'epoch'
);
CREATE INDEX build_digest ON build (project, build, id DESC);
CREATE INDEX build_list ON build (project, id DESC);
CREATE TABLE build_log (
    order_id uuid NOT NULL REFERENCES build ON DELETE CASCADE,
    seq      bigint NOT NULL,
    lines    text[] NOT NULL,
    PRIMARY KEY (order_id, seq)
);
-- +goose Down
DROP TABLE build_log;
DROP TABLE build;
DROP TABLE scan;
DROP TABLE repository;
