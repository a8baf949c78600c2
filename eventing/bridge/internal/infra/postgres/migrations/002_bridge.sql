-- +goose Up
CREATE TABLE subscription (
    id           uuid PRIMARY KEY,
    project      text NOT NULL,
    name         text NOT NULL,
    kind         text NOT NULL, -- of the sink: webhook, cloudevents
    url          text NOT NULL,
    types        text[] NOT NULL,
    filter       text NOT NULL, -- JSON, '' = none
    sealed       bytea,         -- the secret, null = none
    paused       boolean NOT NULL DEFAULT false,
    disabled     text NOT NULL DEFAULT '', -- why
    created_at   timestamptz NOT NULL,
    version      bigint NOT NULL, -- of the wish that is to be armed
    delivered    bigint NOT NULL DEFAULT 0,
    delivered_at timestamptz,
    last_error   text NOT NULL DEFAULT '',
    UNIQUE (project, name)
);

-- Deployments with triggers of the kind platform-event.
CREATE TABLE wanting (
    project    text NOT NULL,
    workflow   text NOT NULL,
    deployment uuid NOT NULL,
    types      text[] NOT NULL, -- empty: it has none, and is here since an older one may be told later
    PRIMARY KEY (project, workflow)
);

-- What the runner was asked to tell of a project, and which version of it is in force.
CREATE TABLE wish (
    project text PRIMARY KEY,
    version bigint NOT NULL,
    started boolean NOT NULL,
    ended   boolean NOT NULL,
    failed  boolean NOT NULL,
    armed   bigint NOT NULL
);

CREATE TABLE delivery (
    seq           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            uuid NOT NULL UNIQUE,
    subscription  uuid NOT NULL REFERENCES subscription ON DELETE CASCADE,
    project       text NOT NULL,
    ordering      text NOT NULL, -- those of one go one after the other
    event_id      text NOT NULL,
    type          text NOT NULL,
    event         bytea NOT NULL,
    tries         int NOT NULL DEFAULT 0,
    next_at       timestamptz NOT NULL,
    claimed_until timestamptz,
    last_error    text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL,
    died_at       timestamptz
);
CREATE INDEX delivery_heads ON delivery (subscription, ordering, seq) WHERE died_at IS NULL;
CREATE INDEX delivery_dead ON delivery (project, seq) WHERE died_at IS NOT NULL;
-- +goose Down
DROP TABLE delivery, wish, wanting, subscription;
