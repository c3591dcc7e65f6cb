-- +migrate Up

ALTER TABLE mass_requests ADD COLUMN callback_url text
    CONSTRAINT mass_requests_callback_url_short CHECK (octet_length(callback_url) <= 2048);

-- Who is to be told of the end of a request, and what became of it. There is no
-- foreign key: it would make every UPDATE and DELETE of mass_requests dearer. A
-- trigger removes the deliveries of a request that is deleted.
CREATE TABLE webhook_deliveries (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id   uuid        NOT NULL DEFAULT gen_random_uuid(), -- the header webhook-id
    request_id   bigint      NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    next_at      timestamptz NOT NULL DEFAULT now(), -- of the next try; while one is under way, when it counts as lost
    delivered_at timestamptz,
    attempts     integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0), -- only grows: the fencing token
    failures     integer     NOT NULL DEFAULT 0 CHECK (failures >= 0), -- since the last replay
    trying       boolean     NOT NULL DEFAULT false, -- the current attempt has not said how it ended
    last_status  integer,                            -- of HTTP
    status       text        NOT NULL DEFAULT 'pending'
                 CONSTRAINT webhook_deliveries_status_known CHECK (status IN ('pending', 'delivered', 'dead')),
    event        text        NOT NULL,
    url          text        NOT NULL,
    last_error   text,
    data         jsonb       NOT NULL,
    CONSTRAINT webhook_deliveries_delivered_at CHECK ((status = 'delivered') = (delivered_at IS NOT NULL))
);

-- The deliveries of a request, newest first.
CREATE INDEX webhook_deliveries_request ON webhook_deliveries (request_id, id);
-- The reconciler's walk over what is due.
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_at, id) WHERE status = 'pending';

-- A trigger instead of a part of each statement, so that none can forget it: not
-- one that is written later, nor a process of an older version that settles a
-- request while a newer one takes them. The data is the request as it ended; a
-- replay does not change what was said of an earlier end.
-- +migrate StatementBegin
CREATE FUNCTION webhook_deliveries_add() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhook_deliveries (request_id, url, event, data)
    VALUES (NEW.id, NEW.callback_url, 'mass_request.' || NEW.status, jsonb_build_object(
        'id', NEW.id, 'status', NEW.status, 'attempt', NEW.attempt, 'failures', NEW.failures,
        'error', left(NEW.error, 2000),
        'faults', CASE WHEN octet_length(NEW.faults::text) <= 16384 THEN NEW.faults END,
        'schema_version', NEW.schema_version, 'correlation_id', left(NEW.correlation_id, 200),
        'site_id', left(NEW.site_id, 200), 'cluster_id', left(NEW.cluster_id, 200),
        'created_at', to_char(NEW.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'finished_at', to_char(NEW.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')));
    RETURN NULL;
END
$$;
-- +migrate StatementEnd

CREATE TRIGGER webhook_deliveries_add AFTER UPDATE OF status ON mass_requests FOR EACH ROW
    WHEN (NEW.callback_url IS NOT NULL AND NEW.status <> OLD.status AND NEW.status IN ('done', 'failed', 'cancelled'))
    EXECUTE FUNCTION webhook_deliveries_add();

-- +migrate StatementBegin
CREATE FUNCTION webhook_deliveries_remove() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM webhook_deliveries WHERE request_id = OLD.id;
    RETURN NULL;
END
$$;
-- +migrate StatementEnd

CREATE TRIGGER webhook_deliveries_remove AFTER DELETE ON mass_requests FOR EACH ROW
    WHEN (OLD.callback_url IS NOT NULL)
    EXECUTE FUNCTION webhook_deliveries_remove();

-- +migrate Down
DROP TRIGGER webhook_deliveries_remove ON mass_requests;
DROP FUNCTION webhook_deliveries_remove();
DROP TRIGGER webhook_deliveries_add ON mass_requests;
DROP FUNCTION webhook_deliveries_add();
DROP TABLE webhook_deliveries;
ALTER TABLE mass_requests DROP COLUMN callback_url;
