-- Weather and water in readings and rollups. Requests of earlier versions have
-- neither, so what there is stays right.

-- +migrate Up

ALTER TABLE readings
    ADD COLUMN outdoor_dry_bulb_c    double precision,
    ADD COLUMN outdoor_wet_bulb_c    double precision, -- given, or derived
    ADD COLUMN relative_humidity_pct double precision,
    ADD COLUMN pressure_hpa          double precision,
    ADD COLUMN water_l_per_hour      double precision;

ALTER TABLE rollup_hour
    ADD COLUMN water_seconds    double precision NOT NULL DEFAULT 0,
    ADD COLUMN water_l          double precision NOT NULL DEFAULT 0,
    ADD COLUMN water_it_kwh     double precision NOT NULL DEFAULT 0,
    ADD COLUMN dry_bulb_seconds double precision NOT NULL DEFAULT 0,
    ADD COLUMN dry_bulb_sum     double precision NOT NULL DEFAULT 0,
    ADD COLUMN wet_bulb_seconds double precision NOT NULL DEFAULT 0,
    ADD COLUMN wet_bulb_sum     double precision NOT NULL DEFAULT 0;

ALTER TABLE rollup_day
    ADD COLUMN water_seconds    double precision NOT NULL DEFAULT 0,
    ADD COLUMN water_l          double precision NOT NULL DEFAULT 0,
    ADD COLUMN water_it_kwh     double precision NOT NULL DEFAULT 0,
    ADD COLUMN dry_bulb_seconds double precision NOT NULL DEFAULT 0,
    ADD COLUMN dry_bulb_sum     double precision NOT NULL DEFAULT 0,
    ADD COLUMN wet_bulb_seconds double precision NOT NULL DEFAULT 0,
    ADD COLUMN wet_bulb_sum     double precision NOT NULL DEFAULT 0;

-- +migrate Down

ALTER TABLE rollup_day
    DROP COLUMN water_seconds, DROP COLUMN water_l, DROP COLUMN water_it_kwh,
    DROP COLUMN dry_bulb_seconds, DROP COLUMN dry_bulb_sum, DROP COLUMN wet_bulb_seconds, DROP COLUMN wet_bulb_sum;
ALTER TABLE rollup_hour
    DROP COLUMN water_seconds, DROP COLUMN water_l, DROP COLUMN water_it_kwh,
    DROP COLUMN dry_bulb_seconds, DROP COLUMN dry_bulb_sum, DROP COLUMN wet_bulb_seconds, DROP COLUMN wet_bulb_sum;
ALTER TABLE readings
    DROP COLUMN outdoor_dry_bulb_c, DROP COLUMN outdoor_wet_bulb_c, DROP COLUMN relative_humidity_pct,
    DROP COLUMN pressure_hpa, DROP COLUMN water_l_per_hour;
