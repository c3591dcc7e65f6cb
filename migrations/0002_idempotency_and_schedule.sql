-- +migrate Up

-- What a caller's key stands for: the digest of the body, and the answer that
-- was given. It outlives the request, so that a repeated submission of a deleted
-- one makes no second.
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

ALTER TABLE mass_requests ADD COLUMN expires_at timestamptz;

CREATE INDEX mass_requests_expires ON mass_requests (expires_at) WHERE status = 'pending' AND expires_at IS NOT NULL;

-- +migrate Down

DROP INDEX mass_requests_expires;
ALTER TABLE mass_requests DROP COLUMN expires_at;
DROP TABLE idempotency_keys;
