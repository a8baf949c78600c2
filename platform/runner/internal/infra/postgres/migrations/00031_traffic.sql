-- +goose Up
-- Deployments that share the new runs of a workflow: the leader has triggers that listen and a state, the others
-- are 'shared' and have its. Those who do not know of them leave such rows alone.
ALTER TABLE deployment
    ADD COLUMN weight   integer NOT NULL DEFAULT 0, -- of 100 new runs, 0 = all
    ADD COLUMN leader   uuid,
    ADD COLUMN listener uuid; -- under whose id its triggers keep what they have taken, NULL = its own
CREATE INDEX deployment_shares ON deployment (leader) WHERE leader IS NOT NULL;
-- +goose Down
DELETE FROM deployment WHERE leader IS NOT NULL;
DROP INDEX deployment_shares;
ALTER TABLE deployment DROP COLUMN listener, DROP COLUMN leader, DROP COLUMN weight;
