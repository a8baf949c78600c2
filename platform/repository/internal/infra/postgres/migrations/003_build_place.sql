-- +goose Up
CREATE INDEX build_place ON build (repository_id, path, id DESC);
CREATE INDEX build_ended ON build (finished_at) WHERE state IN ('failed', 'cancelled');
-- +goose Down
DROP INDEX build_ended;
DROP INDEX build_place;
