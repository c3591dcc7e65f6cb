-- +migrate Up

-- What lists look requests up by: it never changes, while a transition writes its
-- row of mass_requests anew, with an entry in each of that table's indexes. Kept
-- there, these three took a quarter of what a transition costs. No foreign key, it
-- would make each submission dearer: triggers keep the two tables together.
CREATE TABLE mass_submissions (
    request_id   bigint      PRIMARY KEY, -- mass_requests.id
    submitted_at timestamptz NOT NULL,    -- its created_at
    site         text,
    cluster      text
);
ALTER TABLE mass_submissions
    ALTER COLUMN site SET STORAGE PLAIN,
    ALTER COLUMN cluster SET STORAGE PLAIN;

-- The statement that takes submissions in enters them here by itself and says so
-- with this column; for any other row a trigger does: for what an API of an older
-- version stores while a newer one takes over, and for what comes by hand.
ALTER TABLE mass_requests ADD COLUMN listed boolean NOT NULL DEFAULT false;

INSERT INTO mass_submissions (request_id, submitted_at, site, cluster)
SELECT id, created_at, site_id, cluster_id FROM mass_requests;

-- Newest first, with keyset pages over (submitted_at, request_id).
CREATE INDEX mass_submissions_submitted ON mass_submissions (submitted_at, request_id);
CREATE INDEX mass_submissions_site ON mass_submissions (site, submitted_at, request_id) WHERE site IS NOT NULL;
CREATE INDEX mass_submissions_cluster ON mass_submissions (cluster, submitted_at, request_id) WHERE cluster IS NOT NULL;
DROP INDEX mass_requests_created;
DROP INDEX mass_requests_site;
DROP INDEX mass_requests_cluster;

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

-- +migrate Down

DROP TRIGGER mass_submissions_clear ON mass_requests;
DROP TRIGGER mass_submissions_remove ON mass_requests;
DROP TRIGGER mass_submissions_change ON mass_requests;
DROP TRIGGER mass_submissions_add ON mass_requests;
DROP FUNCTION mass_submissions_follow();
CREATE INDEX mass_requests_created ON mass_requests (created_at, id);
CREATE INDEX mass_requests_site ON mass_requests (site_id, created_at, id) WHERE site_id IS NOT NULL;
CREATE INDEX mass_requests_cluster ON mass_requests (cluster_id, created_at, id) WHERE cluster_id IS NOT NULL;
ALTER TABLE mass_requests DROP COLUMN listed;
DROP TABLE mass_submissions;
