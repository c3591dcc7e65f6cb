-- Rollups: what the readings that count add up to, by hour and by day of the clock of
-- their site. They are a cache: each row can be computed from the readings again.

-- +migrate Up

CREATE TABLE rollup_hour (
    site             text             NOT NULL,
    cluster          text             NOT NULL, -- '' for the site as a whole
    start_at         timestamptz      NOT NULL, -- the hour begins on the clock of the site
    readings         bigint           NOT NULL, -- pieces of readings that begin in it
    covered_seconds  double precision NOT NULL, -- that at least one reading covers
    seconds          double precision NOT NULL,
    facility_kwh     double precision NOT NULL,
    it_kwh           double precision NOT NULL,
    cooling_seconds      double precision NOT NULL,
    cooling_kwh          double precision NOT NULL,
    cooling_facility_kwh double precision NOT NULL,
    carbon_seconds       double precision NOT NULL,
    carbon_kg            double precision NOT NULL,
    carbon_facility_kwh  double precision NOT NULL,
    carbon_it_kwh        double precision NOT NULL,
    price_seconds        double precision NOT NULL,
    cost                 double precision NOT NULL,
    price_facility_kwh   double precision NOT NULL,
    inlet_seconds             double precision NOT NULL,
    inlet_below_seconds       double precision NOT NULL,
    inlet_within_seconds      double precision NOT NULL,
    inlet_above_seconds       double precision NOT NULL,
    headroom_seconds          double precision NOT NULL,
    headroom_negative_seconds double precision NOT NULL,
    avg_inlet_seconds       double precision NOT NULL, -- of a mean: the time of the readings with
    avg_inlet_sum           double precision NOT NULL, -- the value, and the sum of value × seconds
    supply_seconds          double precision NOT NULL,
    supply_sum              double precision NOT NULL,
    return_seconds          double precision NOT NULL,
    return_sum              double precision NOT NULL,
    setpoint_seconds        double precision NOT NULL,
    setpoint_sum            double precision NOT NULL,
    cpu_seconds             double precision NOT NULL,
    cpu_sum                 double precision NOT NULL,
    gpu_seconds             double precision NOT NULL,
    gpu_sum                 double precision NOT NULL,
    queue_depth_seconds     double precision NOT NULL,
    queue_depth_sum         double precision NOT NULL,
    tokens_per_watt_seconds double precision NOT NULL,
    tokens_per_watt_sum     double precision NOT NULL,
    it_load_seconds         double precision NOT NULL,
    it_load_sum             double precision NOT NULL,
    inlet_max_c    double precision, -- NULL: no reading has the value
    inlet_max_at   timestamptz,
    headroom_min_k double precision,
    it_max_kw      double precision,
    PRIMARY KEY (site, cluster, start_at)
);

CREATE TABLE rollup_day (LIKE rollup_hour INCLUDING ALL);

-- Times of a site whose rollups must be computed again. What is asked about such a
-- time is answered from the readings.
CREATE TABLE rollup_dirty (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site    text        NOT NULL,
    from_at timestamptz NOT NULL,
    to_at   timestamptz NOT NULL,
    at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT rollup_dirty_range CHECK (from_at < to_at)
);
CREATE INDEX rollup_dirty_site ON rollup_dirty (site, from_at);

-- Readings that a database of the previous version has already.
INSERT INTO rollup_dirty (site, from_at, to_at) SELECT site, min(start_at), max(end_at) FROM readings GROUP BY site;

-- Readings that begin before this time were removed by the retention of readings, and
-- are not made again.
ALTER TABLE readings_position ADD COLUMN kept_from timestamptz;

-- readings_drop removes the partition of the month of an instant. It runs as the
-- owner of the tables, because the roles of the API and the workers may not drop
-- them, and names its schema, as readings_partition does.
-- +migrate StatementBegin
DO $do$
BEGIN
    EXECUTE format($create$
CREATE FUNCTION readings_drop(at timestamptz) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %%I.%%I', %1$L, 'readings_' || to_char(date_trunc('month', at AT TIME ZONE 'UTC'), 'YYYYMM'));
END
$body$ $create$, current_schema());
END
$do$;
-- +migrate StatementEnd

REVOKE ALL ON FUNCTION readings_drop(timestamptz) FROM PUBLIC;

-- +migrate Down

DROP FUNCTION readings_drop(timestamptz);
ALTER TABLE readings_position DROP COLUMN kept_from;
DROP TABLE rollup_dirty, rollup_day, rollup_hour;
