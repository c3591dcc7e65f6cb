-- +migrate Up

-- Most payloads come in normal form. Then a result would repeat its payload in the
-- member "normalized", which is more than all the rest of it: it is left out, and
-- whoever reads the result puts the payload in its place.
ALTER TABLE mass_requests ADD COLUMN normalized_as_submitted boolean NOT NULL DEFAULT false;

-- The whole result, for whoever asks in SQL: SELECT id, mass_result(r) FROM mass_requests r.
CREATE FUNCTION mass_result(r mass_requests) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN r.normalized_as_submitted THEN r.result || jsonb_build_object('normalized', r.payload) ELSE r.result END
$$;

-- What is left of a result stays in the row, which is not written again after its
-- end. Beside it, it would fill gaps in pages that were written long ago, and each
-- of those would go whole into the log.
ALTER TABLE mass_requests SET (toast_tuple_target = 1024);

-- +migrate Down

ALTER TABLE mass_requests SET (toast_tuple_target = 128);
UPDATE mass_requests r SET result = mass_result(r) WHERE normalized_as_submitted;
DROP FUNCTION mass_result(mass_requests);
ALTER TABLE mass_requests DROP COLUMN normalized_as_submitted;
