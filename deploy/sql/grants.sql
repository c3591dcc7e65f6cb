-- Roles and grants of a deployment. Run it as a superuser, or as a role that may create roles and owns the database,
-- in the database of MASS: once before the first `mass migrate up`, and again after each. It may be run at any time.
--
--   mass_owner  owns the tables: `mass migrate` runs as a login that is a member of it, and nothing else does
--   mass_app    what `mass api` and `mass worker` run as: it cannot change or remove rows of the audit trail,
--               nor drop, disable or own the triggers that keep the trail append-only
--   mass_sealer adds seals to the trail: the workers are members of it, the API is not
--   mass_audit  reads the trail and records its exports, for `mass audit`
--
-- None of them can log in. Give each program a login of its own, with a password or a certificate:
--
--   CREATE ROLE mass_migrate LOGIN PASSWORD '…' IN ROLE mass_owner;   ALTER ROLE mass_migrate SET role = 'mass_owner';
--   CREATE ROLE mass_api     LOGIN PASSWORD '…' IN ROLE mass_app;
--   CREATE ROLE mass_worker  LOGIN PASSWORD '…' IN ROLE mass_app, mass_sealer;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['mass_owner', 'mass_app', 'mass_sealer', 'mass_audit'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', name);
        END IF;
    END LOOP;
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC, mass_app, mass_sealer, mass_audit;
GRANT USAGE, CREATE ON SCHEMA public TO mass_owner;
GRANT USAGE ON SCHEMA public TO mass_app, mass_sealer, mass_audit;

-- Grant everything first and then revoke what mass_app must not do: a table that a
-- later migration adds needs no line of its own here.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO mass_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO mass_app;
REVOKE TRUNCATE, REFERENCES, TRIGGER ON ALL TABLES IN SCHEMA public FROM PUBLIC, mass_app, mass_sealer, mass_audit;

DO $$
DECLARE
    name    text;
    columns text;
BEGIN
    FOREACH name IN ARRAY ARRAY['audit_events', 'audit_sources', 'audit_seals'] LOOP
        CONTINUE WHEN to_regclass('public.' || name) IS NULL;
        EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, mass_app, mass_sealer, mass_audit', name);
        EXECUTE format('GRANT SELECT ON public.%I TO mass_app, mass_sealer, mass_audit', name);
        -- The database alone sets the id and the time of an event.
        SELECT string_agg(quote_ident(attname), ', ') INTO columns FROM pg_attribute
        WHERE attrelid = to_regclass('public.' || name) AND attnum > 0 AND NOT attisdropped
          AND (name = 'audit_seals' OR attname NOT IN ('id', 'at', 'started_at'));
        -- Only the sealer adds seals: one wrong seal breaks the chain for good.
        EXECUTE format('GRANT INSERT (%s) ON public.%I TO %I', columns, name,
                       CASE name WHEN 'audit_seals' THEN 'mass_sealer' ELSE 'mass_app' END);
        IF name = 'audit_events' THEN
            EXECUTE format('GRANT INSERT (%s) ON public.%I TO mass_audit', columns, name);
            -- The latest id may be read, but not changed.
            REVOKE ALL ON SEQUENCE public.audit_events_id_seq FROM PUBLIC, mass_app, mass_sealer, mass_audit;
            GRANT SELECT ON SEQUENCE public.audit_events_id_seq TO mass_app, mass_sealer;
        END IF;
    END LOOP;
    -- Opinions are added, and removed only together with what they are about.
    IF to_regclass('public.recommendation_opinions') IS NOT NULL THEN
        REVOKE UPDATE, DELETE ON public.recommendation_opinions FROM mass_app;
    END IF;
    -- Months of readings, which are made and removed by functions of the owner.
    FOREACH name IN ARRAY ARRAY['readings_partition(timestamptz)', 'readings_drop(timestamptz)'] LOOP
        CONTINUE WHEN to_regprocedure('public.' || name) IS NULL;
        EXECUTE format('REVOKE ALL ON FUNCTION public.%s FROM PUBLIC, mass_sealer, mass_audit', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION public.%s TO mass_app', name);
    END LOOP;
    IF to_regclass('public.mass_migrations') IS NOT NULL THEN
        REVOKE ALL ON public.mass_migrations FROM PUBLIC, mass_app;
        GRANT SELECT ON public.mass_migrations TO mass_app;
    END IF;
END
$$;
