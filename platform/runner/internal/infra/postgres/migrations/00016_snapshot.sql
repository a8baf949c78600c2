-- +goose Up
-- The state of a long run that has not ended, as its journal up to seq gives it: the newest only. Who
-- does not know its encoding reads the whole journal instead.
CREATE TABLE snapshot (
    run   uuid PRIMARY KEY,
    seq   bigint NOT NULL,
    state bytea NOT NULL
);
ALTER TABLE snapshot ALTER COLUMN state SET STORAGE EXTERNAL;
-- +goose Down
DROP TABLE snapshot;
