-- Each API key has an owner on whose behalf it acts, and may expire. A seal must
-- continue the chain and must not reach beyond the events that exist.

-- +migrate Up

-- A key has at most one owner: a user, or the key that created it. A key without
-- an owner was created on the command line and acts until it is revoked.
ALTER TABLE api_keys
    ADD COLUMN expires_at    timestamptz,
    ADD COLUMN suspended_at  timestamptz, -- when its owner was disabled; another owner ends the suspension
    ADD COLUMN owner_user_id bigint REFERENCES users (id),
    ADD COLUMN owner_key_id  bigint REFERENCES api_keys (id),
    ADD CONSTRAINT api_keys_one_owner CHECK (num_nonnulls(owner_user_id, owner_key_id) <= 1),
    -- A key is younger than the key that owns it, so owners never form a circle.
    ADD CONSTRAINT api_keys_owner_older CHECK (owner_key_id < id);

UPDATE api_keys k SET owner_user_id = u.id FROM users u WHERE k.created_by = 'user:' || u.id;
UPDATE api_keys k SET owner_key_id = o.id FROM api_keys o WHERE k.created_by = 'key:' || o.id AND o.id < k.id;
UPDATE api_keys k SET suspended_at = u.disabled_at FROM users u WHERE k.owner_user_id = u.id AND u.disabled_at IS NOT NULL;

CREATE INDEX api_keys_owner_user ON api_keys (owner_user_id) WHERE owner_user_id IS NOT NULL;
CREATE INDEX api_keys_owner_key ON api_keys (owner_key_id) WHERE owner_key_id IS NOT NULL;

-- audit_seals_continue refuses a seal that does not continue the newest seal, or
-- that covers events which do not exist yet: nothing could be sealed after it. The
-- tables are named with their schema, so that a temporary table of the same name
-- is not read instead.
-- +migrate StatementBegin
CREATE FUNCTION audit_seals_continue() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    newest_id    bigint;
    newest_event bigint;
    newest_hash  bytea;
    drawn        bigint;
BEGIN
    EXECUTE format('SELECT id, last_event, seal_hash FROM %I.%I ORDER BY id DESC LIMIT 1', TG_TABLE_SCHEMA, TG_TABLE_NAME)
        INTO newest_id, newest_event, newest_hash;
    IF NEW.id = newest_id THEN
        RETURN NEW; -- the primary key refuses it: another process was faster
    END IF;
    IF NEW.id IS DISTINCT FROM coalesce(newest_id, 0) + 1 THEN
        RAISE EXCEPTION 'seal % does not follow seal %', NEW.id, coalesce(newest_id, 0) USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.first_event IS DISTINCT FROM coalesce(newest_event, 0) + 1
       OR NEW.previous_hash IS DISTINCT FROM coalesce(newest_hash, decode(repeat('00', 32), 'hex')) THEN
        RAISE EXCEPTION 'seal % does not continue the chain of seals', NEW.id USING ERRCODE = 'check_violation';
    END IF;
    EXECUTE format('SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM %I.audit_events_id_seq', TG_TABLE_SCHEMA) INTO drawn;
    IF NEW.last_event > drawn THEN
        RAISE EXCEPTION 'seal % ends at event %, but the newest event is %', NEW.id, NEW.last_event, drawn USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
-- +migrate StatementEnd

CREATE TRIGGER audit_seals_continue BEFORE INSERT ON audit_seals
    FOR EACH ROW EXECUTE FUNCTION audit_seals_continue();

-- +migrate Down

DROP TRIGGER audit_seals_continue ON audit_seals;
DROP FUNCTION audit_seals_continue();
ALTER TABLE api_keys
    DROP COLUMN owner_key_id,
    DROP COLUMN owner_user_id,
    DROP COLUMN suspended_at,
    DROP COLUMN expires_at;
