package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

// RecommendPolicy says for which requests BioCore is asked. The zero value means
// none.
type RecommendPolicy struct {
	MaxAge   time.Duration // age of a window, at the end of its request, beyond which BioCore is not asked
	Patience time.Duration // after the end of a request, how long BioCore may take to answer
}

// On reports whether BioCore is asked at all.
func (p RecommendPolicy) On() bool { return p.MaxAge > 0 }

// addRecommendations makes a row for the present end of each request that is to
// be asked about. Of the windows of one asset only the newest is asked about.
func addRecommendations(ctx context.Context, tx *sqlx.Tx, done []kpi.Reading, p RecommendPolicy) error {
	if !p.On() || len(done) == 0 {
		return nil
	}
	var ids int64Array
	var starts, ends timeArray
	var sites, facilities, clusters, zones textArray
	for i := range done {
		r := &done[i]
		ids, starts, ends = append(ids, r.RequestID), append(starts, r.From), append(ends, r.To)
		sites, facilities = append(sites, r.Site), append(facilities, r.Facility)
		clusters, zones = append(clusters, r.Cluster), append(zones, r.Zone)
	}
	_, err := tx.ExecContext(ctx, `
        WITH ended AS (
            SELECT q.id, q.attempt, q.finished_at, n.site, n.facility, n.cluster, n.zone, n.start_at, n.end_at,
                   row_number() OVER (PARTITION BY n.site, n.facility, n.cluster, n.zone ORDER BY n.start_at DESC, q.id DESC) = 1 AS newest
            FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[])
                 AS n(id, start_at, end_at, site, facility, cluster, zone)
            JOIN mass_requests q ON q.id = n.id AND q.status = 'done'
            WHERE n.end_at > q.finished_at - make_interval(secs => $8)
        )
        INSERT INTO recommendations (request_id, attempt, finished_at, expires_at, start_at, end_at, site, facility, cluster, zone,
                                     state, reason, ended_at)
        SELECT id, attempt, finished_at, finished_at + make_interval(secs => $9), start_at, end_at, site, facility, cluster, zone,
               CASE WHEN newest THEN 'pending' ELSE 'skipped' END, CASE WHEN NOT newest THEN `+reasonOvertaken+` END,
               CASE WHEN NOT newest THEN now() END
        FROM ended ORDER BY id
        ON CONFLICT (request_id, attempt) DO NOTHING`,
		ids, starts, ends, sites, facilities, clusters, zones, p.MaxAge.Seconds(), p.Patience.Seconds())
	return err
}

// The reasons for not asking, as SQL.
const (
	reasonOvertaken = `'a newer window of the same asset has taken its place'`
	reasonGone      = `'the request is no longer there'`
)

// overtaken is true of a pending row r if another one of its asset is pending
// that is newer: of a later window, or of a later end of the same window.
const overtaken = `EXISTS (
    SELECT FROM recommendations n
    WHERE n.state = 'pending' AND n.site = r.site AND n.facility = r.facility AND n.cluster = r.cluster AND n.zone = r.zone
      AND (n.start_at, n.request_id, n.attempt) > (r.start_at, r.request_id, r.attempt))`

// removeRecommendations removes those of requests that a person deleted.
func removeRecommendations(ctx context.Context, tx *sqlx.Tx, deleted map[int64]bool) error {
	var ids int64Array
	for id, gone := range deleted {
		if gone {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM recommendations WHERE request_id = ANY ($1)`, ids)
	return err
}

// SkipRecommendations ends up to limit pending recommendations that nobody needs
// anymore, and returns how many: a newer window of the asset is pending, or the
// request was removed. A try that is under way goes on.
func (s *Store) SkipRecommendations(ctx context.Context, limit int) (skipped int, err error) {
	result, err := s.db.ExecContext(ctx, `
        UPDATE recommendations SET state = 'skipped', trying = false, ended_at = now(), reason = stale.why
        FROM (
            SELECT r.id, CASE WHEN q.id IS NULL THEN `+reasonGone+` ELSE `+reasonOvertaken+` END AS why
            FROM recommendations r LEFT JOIN mass_requests q ON q.id = r.request_id
            WHERE r.state = 'pending' AND (NOT r.trying OR r.next_at <= now()) AND (q.id IS NULL OR `+overtaken+`)
            ORDER BY r.id LIMIT $1 FOR UPDATE OF r SKIP LOCKED
        ) stale WHERE recommendations.id = stale.id`, limit)
	if err != nil {
		return 0, wrap("skip recommendations", err)
	}
	n, err := result.RowsAffected()
	return int(n), wrap("skip recommendations", err)
}

// ExpireRecommendations ends up to limit pending recommendations whose time is
// over as unavailable, and returns how many. A try that is under way goes on.
func (s *Store) ExpireRecommendations(ctx context.Context, limit int) (expired int, err error) {
	var list []jobs.RecommendationRef
	err = s.db.SelectContext(ctx, &list, `
        SELECT id, tries FROM recommendations
        WHERE state = 'pending' AND expires_at <= now() AND (NOT trying OR next_at <= now()) ORDER BY id LIMIT $1`, limit)
	if err != nil {
		return 0, wrap("look for recommendations whose time is over", err)
	}
	for _, ref := range list {
		var rows []settledRecommendation
		err := s.db.SelectContext(ctx, &rows, expireQuery.text, expireQuery.args(queryValues{
			"id": ref.ID, "tries": ref.Tries, "action": string(jobs.Recommend),
		})...)
		if err != nil {
			return expired, wrap(fmt.Sprintf("give up recommendation %d", ref.ID), err)
		}
		expired += len(rows)
	}
	return expired, nil
}

// expireQuery locks the request before it draws the id of an event, as
// settleQuery does.
var expireQuery = nameParameters(`
WITH request AS MATERIALIZED (
    SELECT r.id, r.batch_id FROM mass_requests r
    WHERE r.id = (SELECT request_id FROM recommendations WHERE id = @id::bigint) FOR UPDATE
), settled AS (
    UPDATE recommendations d
    SET state = 'unavailable', trying = false, ended_at = now(),
        reason = 'BioCore did not answer in time' || coalesce('; the last try: ' || reason, '')
    WHERE d.id = @id AND d.tries = @tries::int AND d.state = 'pending' AND d.expires_at <= now() AND (NOT d.trying OR d.next_at <= now())
    RETURNING d.state, d.next_at, d.attempt, d.reason
), trail AS (
    INSERT INTO audit_events (request_id, batch_id, attempt, action, actor, detail)
    SELECT request.id, request.batch_id, settled.attempt, @action::text, 'reconciler', 'unavailable: ' || settled.reason FROM request, settled
)
SELECT state, next_at FROM settled`)

// DueRecommendation is a try that is due, and its position in the walk over all
// due tries.
type DueRecommendation struct {
	jobs.RecommendationRef
	DueAt time.Time `db:"next_at"`
}

// DueRecommendations walks the tries that are due: up to limit of them, after
// the given position, in order. Postgres' clock decides.
func (s *Store) DueRecommendations(ctx context.Context, behind DueRecommendation, limit int) ([]DueRecommendation, error) {
	var list []DueRecommendation
	err := s.db.SelectContext(ctx, &list, `
        SELECT id, tries, next_at FROM recommendations
        WHERE state = 'pending' AND next_at <= now() AND (next_at, id) > ($1, $2)
        ORDER BY next_at, id LIMIT $3`, behind.DueAt, behind.ID, limit)
	return list, wrap("walk due recommendations", err)
}

// ClaimRecommendation begins the try that ref names, and returns what to ask,
// with the number of tries increased by one. A try whose outcome is not written
// within lease counts as lost. ErrNotFound means that the try was begun before,
// or that there is nothing to ask.
func (s *Store) ClaimRecommendation(ctx context.Context, ref jobs.RecommendationRef, lease time.Duration) (jobs.RecommendationTask, error) {
	var row struct {
		RequestID int64  `db:"request_id"`
		Attempt   int    `db:"attempt"`
		Key       string `db:"ask_key"`
		Tries     int    `db:"tries"`
		Failures  int    `db:"failures"`
		Payload   []byte `db:"payload"`
	}
	err := s.db.GetContext(ctx, &row, `
        UPDATE recommendations r SET tries = tries + 1, trying = true, next_at = now() + make_interval(secs => $3)
        FROM mass_requests q
        WHERE r.id = $1 AND r.tries = $2 AND r.state = 'pending' AND r.expires_at > now() AND q.id = r.request_id AND NOT `+overtaken+`
        RETURNING r.request_id, r.attempt, r.ask_key, r.tries, r.failures, q.payload`, ref.ID, ref.Tries, lease.Seconds())
	if err != nil {
		return jobs.RecommendationTask{}, wrap(fmt.Sprintf("claim recommendation %d", ref.ID), notFound(NounRecommendation, err))
	}
	return jobs.RecommendationTask{
		RecommendationRef: jobs.RecommendationRef{ID: ref.ID, Tries: row.Tries}, RequestID: row.RequestID, Attempt: row.Attempt,
		Key: row.Key, Failures: row.Failures, Payload: row.Payload,
	}, nil
}

// settledRecommendation is what a try left.
type settledRecommendation struct {
	State  string    `db:"state"`
	NextAt time.Time `db:"next_at"`
}

// settleQuery locks the request before it draws the id of an event, as every
// statement does that writes an event of a request.
var settleQuery = nameParameters(`
WITH request AS MATERIALIZED (
    SELECT r.id, r.batch_id FROM mass_requests r
    WHERE r.id = (SELECT request_id FROM recommendations WHERE id = @id::bigint) AND @state::text <> 'pending' FOR UPDATE
), settled AS (
    UPDATE recommendations d
    SET state = @state, trying = false, failures = failures + @failed::int, next_at = now() + make_interval(secs => @delay::float8),
        ended_at = CASE WHEN @state <> 'pending' THEN now() END, reason = nullif(@reason::text, ''),
        model_name = nullif(@model_name::text, ''), model_version = nullif(@model_version::text, ''), policy_id = nullif(@policy_id::text, ''),
        latency_ms = nullif(@latency_ms::float8, 0), categories = @categories::text[],
        answer = nullif(@answer::text, '')::json, faults = nullif(@faults::text, '')::jsonb
    WHERE d.id = @id AND d.tries = @tries::int AND d.state = 'pending' AND d.trying
    RETURNING d.state, d.next_at, d.attempt
), trail AS (
    INSERT INTO audit_events (request_id, batch_id, attempt, action, actor, detail, biocore_version, output_digest)
    SELECT request.id, request.batch_id, settled.attempt, @action::text, 'worker:' || @worker::bigint, @detail::text,
           nullif(@model_version::text, ''), sha256(convert_to(nullif(@answer::text, ''), 'UTF8'))
    FROM request, settled
)
SELECT state, next_at FROM settled`)

// SettleRecommendation writes the outcome of a try, and returns the next try,
// whose ID is 0 when there is none. ErrConflict means that the try meanwhile
// counted as lost, or that its outcome was written before. Nothing was written
// in these cases.
func (s *Store) SettleRecommendation(ctx context.Context, worker int64, o *jobs.RecommendationOutcome) (jobs.RecommendationRef, error) {
	act := fmt.Sprintf("settle recommendation %d", o.ID)
	failed := 0
	if o.Failed {
		failed = 1
	}
	var rows []settledRecommendation
	err := s.db.SelectContext(ctx, &rows, settleQuery.text, settleQuery.args(queryValues{
		"id": o.ID, "tries": o.Tries, "state": string(o.State), "failed": failed, "delay": o.Delay.Seconds(), "reason": clipDetail(o.Reason),
		"model_name": o.ModelName, "model_version": o.ModelVersion, "policy_id": o.PolicyID, "latency_ms": float64(o.Latency) / float64(time.Millisecond),
		"categories": textArray(o.Categories), "answer": string(o.Answer), "faults": string(o.Faults),
		"action": string(jobs.Recommend), "worker": worker, "detail": clipDetail(o.Detail()),
	})...)
	switch {
	case err != nil:
		return jobs.RecommendationRef{}, wrap(act, err)
	case len(rows) == 0:
		return jobs.RecommendationRef{}, wrap(act, &ConflictError{Noun: NounRecommendation, Reason: "it is not the try under way"})
	case rows[0].State != string(jobs.RecommendationPending):
		return jobs.RecommendationRef{}, nil
	}
	return jobs.RecommendationRef{ID: o.ID, Tries: o.Tries, At: rows[0].NextAt.UTC()}, nil
}

// Recommendation is what BioCore recommended about one end of a request, or why
// it did not.
type Recommendation struct {
	ID           int64          `db:"id"`
	RequestID    int64          `db:"request_id"`
	Attempt      int            `db:"attempt"`
	State        string         `db:"state"`
	Reason       sql.NullString `db:"reason"`
	Site         string         `db:"site"`
	Facility     string         `db:"facility"`
	Cluster      string         `db:"cluster"`
	Zone         string         `db:"zone"`
	Start        time.Time      `db:"start_at"`
	End          time.Time      `db:"end_at"`
	FinishedAt   time.Time      `db:"finished_at"`
	EndedAt      *time.Time     `db:"ended_at"`
	Tries        int            `db:"tries"`
	LatencyMS    *float64       `db:"latency_ms"`
	ModelName    sql.NullString `db:"model_name"`
	ModelVersion sql.NullString `db:"model_version"`
	PolicyID     sql.NullString `db:"policy_id"`
	Faults       []byte         `db:"faults"`
	Answer       []byte         `db:"answer"`

	Opinions []Opinion `db:"-"` // oldest first
}

const recommendationColumns = `id, request_id, attempt, state, reason, site, facility, cluster, zone, start_at, end_at, finished_at, ended_at, tries,
    latency_ms, model_name, model_version, policy_id, faults, answer`

// Opinion says whether a person agrees with a recommendation.
type Opinion struct {
	ID             int64     `db:"id"`
	Recommendation int64     `db:"recommendation_id"`
	RecID          string    `db:"rec_id"` // of one recommendation of the answer; "" for all of it
	At             time.Time `db:"at"`
	Actor          string    `db:"actor"`
	Agrees         bool      `db:"agrees"`
	Reason         string    `db:"reason"`
}

const opinionColumns = `id, recommendation_id, rec_id, at, actor, agrees, reason`

// RequestRecommendations returns the newest recommendations of a request, newest
// first, up to limit. ErrNotFound means that there is no such request.
func (s *Store) RequestRecommendations(ctx context.Context, request int64, limit int) ([]Recommendation, error) {
	const act = "read the recommendations of a request"
	var there bool
	if err := s.db.GetContext(ctx, &there, `SELECT true FROM mass_requests WHERE id = $1`, request); err != nil {
		return nil, wrap(act, notFound(NounRequest, err))
	}
	var list []Recommendation
	err := s.db.SelectContext(ctx, &list,
		`SELECT `+recommendationColumns+` FROM recommendations WHERE request_id = $1 ORDER BY attempt DESC LIMIT $2`, request, limit)
	if err == nil {
		err = s.addOpinions(ctx, list)
	}
	return list, wrap(act, err)
}

// RecommendationFilter says which recommendations of a site are listed. An empty
// member does not limit them.
type RecommendationFilter struct {
	ReadingScope
	State    jobs.RecommendationState
	Category string
}

// Recommendations lists up to limit recommendations whose window begins in a
// time, newest window first, behind a key; the zero key is the beginning.
func (s *Store) Recommendations(ctx context.Context, f RecommendationFilter, r kpi.Range, behind ReadingKey, limit int) ([]Recommendation, error) {
	var list []Recommendation
	err := s.db.SelectContext(ctx, &list, `
        SELECT `+recommendationColumns+` FROM recommendations
        WHERE site = $1 AND start_at >= $2 AND start_at < $3 AND $4 IN ('', cluster) AND $5 IN ('', state)
          AND ($6 = '' OR $6 = ANY (categories)) AND ($8 = 0 OR (start_at, id) < ($7, $8))
        ORDER BY start_at DESC, id DESC LIMIT $9`,
		f.Site, r.From, r.To, f.Cluster, string(f.State), f.Category, behind.Start, behind.Request, limit)
	if err == nil {
		err = s.addOpinions(ctx, list)
	}
	return list, wrap("list recommendations", err)
}

// maxOpinions bounds the opinions that are shown of all recommendations of one
// answer.
const maxOpinions = 2000

func (s *Store) addOpinions(ctx context.Context, list []Recommendation) error {
	at := map[int64]int{}
	var ids pq.Int64Array
	for i := range list {
		at[list[i].ID] = i
		ids = append(ids, list[i].ID)
	}
	if len(ids) == 0 {
		return nil
	}
	var opinions []Opinion
	err := s.db.SelectContext(ctx, &opinions, `
        SELECT `+opinionColumns+` FROM recommendation_opinions WHERE recommendation_id = ANY ($1) ORDER BY id LIMIT $2`, ids, maxOpinions)
	for _, o := range opinions {
		i := at[o.Recommendation]
		list[i].Opinions = append(list[i].Opinions, o)
	}
	return err
}

// AddOpinion stores what a person thinks of a recommendation that is available.
// ErrNotFound means that there is no such recommendation, or that its answer
// has none with that rec_id; ErrConflict means that it is not available.
func (s *Store) AddOpinion(ctx context.Context, o Opinion, by Origin) (added Opinion, err error) {
	err = s.transact(ctx, "add an opinion", func(tx *sqlx.Tx) error {
		var about struct {
			RequestID int64  `db:"request_id"`
			Attempt   int    `db:"attempt"`
			State     string `db:"state"`
			Known     bool   `db:"known"`
		}
		err := tx.GetContext(ctx, &about, `
            SELECT request_id, attempt, state, $2 = '' OR coalesce(
                   (SELECT bool_or(e ->> 'rec_id' = $2) FROM json_array_elements(answer #> '{response,recommendations}') e), false) AS known
            FROM recommendations WHERE id = $1 FOR SHARE`, o.Recommendation, o.RecID)
		switch {
		case err != nil:
			return notFound(NounRecommendation, err)
		case about.State != string(jobs.RecommendationAvailable):
			return &ConflictError{Noun: NounRecommendation, Reason: "BioCore's recommendation is " + about.State + ", so there is nothing to agree or disagree with"}
		case !about.Known:
			return &NotFoundError{Noun: NounRecommendation}
		}
		err = tx.GetContext(ctx, &added, `
            INSERT INTO recommendation_opinions (recommendation_id, rec_id, actor, agrees, reason) VALUES ($1, $2, $3, $4, $5)
            RETURNING `+opinionColumns, o.Recommendation, o.RecID, by.Actor, o.Agrees, o.Reason)
		if err != nil {
			return err
		}
		// The lock keeps the ids of the events of a request in the order of their commits.
		var batch int64
		err = tx.GetContext(ctx, &batch, `SELECT batch_id FROM mass_requests WHERE id = $1 FOR UPDATE`, about.RequestID)
		event := newEvent{Request: about.RequestID, Batch: batch, Attempt: about.Attempt, Action: string(jobs.Opine), Detail: o.detail(), Origin: by}
		if errors.Is(err, sql.ErrNoRows) { // retention removed the request
			event.Request, event.Batch, event.Attempt, err = 0, 0, 0, nil
			event.Detail = fmt.Sprintf("MassRequest %d: %s", about.RequestID, event.Detail)
		}
		if err != nil {
			return err
		}
		return writeEvent(ctx, tx, event)
	})
	return added, err
}

// detail says in the trail what the person thinks.
func (o *Opinion) detail() string {
	text := fmt.Sprintf("recommendation %d", o.Recommendation)
	if o.RecID != "" {
		text += ", " + o.RecID
	}
	if o.Agrees {
		text += ": agrees"
	} else {
		text += ": disagrees"
	}
	if o.Reason != "" {
		text += ", " + o.Reason
	}
	return text
}
