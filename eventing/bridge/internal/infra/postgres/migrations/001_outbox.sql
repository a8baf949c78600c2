-- +goose Up
CREATE TABLE outbox (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         uuid NOT NULL UNIQUE,
    exchange   text NOT NULL,
    key        text NOT NULL,
    body       bytea NOT NULL,
    headers    jsonb NOT NULL DEFAULT '{}', -- of the message, such as traceparent
    created_at timestamptz NOT NULL
);
CREATE TABLE inbox_seen (
    consumer   text NOT NULL,
    message_id uuid NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX inbox_seen_at ON inbox_seen (seen_at);
-- +goose Down
DROP TABLE inbox_seen;
DROP TABLE outbox;
