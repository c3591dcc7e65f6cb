-- +migrate Up

-- The processes that write the trail, one row a start. Events name their row
-- instead of repeating it. No foreign key: it would lock the row at each event.
CREATE TABLE audit_sources (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    pid          integer     NOT NULL,
    kind         text        NOT NULL, -- the subcommand: api, worker, dev …
    version      text        NOT NULL,
    build_commit text        NOT NULL,
    host         text        NOT NULL
);

ALTER TABLE audit_events
    ADD COLUMN source_id       bigint, -- audit_sources.id
    ADD COLUMN http_request_id text,
    ADD COLUMN client          text,   -- address
    ADD COLUMN schema_version  text,
    ADD COLUMN biocore_version text,
    ADD COLUMN input_digest    bytea,  -- SHA-256 of convert_to(payload::text, 'UTF8')
    ADD COLUMN output_digest   bytea,  -- SHA-256 of convert_to(result::text, 'UTF8')
    ADD COLUMN trace_id        bytea,  -- 16 bytes
    ADD COLUMN span_id         bytea;  -- 8 bytes

-- An event at infinity would be readable for nobody. NOT VALID spares a walk
-- over the table: the times that stand there come from clock_timestamp().
ALTER TABLE audit_events ADD CONSTRAINT audit_events_at_finite CHECK (isfinite(at)) NOT VALID;

-- Also in sessions that take themselves for a replica.
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_append_only;

-- Each row seals a range of event ids and the seal before it. What the hashes
-- are made of stands in docs/audit.md.
CREATE TABLE audit_seals (
    id            bigint      PRIMARY KEY, -- without gaps: the place in the chain
    first_event   bigint      NOT NULL,    -- the range, also where ids in it are not used
    last_event    bigint      NOT NULL,
    sealed_at     timestamptz NOT NULL,
    events        integer     NOT NULL,
    version       smallint    NOT NULL,    -- of the encoding
    block_hash    bytea       NOT NULL,
    previous_hash bytea       NOT NULL,
    seal_hash     bytea       NOT NULL,
    marks         bytea       NOT NULL,    -- id and a bit of the hash of each event, to name the one that changed
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

CREATE TRIGGER audit_seals_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();
ALTER TABLE audit_seals ENABLE ALWAYS TRIGGER audit_seals_append_only;

CREATE TRIGGER audit_sources_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_sources
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();
ALTER TABLE audit_sources ENABLE ALWAYS TRIGGER audit_sources_append_only;

-- +migrate Down

DROP TABLE audit_seals;
DROP TABLE audit_sources;
DROP FUNCTION audit_append_only();
ALTER TABLE audit_events ENABLE TRIGGER audit_events_append_only;
ALTER TABLE audit_events
    DROP CONSTRAINT audit_events_at_finite,
    DROP COLUMN source_id, DROP COLUMN http_request_id, DROP COLUMN client, DROP COLUMN schema_version,
    DROP COLUMN biocore_version, DROP COLUMN input_digest, DROP COLUMN output_digest, DROP COLUMN trace_id, DROP COLUMN span_id;
