-- Readings: what the signals requests that ended done say about sites. They are a
-- projection of the requests that follows the audit trail.

-- +migrate Up

CREATE TABLE sites (
    site_id       text        PRIMARY KEY,
    zone          text        NOT NULL DEFAULT 'UTC', -- IANA time zone
    zone_assumed  boolean     NOT NULL DEFAULT true,  -- nobody has said so yet
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    -- The longest window of its readings. It bounds where a reading that overlaps a
    -- time can begin, which the index on the beginnings alone cannot.
    longest       interval    NOT NULL DEFAULT '0'
);

CREATE TABLE readings (
    request_id  bigint      NOT NULL, -- mass_requests.id; readings outlive the retention of requests
    start_at    timestamptz NOT NULL,
    end_at      timestamptz NOT NULL,
    accepted_at timestamptz NOT NULL,
    asset_state text        NOT NULL DEFAULT 'counts', -- for its asset
    site_state  text        NOT NULL DEFAULT 'counts', -- for its site
    warnings    integer     NOT NULL,
    site        text        NOT NULL,
    facility    text        NOT NULL, -- '' where the payload names none
    cluster     text        NOT NULL,
    zone        text        NOT NULL,
    it_load_kw                    double precision NOT NULL,
    facility_power_kw             double precision NOT NULL,
    ups_efficiency_pct            double precision,
    pue_current                   double precision,
    carbon_intensity_gco2_per_kwh double precision,
    energy_price_usd_per_kwh      double precision,
    avg_rack_inlet_c              double precision,
    p95_rack_inlet_c              double precision,
    hotspot_rack_count            double precision,
    supply_temp_c                 double precision,
    return_temp_c                 double precision,
    cooling_setpoint_c            double precision,
    chiller_kw                    double precision,
    fan_power_kw                  double precision,
    cooling_valve_position_pct    double precision,
    cpu_util_avg                  double precision,
    gpu_util_avg                  double precision,
    queue_depth                   double precision,
    tokens_per_watt_est           double precision,
    max_rack_inlet_p95_c          double precision,
    PRIMARY KEY (request_id, start_at),
    CONSTRAINT readings_window CHECK (start_at < end_at)
) PARTITION BY RANGE (start_at);

-- A window may be sent again any number of times. Only its newest reading takes
-- part in decisions and figures.
CREATE INDEX readings_site ON readings (site, start_at) WHERE asset_state <> 'replaced';
CREATE INDEX readings_windows ON readings (site, start_at);

-- The time for which a reading counts that counts in part.
CREATE TABLE reading_parts (
    request_id bigint      NOT NULL,
    start_at   timestamptz NOT NULL, -- of the reading
    for_site   boolean     NOT NULL, -- for its site; otherwise for its asset
    from_at    timestamptz NOT NULL,
    to_at      timestamptz NOT NULL,
    PRIMARY KEY (request_id, for_site, from_at),
    CONSTRAINT reading_parts_range CHECK (from_at < to_at)
);

-- How far the projection has followed the trail.
CREATE TABLE readings_position (
    single   boolean     PRIMARY KEY DEFAULT true CONSTRAINT readings_position_single CHECK (single),
    event_id bigint      NOT NULL DEFAULT 0, -- audit_events.id
    moved_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO readings_position DEFAULT VALUES;

-- readings_partition creates the partition of the month of an instant unless it
-- exists. It runs as the owner of the tables, because the roles of the API and
-- the workers may not create tables. Every name has its schema, so that nothing
-- in another schema can take the place of what is meant. The partition is made
-- apart and then attached, which does not stop those who read and write others.
-- +migrate StatementBegin
DO $do$
BEGIN
    EXECUTE format($create$
CREATE FUNCTION readings_partition(at timestamptz) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    month timestamp := date_trunc('month', at AT TIME ZONE 'UTC');
    name  text      := format('%%I.%%I', %1$L, 'readings_' || to_char(month, 'YYYYMM'));
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE 'CREATE TABLE ' || name || ' (LIKE %1$I.readings INCLUDING DEFAULTS INCLUDING CONSTRAINTS)';
    EXECUTE format('ALTER TABLE %1$I.readings ATTACH PARTITION ' || name || ' FOR VALUES FROM (%%L) TO (%%L)',
                   month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
END
$body$ $create$, current_schema());
END
$do$;
-- +migrate StatementEnd

-- deploy/sql/grants.sql gives it to the roles of the API and the workers.
REVOKE ALL ON FUNCTION readings_partition(timestamptz) FROM PUBLIC;

-- +migrate Down

DROP FUNCTION readings_partition(timestamptz);
DROP TABLE readings_position, reading_parts, readings, sites;
