-- +goose Up
-- What a replica tells others of itself, and who took over from it. Its estate is what the
-- replica's executor needs to find or end its attempts; settled once that is done.
ALTER TABLE incarnation
    ADD COLUMN address text NOT NULL DEFAULT '',
    ADD COLUMN estate  text NOT NULL DEFAULT '',
    ADD COLUMN heir    bigint,
    ADD COLUMN settled boolean NOT NULL DEFAULT false;

-- Heartbeats are rows of their own, so that they never wait for the journal, nor it for them.
-- An incarnation without a row here has no lease: whoever starts next takes over from it.
CREATE TABLE lease (
    fence      bigint PRIMARY KEY REFERENCES incarnation (fence),
    expires_at timestamptz NOT NULL
);

-- The incarnation that acts for the run. 0: a version that knew one replica only.
ALTER TABLE live_run ADD COLUMN owner bigint NOT NULL DEFAULT 0;

-- Which incarnation keeps a source running, by project/workflow/trigger.
CREATE TABLE source_owner (
    place text PRIMARY KEY,
    owner bigint NOT NULL
);

-- What replicas know each other by.
CREATE TABLE peer_key (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    key text NOT NULL
);
INSERT INTO peer_key (key) VALUES (gen_random_uuid()::text || gen_random_uuid()::text);
-- +goose Down
DROP TABLE peer_key, source_owner, lease;
ALTER TABLE live_run DROP COLUMN owner;
ALTER TABLE incarnation DROP COLUMN settled, DROP COLUMN heir, DROP COLUMN estate, DROP COLUMN address;
