-- +migrate Up

-- Giving payload its new type in 0007 gave it back the storage of that type: it
-- was compressed after all.
ALTER TABLE mass_requests ALTER COLUMN payload SET STORAGE EXTERNAL;

-- What is short stays in the row. With the target of 0007 a text of more than 24
-- bytes would be compressed in vain, and then stored and fetched beside it.
ALTER TABLE mass_requests
    ALTER COLUMN status SET STORAGE PLAIN,
    ALTER COLUMN priority SET STORAGE PLAIN,
    ALTER COLUMN schema_version SET STORAGE PLAIN,
    ALTER COLUMN correlation_id SET STORAGE PLAIN,
    ALTER COLUMN site_id SET STORAGE PLAIN,
    ALTER COLUMN cluster_id SET STORAGE PLAIN,
    ALTER COLUMN created_by SET STORAGE PLAIN,
    ALTER COLUMN idempotency_key SET STORAGE PLAIN;

-- +migrate Down

ALTER TABLE mass_requests
    ALTER COLUMN payload SET STORAGE EXTENDED,
    ALTER COLUMN status SET STORAGE EXTENDED,
    ALTER COLUMN priority SET STORAGE EXTENDED,
    ALTER COLUMN schema_version SET STORAGE EXTENDED,
    ALTER COLUMN correlation_id SET STORAGE EXTENDED,
    ALTER COLUMN site_id SET STORAGE EXTENDED,
    ALTER COLUMN cluster_id SET STORAGE EXTENDED,
    ALTER COLUMN created_by SET STORAGE EXTENDED,
    ALTER COLUMN idempotency_key SET STORAGE EXTENDED;
