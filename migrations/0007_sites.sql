-- Settings of sites, and dated notes about them.

-- +migrate Up

ALTER TABLE sites
    ADD COLUMN country             text,             -- ISO 3166-1 alpha-2
    ADD COLUMN currency            text,             -- ISO 4217
    ADD COLUMN pue_category        smallint,         -- 1, 2 or 3 of ISO/IEC 30134-2
    ADD COLUMN max_pue             double precision, -- limits of alerts
    ADD COLUMN max_p95_inlet_c     double precision,
    ADD COLUMN min_completeness_pct double precision,
    ADD COLUMN stale_after_seconds integer,
    ADD CONSTRAINT sites_country CHECK (country ~ '^[A-Z]{2}$'),
    ADD CONSTRAINT sites_currency CHECK (currency ~ '^[A-Z]{3}$'),
    ADD CONSTRAINT sites_pue_category CHECK (pue_category BETWEEN 1 AND 3);

-- What happened at a site, and when. A correction is a new version, and the versions
-- before it stay. A note that was withdrawn has a last version that says so.
CREATE TABLE site_notes (
    note_id    bigint      NOT NULL,
    version    integer     NOT NULL,
    site       text        NOT NULL,
    kind       text        NOT NULL,
    from_at    timestamptz NOT NULL,
    to_at      timestamptz,          -- NULL: it lasts
    text       text        NOT NULL,
    withdrawn  boolean     NOT NULL DEFAULT false,
    author     text        NOT NULL, -- of the version
    created_at timestamptz NOT NULL DEFAULT now(), -- of the version
    PRIMARY KEY (note_id, version),
    CONSTRAINT site_notes_kind CHECK (kind IN ('measure', 'maintenance', 'non_routine_event', 'calibration', 'remark')),
    CONSTRAINT site_notes_range CHECK (to_at > from_at)
);
CREATE SEQUENCE site_notes_id OWNED BY site_notes.note_id;
CREATE INDEX site_notes_site ON site_notes (site, from_at);

-- +migrate Down

DROP TABLE site_notes;
ALTER TABLE sites
    DROP COLUMN country, DROP COLUMN currency, DROP COLUMN pue_category, DROP COLUMN max_pue,
    DROP COLUMN max_p95_inlet_c, DROP COLUMN min_completeness_pct, DROP COLUMN stale_after_seconds;
