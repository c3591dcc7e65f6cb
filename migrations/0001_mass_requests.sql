-- +migrate Up

-- Batch ids grow with time: the reconciler walks open batches in this order.
CREATE SEQUENCE mass_batches;

CREATE TABLE mass_workers (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host         text        NOT NULL,
    pid          integer     NOT NULL,
    version      text        NOT NULL,
    beat         bigint      NOT NULL DEFAULT 0, -- grows with every heartbeat; watchers compare it, never clocks
    started_at   timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE TABLE mass_requests (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id        bigint      NOT NULL,
    claimed_by      bigint,               -- mass_workers.id while processing
    created_at      timestamptz NOT NULL DEFAULT now(),
    run_at          timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    attempt         integer     NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    failures        integer     NOT NULL DEFAULT 0 CHECK (failures >= 0),
    rescues         integer     NOT NULL DEFAULT 0 CHECK (rescues >= 0),
    status          text        NOT NULL DEFAULT 'pending'
                    CONSTRAINT mass_requests_status_known
                    CHECK (status IN ('pending', 'processing', 'done', 'failed', 'cancelled')),
    priority        text        NOT NULL DEFAULT 'default'
                    CONSTRAINT mass_requests_priority_known
                    CHECK (priority IN ('high', 'default', 'low')),
    schema_version  text        NOT NULL,
    correlation_id  text,
    site_id         text,
    cluster_id      text,
    created_by      text,
    idempotency_key text,
    error           text,
    faults          jsonb,
    payload         jsonb       NOT NULL CONSTRAINT mass_requests_payload_object CHECK (jsonb_typeof(payload) = 'object'),
    result          jsonb,
    CONSTRAINT mass_requests_claimed_while_processing CHECK ((status = 'processing') = (claimed_by IS NOT NULL)),
    CONSTRAINT mass_requests_finished_when_final CHECK ((status IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT mass_requests_done_has_result CHECK (status <> 'done' OR result IS NOT NULL)
);

-- Claims look a batch up; the reconciler walks open batches by key.
CREATE INDEX mass_requests_open_batch ON mass_requests (batch_id, id) WHERE status = 'pending';
-- Rescue, and each worker's look at what it holds.
CREATE INDEX mass_requests_claimed_by ON mass_requests (claimed_by, id) WHERE status = 'processing';
-- Lists, newest first, with keyset pages over (created_at, id).
CREATE INDEX mass_requests_created ON mass_requests (created_at, id);
-- Nearly every row of a running system is done, and the list of those is the
-- plain one; the others are few and must be found among millions.
CREATE INDEX mass_requests_status ON mass_requests (status, created_at, id) WHERE status <> 'done';
CREATE INDEX mass_requests_site ON mass_requests (site_id, created_at, id) WHERE site_id IS NOT NULL;
CREATE INDEX mass_requests_cluster ON mass_requests (cluster_id, created_at, id) WHERE cluster_id IS NOT NULL;

-- What happened to a request, written in the statement that made it happen.
-- There is no foreign key: the events of a deleted request stay.
CREATE TABLE audit_events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    request_id  bigint,
    batch_id    bigint,
    attempt     integer,
    action      text NOT NULL,
    actor       text NOT NULL,
    from_status text,
    to_status   text,
    detail      text
);

CREATE INDEX audit_events_request ON audit_events (request_id, id);

-- +migrate StatementBegin
CREATE FUNCTION audit_events_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_events is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +migrate StatementEnd

CREATE TRIGGER audit_events_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_append_only();

-- +migrate Down

DROP TABLE audit_events;
DROP FUNCTION audit_events_append_only();
DROP TABLE mass_requests;
DROP TABLE mass_workers;
DROP SEQUENCE mass_batches;
