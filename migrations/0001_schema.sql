-- The schema of MASS, in this order: requests and the workers that process
-- them, what lists look requests up by, idempotency keys, callbacks, users and
-- their credentials, the audit trail.

-- +migrate Up

--
-- Requests
--

-- Batch ids grow with time: the reconciler walks open batches in this order.
CREATE SEQUENCE mass_batches;

CREATE TABLE mass_workers (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host         text        NOT NULL,
    pid          integer     NOT NULL,
    version      text        NOT NULL,
    beat         bigint      NOT NULL DEFAULT 0, -- grows with every heartbeat; watchers compare it and never compare clocks
    started_at   timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Payloads and results are of type json, which keeps them byte for byte: the
-- order of members, the spelling of numbers, white space and escapes.
--
-- What a query could not read is refused: an escape of U+0000 and half of a
-- surrogate pair, of which jsonb knows and json does not. A text without \u has
-- neither, so that only few are parsed a second time. The API refuses names given
-- twice and numbers of more than 400 digits besides (package jobs/payload).
--
-- The rules of a domain are checked when a value is stored. A constraint of the
-- table would read the payload again at every change of its row.
CREATE DOMAIN mass_json AS json
    CONSTRAINT mass_json_readable CHECK (strpos(VALUE::text, '\u') = 0 OR VALUE::jsonb IS NOT NULL);
CREATE DOMAIN mass_payload AS mass_json
    CONSTRAINT mass_payload_object CHECK (json_typeof(VALUE) = 'object');

CREATE TABLE mass_requests (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id        bigint      NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    run_at          timestamptz NOT NULL DEFAULT now(), -- not claimed before
    updated_at      timestamptz NOT NULL DEFAULT now(),
    attempt         integer     NOT NULL DEFAULT 0 CHECK (attempt >= 0), -- only grows: the fencing token
    failures        integer     NOT NULL DEFAULT 0 CHECK (failures >= 0),
    rescues         integer     NOT NULL DEFAULT 0 CHECK (rescues >= 0),
    -- Which of the queues of its priority carries the request. 0 is the queue for
    -- callers within their share; the others are for callers beyond it.
    lane            smallint    NOT NULL DEFAULT 0 CONSTRAINT mass_requests_lane_known CHECK (lane >= 0),
    -- Waiting, without a task, for other requests of its caller to end.
    parked          boolean     NOT NULL DEFAULT false,
    -- Most payloads are sent in normal form. Their result would repeat them in its
    -- member "normalized", which is most of a result: it is left out of the
    -- column, and mass_result puts the payload in its place.
    normalized_as_submitted boolean NOT NULL DEFAULT false,
    -- The statement that stored the request entered it in mass_submissions. For all
    -- other rows, such as rows inserted by hand, a trigger does.
    listed          boolean     NOT NULL DEFAULT false,
    claimed_by      bigint,               -- mass_workers.id while processing
    expires_at      timestamptz,          -- fails if it was not claimed before
    started_at      timestamptz,
    finished_at     timestamptz,
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
    callback_url    text        CONSTRAINT mass_requests_callback_url_short CHECK (octet_length(callback_url) <= 2048),
    error           text,
    faults          jsonb,
    payload         mass_payload NOT NULL,
    result          mass_json,
    CONSTRAINT mass_requests_claimed_while_processing CHECK ((status = 'processing') = (claimed_by IS NOT NULL)),
    CONSTRAINT mass_requests_finished_when_final CHECK ((status IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT mass_requests_done_has_result CHECK (status <> 'done' OR result IS NOT NULL)
)
-- A short result is stored in the row, which is not written again after its end.
-- Out of the row it would fill gaps in old pages, and after a checkpoint each of
-- those pages would be logged as a whole.
WITH (toast_tuple_target = 1024);

-- Long payloads and results are stored out of the row, because each transition
-- writes a new version of the row. They are not compressed: that would take more
-- time than everything else. Short texts are stored in the row and not compressed
-- either.
ALTER TABLE mass_requests
    ALTER COLUMN payload SET STORAGE EXTERNAL,
    ALTER COLUMN result SET STORAGE EXTERNAL,
    ALTER COLUMN status SET STORAGE PLAIN,
    ALTER COLUMN priority SET STORAGE PLAIN,
    ALTER COLUMN schema_version SET STORAGE PLAIN,
    ALTER COLUMN correlation_id SET STORAGE PLAIN,
    ALTER COLUMN site_id SET STORAGE PLAIN,
    ALTER COLUMN cluster_id SET STORAGE PLAIN,
    ALTER COLUMN created_by SET STORAGE PLAIN,
    ALTER COLUMN idempotency_key SET STORAGE PLAIN;

-- Each index costs every transition of the rows that it covers, so all of them are
-- partial. Claims look a batch up, and the reconciler walks open batches by key.
CREATE INDEX mass_requests_open_batch ON mass_requests (batch_id, id) WHERE status = 'pending' AND NOT parked;
-- Claims of parked requests, by caller.
CREATE INDEX mass_requests_parked ON mass_requests (created_by, id) WHERE status = 'pending' AND parked;
-- Rescues, and the heartbeat of a worker, which lists what the worker has claimed.
CREATE INDEX mass_requests_claimed_by ON mass_requests (claimed_by, id) WHERE status = 'processing';
-- The reconciler's search for requests whose time is over.
CREATE INDEX mass_requests_expires ON mass_requests (expires_at) WHERE status = 'pending' AND expires_at IS NOT NULL;
-- Lists of failed and cancelled requests, which are few among millions.
CREATE INDEX mass_requests_ended_badly ON mass_requests (status, created_at, id) WHERE status IN ('failed', 'cancelled');

-- mass_result returns the whole result: SELECT mass_result(r) FROM mass_requests r.
CREATE FUNCTION mass_result(r mass_requests) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN r.normalized_as_submitted
        THEN ('{"normalized":' || r.payload::text || CASE r.result::text WHEN '{}' THEN '}' ELSE ',' || substr(r.result::text, 2) END)::json
        ELSE r.result END
$$;

-- The requests with payload and whole result as jsonb, for queries by member, with
-- operators such as @> and #>>.
CREATE VIEW mass_requests_jsonb AS
SELECT id, batch_id, status, priority, lane, parked, attempt, failures, rescues, claimed_by,
       created_at, run_at, expires_at, started_at, finished_at, updated_at,
       schema_version, correlation_id, site_id, cluster_id, created_by, idempotency_key, callback_url,
       error, faults, payload::jsonb AS payload, mass_result(r)::jsonb AS result
FROM mass_requests r;

--
-- Lists
--

-- What lists look requests up by. It never changes, while every transition writes
-- a new version of the row of mass_requests, with an entry in each index of that
-- table. There is no foreign key, because it would make each submission cost
-- more: triggers keep the two tables together, however a request is changed.
CREATE TABLE mass_submissions (
    request_id   bigint      PRIMARY KEY, -- mass_requests.id
    submitted_at timestamptz NOT NULL,    -- its created_at
    site         text,
    cluster      text
);

ALTER TABLE mass_submissions
    ALTER COLUMN site SET STORAGE PLAIN,
    ALTER COLUMN cluster SET STORAGE PLAIN;

-- Newest first, with keyset pages over (submitted_at, request_id).
CREATE INDEX mass_submissions_submitted ON mass_submissions (submitted_at, request_id);
CREATE INDEX mass_submissions_site ON mass_submissions (site, submitted_at, request_id) WHERE site IS NOT NULL;
CREATE INDEX mass_submissions_cluster ON mass_submissions (cluster, submitted_at, request_id) WHERE cluster IS NOT NULL;

-- +migrate StatementBegin
CREATE FUNCTION mass_submissions_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE TG_OP
    WHEN 'INSERT' THEN
        INSERT INTO mass_submissions (request_id, submitted_at, site, cluster)
        VALUES (NEW.id, NEW.created_at, NEW.site_id, NEW.cluster_id) ON CONFLICT DO NOTHING;
    WHEN 'UPDATE' THEN
        UPDATE mass_submissions SET request_id = NEW.id, submitted_at = NEW.created_at, site = NEW.site_id, cluster = NEW.cluster_id
        WHERE request_id = OLD.id;
    WHEN 'DELETE' THEN
        DELETE FROM mass_submissions WHERE request_id = OLD.id;
    WHEN 'TRUNCATE' THEN
        TRUNCATE mass_submissions;
    END CASE;
    RETURN NULL;
END
$$;
-- +migrate StatementEnd

CREATE TRIGGER mass_submissions_add AFTER INSERT ON mass_requests
    FOR EACH ROW WHEN (NOT NEW.listed) EXECUTE FUNCTION mass_submissions_follow();
CREATE TRIGGER mass_submissions_change AFTER UPDATE OF id, created_at, site_id, cluster_id ON mass_requests
    FOR EACH ROW EXECUTE FUNCTION mass_submissions_follow();
CREATE TRIGGER mass_submissions_remove AFTER DELETE ON mass_requests
    FOR EACH ROW EXECUTE FUNCTION mass_submissions_follow();
CREATE TRIGGER mass_submissions_clear AFTER TRUNCATE ON mass_requests
    FOR EACH STATEMENT EXECUTE FUNCTION mass_submissions_follow();

--
-- Idempotency
--

-- What a caller's key was used for: the digest of the submission, and the answer
-- that was given. A key outlives its request, so that a repeated submission of a
-- deleted request does not create a second one.
CREATE TABLE idempotency_keys (
    caller     text        NOT NULL,
    key        text        NOT NULL,
    digest     bytea       NOT NULL CHECK (octet_length(digest) = 32), -- SHA-256
    request_id bigint      NOT NULL,
    batch_id   bigint      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, key)
);

-- Expired keys are removed oldest first.
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

--
-- Callbacks
--

-- The URLs to notify of the end of a request, and what became of each message.
-- There is no foreign key, because it would make every change of a request cost
-- more: a trigger removes the deliveries of a deleted request.
CREATE TABLE webhook_deliveries (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id   uuid        NOT NULL DEFAULT gen_random_uuid(), -- the header webhook-id
    request_id   bigint      NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    next_at      timestamptz NOT NULL DEFAULT now(), -- of the next attempt; during an attempt, the time at which it counts as lost
    delivered_at timestamptz,
    attempts     integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0), -- only grows: the fencing token
    failures     integer     NOT NULL DEFAULT 0 CHECK (failures >= 0), -- since the last replay
    trying       boolean     NOT NULL DEFAULT false,                   -- the current attempt has not reported its outcome
    last_status  integer,                                              -- of HTTP
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
-- The reconciler's walk over deliveries that are due.
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_at, id) WHERE status = 'pending';

-- This is a trigger and not a part of each statement that ends a request, so that
-- no statement can forget it. The message tells of the request as it ended; a
-- replay of the request does not change what an earlier message says.
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

--
-- Users and their credentials
--

-- Users are disabled and never deleted: the trail names them by id.
CREATE TABLE users (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    last_login_at timestamptz,
    disabled_at   timestamptz,
    generation    integer NOT NULL DEFAULT 1, -- grows when every credential issued to the user must end
    email         text    NOT NULL CONSTRAINT users_email_taken UNIQUE
                  CONSTRAINT users_email_short CHECK (octet_length(email) BETWEEN 3 AND 254),
    role          text    NOT NULL CONSTRAINT users_role_known CHECK (role IN ('viewer', 'operator', 'admin')),
    password_hash text    NOT NULL -- argon2id, with its parameters and its salt
);

-- API keys are for machines. A secret has 200 random bits, so a fast hash hides it.
CREATE TABLE api_keys (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz, -- accurate to a minute
    revoked_at   timestamptz,
    name         text  NOT NULL CONSTRAINT api_keys_name_short CHECK (octet_length(name) BETWEEN 1 AND 400),
    role         text  NOT NULL CONSTRAINT api_keys_role_known CHECK (role IN ('viewer', 'operator', 'admin')),
    created_by   text  NOT NULL,
    secret_hash  bytea NOT NULL CONSTRAINT api_keys_hash_sha256 CHECK (octet_length(secret_hash) = 32)
);

-- A login creates either a chain of refresh tokens, each of which is good once,
-- or the session of a browser. Rotated tokens are kept until their chain
-- expires: a second use of one of them means that it was stolen.
CREATE TABLE refresh_tokens (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    family     bigint NOT NULL, -- id of the first token of the chain
    user_id    bigint NOT NULL REFERENCES users (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now(), -- of a session; accurate to a minute
    rotated_at timestamptz,
    revoked_at timestamptz,
    kind       text  NOT NULL CONSTRAINT refresh_tokens_kind_known CHECK (kind IN ('refresh', 'session')),
    token_hash bytea NOT NULL CONSTRAINT refresh_tokens_hash_taken UNIQUE
               CONSTRAINT refresh_tokens_hash_sha256 CHECK (octet_length(token_hash) = 32)
);

CREATE INDEX refresh_tokens_user ON refresh_tokens (user_id, expires_at);
CREATE INDEX refresh_tokens_family ON refresh_tokens (family);

--
-- The audit trail
--

-- The processes that write the trail, one row for each start. Events refer to
-- their row instead of repeating it. There is no foreign key, because it would
-- lock the row at each event.
CREATE TABLE audit_sources (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    pid          integer     NOT NULL,
    kind         text        NOT NULL, -- the subcommand: api, worker, dev …
    version      text        NOT NULL,
    build_commit text        NOT NULL,
    host         text        NOT NULL
);

-- What happened, written in the statement that made it happen. There is no foreign
-- key: the events of a deleted request stay.
CREATE TABLE audit_events (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at              timestamptz NOT NULL DEFAULT clock_timestamp()
                    CONSTRAINT audit_events_at_finite CHECK (isfinite(at)), -- clients cannot read an infinite time
    request_id      bigint,
    batch_id        bigint,
    attempt         integer,
    action          text NOT NULL,
    actor           text NOT NULL,
    from_status     text,
    to_status       text,
    detail          text,
    -- audit_sources.id. Each connection sets mass.source once (store/source.go), so
    -- that no statement has to name its process.
    source_id       bigint DEFAULT nullif(current_setting('mass.source', true), '')::bigint,
    http_request_id text,
    client          text,  -- address
    schema_version  text,
    biocore_version text,
    input_digest    bytea, -- SHA-256 of the payload
    output_digest   bytea, -- SHA-256 of the column result
    trace_id        bytea, -- 16 bytes
    span_id         bytea  -- 8 bytes
);

CREATE INDEX audit_events_request ON audit_events (request_id, id);

-- Each row seals a range of event ids and the seal before it. docs/audit.md says
-- what the hashes are computed from.
CREATE TABLE audit_seals (
    id            bigint      PRIMARY KEY, -- without gaps: the place in the chain
    first_event   bigint      NOT NULL,    -- the range of ids, including ids that were never used
    last_event    bigint      NOT NULL,
    sealed_at     timestamptz NOT NULL,
    events        integer     NOT NULL,
    version       smallint    NOT NULL,    -- of the encoding
    block_hash    bytea       NOT NULL,
    previous_hash bytea       NOT NULL,
    seal_hash     bytea       NOT NULL,
    marks         bytea       NOT NULL,    -- id and four bytes of the hash of each event, to name the one that changed
    CONSTRAINT audit_seals_range CHECK (id > 0 AND events > 0 AND first_event <= last_event),
    CONSTRAINT audit_seals_hashes
        CHECK (octet_length(block_hash) = 32 AND octet_length(previous_hash) = 32 AND octet_length(seal_hash) = 32)
);
ALTER TABLE audit_seals ALTER COLUMN marks SET STORAGE EXTERNAL; -- hashes do not compress

-- +migrate StatementBegin
CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +migrate StatementEnd

CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();
CREATE TRIGGER audit_sources_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_sources
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();
CREATE TRIGGER audit_seals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();

-- Also in sessions with session_replication_role = replica.
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_append_only;
ALTER TABLE audit_sources ENABLE ALWAYS TRIGGER audit_sources_append_only;
ALTER TABLE audit_seals ENABLE ALWAYS TRIGGER audit_seals_append_only;

-- +migrate Down

DROP TABLE audit_seals, audit_events, audit_sources;
DROP FUNCTION audit_append_only();
DROP TABLE refresh_tokens, api_keys, users;
DROP VIEW mass_requests_jsonb;
DROP FUNCTION mass_result(mass_requests);
DROP TABLE webhook_deliveries, idempotency_keys, mass_submissions, mass_requests, mass_workers;
DROP FUNCTION webhook_deliveries_remove();
DROP FUNCTION webhook_deliveries_add();
DROP FUNCTION mass_submissions_follow();
DROP DOMAIN mass_payload;
DROP DOMAIN mass_json;
DROP SEQUENCE mass_batches;
