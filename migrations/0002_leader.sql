-- The leadership becomes a lease in a table, and a worker gets a token besides its
-- id.

-- +migrate Up

-- The worker that leads. A row can only be changed by a role that may change this
-- table, and each schema has its own table: a lock of PostgreSQL that anybody may
-- take has neither property.
CREATE TABLE mass_leader (
    single     boolean     PRIMARY KEY DEFAULT true CONSTRAINT mass_leader_single CHECK (single),
    term       bigint      NOT NULL DEFAULT 0, -- grows with every change of the leader: the fencing token
    worker_id  bigint,                         -- mass_workers.id; no foreign key, because it would lock the worker's row
    token      uuid,                           -- of the worker
    backend    integer,                        -- process of the server that serves the leader; its end ends the lease
    taken_at   timestamptz,
    renewed_at timestamptz                     -- NULL: nobody leads
) WITH (fillfactor = 50);
INSERT INTO mass_leader DEFAULT VALUES;

-- A failover may lose the newest rows. The ids of lost workers are then given out
-- once more, so an id alone does not name a worker.
ALTER TABLE mass_workers ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid();

-- +migrate Down

ALTER TABLE mass_workers DROP COLUMN token;
DROP TABLE mass_leader;
