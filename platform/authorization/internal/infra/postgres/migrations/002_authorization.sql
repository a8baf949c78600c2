-- +goose Up
CREATE TABLE account (
    id         uuid PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    password   text NOT NULL, -- argon2id, PHC text
    admin      boolean NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE TABLE project (
    name       text PRIMARY KEY,
    created_at timestamptz NOT NULL
);
CREATE TABLE member (
    account_id uuid NOT NULL REFERENCES account ON DELETE CASCADE,
    project    text NOT NULL REFERENCES project ON DELETE CASCADE,
    role       text NOT NULL,
    PRIMARY KEY (account_id, project)
);
CREATE TABLE api_key (
    id         text PRIMARY KEY, -- the 8 characters behind pk_
    project    text NOT NULL REFERENCES project ON DELETE CASCADE,
    name       text NOT NULL,
    role       text NOT NULL,
    hash       bytea NOT NULL,   -- SHA-256 of a 256-bit secret
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz
);
CREATE INDEX api_key_project ON api_key (project, created_at DESC);
CREATE TABLE login_code (
    hash       bytea PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES account ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
-- +goose Down
DROP TABLE login_code;
DROP TABLE api_key;
DROP TABLE member;
DROP TABLE project;
DROP TABLE account;
