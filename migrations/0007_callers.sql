-- +migrate Up

-- Which of the queues of its priority carries the request: 0 is the one for
-- callers who keep within their share, the others are where crowds wait.
ALTER TABLE mass_requests ADD COLUMN lane smallint NOT NULL DEFAULT 0
    CONSTRAINT mass_requests_lane_known CHECK (lane >= 0);

-- Waiting for others of its caller to end, without a task.
ALTER TABLE mass_requests ADD COLUMN held boolean NOT NULL DEFAULT false;

CREATE INDEX mass_requests_held ON mass_requests (created_by, id) WHERE status = 'pending' AND held;
DROP INDEX mass_requests_open_batch;
CREATE INDEX mass_requests_open_batch ON mass_requests (batch_id, id) WHERE status = 'pending' AND NOT held;

-- Payloads and results lie beside the row: each transition writes a new version
-- of the row, and they would be written again with it. Compressing them costs
-- more time than all of the rest, and saves less than not repeating them.
ALTER TABLE mass_requests ALTER COLUMN payload SET STORAGE EXTERNAL;
ALTER TABLE mass_requests ALTER COLUMN result SET STORAGE EXTERNAL;
ALTER TABLE mass_requests SET (toast_tuple_target = 128);

-- The same rule as that of the constraint, which read each payload again whenever
-- its row changed; that of a type is asked when a value comes in.
CREATE DOMAIN mass_payload AS jsonb CONSTRAINT mass_requests_payload_object CHECK (jsonb_typeof(VALUE) = 'object');
ALTER TABLE mass_requests DROP CONSTRAINT mass_requests_payload_object;
ALTER TABLE mass_requests ALTER COLUMN payload TYPE mass_payload;

-- The open ones have indexes of their own; an entry here would be one more for
-- each request and each claim.
DROP INDEX mass_requests_status;
CREATE INDEX mass_requests_ended_badly ON mass_requests (status, created_at, id) WHERE status IN ('failed', 'cancelled');

-- +migrate Down

DROP INDEX mass_requests_ended_badly;
CREATE INDEX mass_requests_status ON mass_requests (status, created_at, id) WHERE status <> 'done';
ALTER TABLE mass_requests ALTER COLUMN payload TYPE jsonb;
ALTER TABLE mass_requests ADD CONSTRAINT mass_requests_payload_object CHECK (jsonb_typeof(payload) = 'object');
DROP DOMAIN mass_payload;
ALTER TABLE mass_requests RESET (toast_tuple_target);
ALTER TABLE mass_requests ALTER COLUMN result SET STORAGE EXTENDED;
ALTER TABLE mass_requests ALTER COLUMN payload SET STORAGE EXTENDED;
DROP INDEX mass_requests_held;
DROP INDEX mass_requests_open_batch;
CREATE INDEX mass_requests_open_batch ON mass_requests (batch_id, id) WHERE status = 'pending';
ALTER TABLE mass_requests DROP COLUMN held;
ALTER TABLE mass_requests DROP COLUMN lane;
