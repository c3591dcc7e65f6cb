-- What BioCore recommended about the requests that ended done, and what people
-- think of it. The rows outlive the retention of requests, as readings do.

-- +migrate Up

CREATE TABLE recommendations (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id  bigint      NOT NULL, -- mass_requests.id
    attempt     integer     NOT NULL, -- of the request: each end asks again
    ask_key     uuid        NOT NULL DEFAULT gen_random_uuid(), -- the Idempotency-Key
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz NOT NULL, -- when the request ended
    expires_at  timestamptz NOT NULL, -- BioCore is not asked later
    next_at     timestamptz NOT NULL DEFAULT now(), -- of the next try; during a try, the time at which it counts as lost
    ended_at    timestamptz,
    start_at    timestamptz NOT NULL, -- the window of the request
    end_at      timestamptz NOT NULL,
    tries       integer     NOT NULL DEFAULT 0 CHECK (tries >= 0),    -- only grows: the fencing token
    failures    integer     NOT NULL DEFAULT 0 CHECK (failures >= 0), -- tries that called BioCore in vain
    trying      boolean     NOT NULL DEFAULT false,                   -- the current try has not reported its outcome
    latency_ms  double precision, -- of the call that was answered
    state       text        NOT NULL DEFAULT 'pending'
                CONSTRAINT recommendations_state_known CHECK (state IN ('pending', 'available', 'refused', 'unavailable', 'skipped')),
    reason      text, -- why there is no recommendation, or not yet
    site        text        NOT NULL,
    facility    text        NOT NULL, -- '' where the payload names none
    cluster     text        NOT NULL,
    zone        text        NOT NULL,
    model_name    text,
    model_version text,
    policy_id     text,
    categories  text[]      NOT NULL DEFAULT '{}', -- of an available answer
    faults      jsonb,     -- of a refused answer
    answer      mass_json, -- an available answer, byte for byte
    CONSTRAINT recommendations_one_per_end UNIQUE (request_id, attempt),
    CONSTRAINT recommendations_ended_at CHECK ((state = 'pending') = (ended_at IS NULL)),
    CONSTRAINT recommendations_shown_when_available CHECK ((state = 'available') = (answer IS NOT NULL)),
    CONSTRAINT recommendations_faults_when_refused CHECK ((state = 'refused') = (faults IS NOT NULL))
);

-- Lists of a site, newest window first.
CREATE INDEX recommendations_site ON recommendations (site, start_at, id);
-- The leader's walk over what is due.
CREATE INDEX recommendations_due ON recommendations (next_at, id) WHERE state = 'pending';
-- The newest one of an asset that is pending.
CREATE INDEX recommendations_asset ON recommendations (site, facility, cluster, zone, start_at, request_id, attempt) WHERE state = 'pending';

-- Opinions are added and never changed.
CREATE TABLE recommendation_opinions (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recommendation_id bigint      NOT NULL REFERENCES recommendations (id) ON DELETE CASCADE,
    rec_id            text        NOT NULL, -- of one recommendation of the answer; '' for all of it
    at                timestamptz NOT NULL DEFAULT now(),
    actor             text        NOT NULL,
    agrees            boolean     NOT NULL,
    reason            text        NOT NULL,
    CONSTRAINT recommendation_opinions_reason CHECK (agrees OR reason <> ''),
    CONSTRAINT recommendation_opinions_short CHECK (octet_length(reason) <= 8000 AND octet_length(rec_id) <= 800)
);
CREATE INDEX recommendation_opinions_of ON recommendation_opinions (recommendation_id, id);

-- +migrate StatementBegin
CREATE FUNCTION recommendation_opinions_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'opinions are append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +migrate StatementEnd

CREATE TRIGGER recommendation_opinions_keep BEFORE UPDATE ON recommendation_opinions
    FOR EACH ROW EXECUTE FUNCTION recommendation_opinions_keep();

-- What a worker last found out about BioCore; NULL: it does not ask BioCore.
ALTER TABLE mass_workers
    ADD COLUMN biocore_state   text,  -- of the circuit breaker
    ADD COLUMN biocore_problem text;  -- '' for none

-- +migrate Down

ALTER TABLE mass_workers DROP COLUMN biocore_problem, DROP COLUMN biocore_state;
DROP TABLE recommendation_opinions;
DROP FUNCTION recommendation_opinions_keep();
DROP TABLE recommendations;
