package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// NewRequest is a request on its way in. It travels in Batch, from DrawBatches; without
// one, requests of one call that bear the same Group travel in a new batch. All of a
// batch must share Priority, Lane and RunAt.
type NewRequest struct {
	Payload       json.RawMessage
	SchemaVersion string
	CorrelationID string
	SiteID        string
	ClusterID     string
	Priority      jobs.Priority
	CreatedBy     string // identity; "" when there is none
	Origin        Origin // for the trail
	Lane          jobs.Lane
	RunAt         time.Time // zero: at once
	ExpiresAt     time.Time // zero: never
	CallbackURL   string    // "" for none
	Batch         int64     // 0: a new one, by Group
	Group         int

	IdempotencyKey string // "" for none; the caller's own (CreatedBy)
	Digest         []byte // with a key: SHA-256 of the submission
}

// Inserted is what Postgres decided about a NewRequest.
type Inserted struct {
	ID        int64
	BatchID   int64
	CreatedAt time.Time
	Replayed  bool // the key was used before, for this same submission: the values are those of then
	Mismatch  bool // the key was used before, for another submission: nothing was stored
}

// IdempotencyTTL is how long a key is remembered. Postgres' clock decides.
const IdempotencyTTL = 24 * time.Hour

// insertStatement takes its ids from the sequences before it inserts, so that the
// answer maps each of them to the place of its item, whatever the order in which
// Postgres inserts rows. The submissions enter the lists and the trail in the same
// statement.
//
// A key is won by inserting it, or by taking an expired one over. Of two
// statements that try the same key the later one waits for the earlier, and then
// loses; keys are taken in order, so that two groups cannot wait for each other.
// Whoever loses stores nothing and is missing in the answer. Without keys there
// is nothing to lose, and a simpler statement, which is the usual one.
//
// The payloads are fetched from their array where they are stored: in item they
// would be copied twice on the way. $19 has an element for each new batch; as a number
// it would have to go through generate_series, of which the planner of a kept plan
// expects a thousand rows.
func insertStatement(keyed bool) string {
	var arrays, names, won, of string
	key, placed := `NULL`, `item`
	if keyed {
		arrays, names, key, placed = `, $21::text[], $22::bytea[]`, `, key, digest`, `key`, `placed`
		won = `, won AS (
    INSERT INTO idempotency_keys AS k (caller, key, digest, request_id, batch_id)
    SELECT DISTINCT ON (created_by, key) coalesce(created_by, ''), key, digest, id, batch_id
    FROM item WHERE key IS NOT NULL ORDER BY created_by, key, ord
    ON CONFLICT (caller, key) DO UPDATE
    SET digest = excluded.digest, request_id = excluded.request_id, batch_id = excluded.batch_id, created_at = now()
    WHERE k.created_at < now() - make_interval(secs => $23)
    RETURNING request_id
), placed AS MATERIALIZED (
    SELECT * FROM item WHERE key IS NULL OR id IN (SELECT request_id FROM won)
)`
	}
	of = ` FROM ` + placed
	return `
WITH batch AS MATERIALIZED (
    SELECT array_agg(nextval('mass_batches')) AS ids FROM unnest($19::int[])
), item AS MATERIALIZED (
    SELECT nextval('mass_requests_id_seq') AS id, coalesce(nullif(batch, 0), (SELECT ids FROM batch)[grp + 1]) AS batch_id, u.*
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[], $9::int[],
                $10::timestamptz[], $11::timestamptz[], $12::text[],
                $13::text[], $14::text[], $15::text[], $16::bytea[], $17::bytea[], $18::bytea[], $20::bigint[]` + arrays + `)
         WITH ORDINALITY AS u(schema_version, correlation_id, site_id, cluster_id, priority, created_by, lane, grp,
                              run_at, expires_at, callback_url,
                              actor, http_request_id, client, trace_id, span_id, input_digest, batch` + names + `, ord)
)` + won + `, stored AS (
    INSERT INTO mass_requests (id, batch_id, payload, schema_version, correlation_id, site_id, cluster_id, priority, lane, created_by,
                               idempotency_key, run_at, expires_at, callback_url, listed)
    OVERRIDING SYSTEM VALUE
    SELECT id, batch_id, ($1::jsonb[])[ord], schema_version, correlation_id, site_id, cluster_id, priority, lane, created_by,
           ` + key + `, coalesce(run_at, now()), expires_at, callback_url, true` + of + `
), list AS (
    INSERT INTO mass_submissions (request_id, submitted_at, site, cluster) SELECT id, now(), site_id, cluster_id` + of + `
), trail AS (
    INSERT INTO audit_events (request_id, batch_id, action, actor, to_status, schema_version,
                              http_request_id, client, trace_id, span_id, input_digest)
    SELECT id, batch_id, 'submit', actor, 'pending', schema_version, http_request_id, client, trace_id, span_id, input_digest` + of + `
)
SELECT ord, id, batch_id, now() AS created_at` + of
}

// InsertRequests stores all items as pending, or none, and returns their ids in
// the same order. ErrInvalid means that Postgres refused one of the payloads.
// Items whose key was used before are not stored again; see Inserted.
func (s *Store) InsertRequests(ctx context.Context, items []NewRequest) ([]Inserted, error) {
	n := len(items)
	var (
		payload                    = make(jsonbArray, n)
		schema, priority           = make(textArray, n), make(textArray, n)
		correlation, site, cluster = make(nullArray, n), make(nullArray, n), make(nullArray, n)
		by, key, callback          = make(nullArray, n), make(nullArray, n), make(nullArray, n)
		lane, group                = make(int32Array, n), make(int32Array, n)
		runAt, expiresAt           = make(timeArray, n), make(timeArray, n)
		digest, input              = make(bytesArray, n), make(bytesArray, n)
		actor, httpID, client      = make(textArray, n), make(nullArray, n), make(nullArray, n)
		trace, span                = make(bytesArray, n), make(bytesArray, n)
		batch                      = make(int64Array, n)
		batches, keyed             = 0, false
	)
	for i, r := range items {
		payload[i], schema[i], correlation[i] = r.Payload, r.SchemaVersion, r.CorrelationID
		site[i], cluster[i] = r.SiteID, r.ClusterID
		priority[i], by[i], lane[i], group[i] = string(r.Priority), r.CreatedBy, int32(r.Lane), int32(r.Group) //nolint:gosec // a group's number is below the number of items
		runAt[i], expiresAt[i], key[i], digest[i] = r.RunAt, r.ExpiresAt, r.IdempotencyKey, r.Digest
		callback[i] = r.CallbackURL
		batch[i], keyed = r.Batch, keyed || r.IdempotencyKey != ""
		if r.Batch == 0 {
			batches = max(batches, r.Group+1)
		}
		actor[i], httpID[i], client[i] = r.Origin.Actor, r.Origin.RequestID, r.Origin.Client
		trace[i], span[i] = unhex(r.Origin.TraceID), unhex(r.Origin.SpanID)
		sum := sha256.Sum256(r.Payload)
		input[i] = sum[:]
	}
	var rows []struct {
		Ord       int       `db:"ord"`
		ID        int64     `db:"id"`
		BatchID   int64     `db:"batch_id"`
		CreatedAt time.Time `db:"created_at"`
	}
	insert, args := s.insert, []any{payload, schema, correlation, site, cluster, priority, by, lane, group,
		runAt, expiresAt, callback, actor, httpID, client, trace, span, input, make(int32Array, batches), batch}
	if keyed {
		insert, args = s.insertKeyed, append(args, key, digest, IdempotencyTTL.Seconds())
	}
	err := insert.selectInto(ctx, &rows, args...)
	if err != nil {
		return nil, wrap("insert requests", err)
	}
	out := make([]Inserted, n)
	for _, r := range rows {
		out[r.Ord-1] = Inserted{ID: r.ID, BatchID: r.BatchID, CreatedAt: r.CreatedAt}
	}
	if len(rows) == n {
		return out, nil
	}
	return out, s.lookUpKeys(ctx, items, out)
}

// DrawBatches returns n new ids of batches, for Batch of NewRequest. They are to be used
// soon: the age of a batch is judged by its id.
func (s *Store) DrawBatches(ctx context.Context, n int) ([]int64, error) {
	var ids []int64
	err := s.db.SelectContext(ctx, &ids, `SELECT nextval('mass_batches') FROM generate_series(1, $1)`, n)
	return ids, wrap("draw ids of batches", err)
}

// lookUpKeys fills in the items that were not stored, from what their keys stand for.
func (s *Store) lookUpKeys(ctx context.Context, items []NewRequest, out []Inserted) error {
	var by, keys pq.StringArray
	for i := range items {
		if out[i].ID == 0 {
			by, keys = append(by, items[i].CreatedBy), append(keys, items[i].IdempotencyKey)
		}
	}
	var rows []struct {
		Caller    string    `db:"caller"`
		Key       string    `db:"key"`
		Digest    []byte    `db:"digest"`
		RequestID int64     `db:"request_id"`
		BatchID   int64     `db:"batch_id"`
		CreatedAt time.Time `db:"created_at"`
	}
	err := s.db.SelectContext(ctx, &rows, `
        SELECT DISTINCT caller, key, digest, request_id, batch_id, created_at
        FROM idempotency_keys JOIN unnest($1::text[], $2::text[]) AS u(caller, key) USING (caller, key)`, by, keys)
	if err != nil {
		return wrap("look up idempotency keys", err)
	}
	type name struct{ caller, key string }
	place := make(map[name]int, len(rows))
	for i, r := range rows {
		place[name{r.Caller, r.Key}] = i
	}
	for i := range items {
		if out[i].ID != 0 {
			continue
		}
		at, ok := place[name{items[i].CreatedBy, items[i].IdempotencyKey}]
		if !ok { // it expired and was removed between the two statements
			return fmt.Errorf("look up idempotency keys: %w: a key is gone", ErrUnavailable)
		}
		r := rows[at]
		if !bytes.Equal(r.Digest, items[i].Digest) {
			out[i].Mismatch = true
			continue
		}
		out[i] = Inserted{ID: r.RequestID, BatchID: r.BatchID, CreatedAt: r.CreatedAt, Replayed: true}
	}
	return nil
}

// RemoveExpiredKeys forgets up to limit idempotency keys that are past their
// time, and returns how many.
func (s *Store) RemoveExpiredKeys(ctx context.Context, limit int) (int64, error) {
	res, err := s.db.ExecContext(ctx, `
        DELETE FROM idempotency_keys WHERE (caller, key) IN (
            SELECT caller, key FROM idempotency_keys
            WHERE created_at < now() - make_interval(secs => $1) ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
		IdempotencyTTL.Seconds(), limit)
	if err != nil {
		return 0, wrap("remove expired idempotency keys", err)
	}
	n, err := res.RowsAffected()
	return n, wrap("remove expired idempotency keys", err)
}

const requestColumns = `id, payload, schema_version, correlation_id, site_id, cluster_id, status, priority, lane, attempt,
    failures, rescues, result, normalized_as_submitted, error, faults, batch_id, created_by, created_at, run_at, expires_at, started_at, finished_at, updated_at,
    callback_url`

type requestRow struct {
	ID            int64          `db:"id"`
	Payload       []byte         `db:"payload"`
	SchemaVersion string         `db:"schema_version"`
	CorrelationID sql.NullString `db:"correlation_id"`
	SiteID        sql.NullString `db:"site_id"`
	ClusterID     sql.NullString `db:"cluster_id"`
	Status        string         `db:"status"`
	Priority      string         `db:"priority"`
	Lane          int16          `db:"lane"`
	Attempt       int            `db:"attempt"`
	Failures      int            `db:"failures"`
	Rescues       int            `db:"rescues"`
	Result        []byte         `db:"result"`
	AsSubmitted   bool           `db:"normalized_as_submitted"`
	Error         sql.NullString `db:"error"`
	Faults        []byte         `db:"faults"`
	BatchID       int64          `db:"batch_id"`
	CreatedBy     sql.NullString `db:"created_by"`
	CreatedAt     time.Time      `db:"created_at"`
	RunAt         time.Time      `db:"run_at"`
	ExpiresAt     sql.NullTime   `db:"expires_at"`
	StartedAt     sql.NullTime   `db:"started_at"`
	FinishedAt    sql.NullTime   `db:"finished_at"`
	UpdatedAt     time.Time      `db:"updated_at"`
	CallbackURL   sql.NullString `db:"callback_url"`
}

func (r *requestRow) request() jobs.Request {
	if r.AsSubmitted {
		r.Result = withNormalized(r.Result, r.Payload)
	}
	return jobs.Request{
		ID: r.ID, Payload: r.Payload, SchemaVersion: r.SchemaVersion, CorrelationID: r.CorrelationID.String,
		SiteID: r.SiteID.String, ClusterID: r.ClusterID.String,
		Status: jobs.Status(r.Status), Priority: jobs.Priority(r.Priority), Lane: jobs.Lane(r.Lane), Attempt: r.Attempt, Failures: r.Failures,
		Rescues: r.Rescues, Result: r.Result, Error: r.Error.String, Faults: r.Faults, BatchID: r.BatchID,
		CreatedBy: r.CreatedBy.String, CreatedAt: r.CreatedAt.UTC(), RunAt: r.RunAt.UTC(), ExpiresAt: utc(r.ExpiresAt),
		StartedAt: utc(r.StartedAt), FinishedAt: utc(r.FinishedAt), UpdatedAt: r.UpdatedAt.UTC(),
		CallbackURL: r.CallbackURL.String,
	}
}

// withNormalized puts the payload where the member "normalized" of a result was left
// out, an object as Postgres writes it; mass_result does the same in SQL.
func withNormalized(result, payload []byte) []byte {
	member := `, "normalized": `
	if len(result) == len(`{}`) {
		member = member[len(`, `):]
	}
	return slices.Concat(result[:len(result)-1], []byte(member), payload, []byte("}"))
}

func utc(t sql.NullTime) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}

// Request returns one request, or ErrNotFound.
func (s *Store) Request(ctx context.Context, id int64) (jobs.Request, error) {
	var row requestRow
	err := s.db.GetContext(ctx, &row, `SELECT `+requestColumns+` FROM mass_requests WHERE id = $1`, id)
	if err != nil {
		return jobs.Request{}, wrap(fmt.Sprintf("read request %d", id), missing(NounRequest, err))
	}
	return row.request(), nil
}

// Filter selects requests for a list. The zero value of a field does not restrict.
type Filter struct {
	Status        jobs.Status
	SiteID        string
	ClusterID     string
	CreatedFrom   time.Time // inclusive
	CreatedBefore time.Time // exclusive
	After         Position  // continue a list behind this row
	Limit         int
}

// Position is the key of a row in the order of lists.
type Position struct {
	CreatedAt time.Time `db:"created_at"`
	ID        int64     `db:"id"`
}

// ListRequests returns up to f.Limit requests, newest first.
func (s *Store) ListRequests(ctx context.Context, f Filter) ([]jobs.Request, error) {
	query, args := listQuery(f)
	var rows []requestRow
	if err := s.db.SelectContext(ctx, &rows, query, args...); err != nil {
		return nil, wrap("list requests", err)
	}
	list := make([]jobs.Request, len(rows))
	for i := range rows {
		list[i] = rows[i].request()
	}
	return list, nil
}

func listQuery(f Filter) (query string, args []any) {
	by := bySubmission
	if f.Status == jobs.StatusFailed || f.Status == jobs.StatusCancelled {
		by = byBadEnd
	}
	where, args := f.conditions(by)
	query = `SELECT ` + requestColumns + ` FROM ` + by.from
	if len(where) > 0 {
		query += ` WHERE ` + strings.Join(where, ` AND `)
	}
	args = append(args, f.Limit)
	return query + by.newestFirst(len(args)), args
}

// A walk is where a list finds requests in its order, newest first.
type walk struct {
	from              string
	createdAt, id     string // the key of the order
	siteID, clusterID string
}

var (
	// bySubmission is the usual one; the row's own columns say the same, without an index.
	bySubmission = walk{
		from:      `mass_submissions JOIN mass_requests ON id = request_id`,
		createdAt: `submitted_at`, id: `request_id`, siteID: `site`, clusterID: `cluster`,
	}
	// byBadEnd is for what ended badly, which has an index in the order of lists.
	byBadEnd = walk{from: `mass_requests`, createdAt: `created_at`, id: `id`, siteID: `site_id`, clusterID: `cluster_id`}
)

// newestFirst ends the statement of a list; the parameter with this number is its limit.
func (w walk) newestFirst(limit int) string {
	return ` ORDER BY ` + w.createdAt + ` DESC, ` + w.id + fmt.Sprintf(` DESC LIMIT $%d`, limit)
}

// The predicates of partial indexes, as the planner has to read them.
const (
	free       = `(status = 'pending' AND NOT held)`
	held       = `(status = 'pending' AND held)`
	pending    = `(` + free + ` OR ` + held + `)` // of two, which it then combines
	open       = `(` + free + ` OR ` + held + ` OR status = 'processing')`
	endedBadly = `status IN ('failed', 'cancelled')`
)

// conditions are what the filter asks of a row, with numbered parameters.
func (f *Filter) conditions(by walk) (where []string, args []any) {
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", fmt.Sprintf("$%d", len(args)), 1)
		}
		where = append(where, condition)
	}
	switch f.Status {
	case "":
	case jobs.StatusFailed, jobs.StatusCancelled:
		add(`status = ?`, string(f.Status))
		where = append(where, endedBadly)
	case jobs.StatusPending: // in so many words: the planner cannot match a parameter with a partial index
		where = append(where, pending)
	case jobs.StatusProcessing:
		where = append(where, `status = 'processing'`)
	default:
		add(`status = ?`, string(f.Status))
	}
	if f.SiteID != "" {
		add(by.siteID+` = ?`, f.SiteID)
	}
	if f.ClusterID != "" {
		add(by.clusterID+` = ?`, f.ClusterID)
	}
	if !f.CreatedFrom.IsZero() {
		add(by.createdAt+` >= ?`, f.CreatedFrom)
	}
	if !f.CreatedBefore.IsZero() {
		add(by.createdAt+` < ?`, f.CreatedBefore)
	}
	if f.After.ID != 0 {
		add(`(`+by.createdAt+`, `+by.id+`) < (?, ?)`, f.After.CreatedAt, f.After.ID)
	}
	return where, args
}

// DeleteRequest removes a request in whatever state it is; its events stay. A
// worker that holds it finds its writes refused. ErrNotFound when it is gone.
func (s *Store) DeleteRequest(ctx context.Context, id int64, by Origin) error {
	var deleted int64
	err := s.db.GetContext(ctx, &deleted, `
        WITH gone AS (
            DELETE FROM mass_requests WHERE id = $1 RETURNING id, batch_id, attempt, status
        )
        INSERT INTO audit_events (request_id, batch_id, attempt, action, from_status, `+originColumns+`)
        SELECT id, batch_id, attempt, 'delete', status, $2, $3, $4, $5::bytea, $6::bytea FROM gone
        RETURNING request_id`, append([]any{id}, by.columns()...)...)
	return wrap(fmt.Sprintf("delete request %d", id), missing(NounRequest, err))
}

// CountPending counts the pending requests, up to limit.
func (s *Store) CountPending(ctx context.Context, limit int) (int, error) {
	var n int
	err := s.db.GetContext(ctx, &n, `
        SELECT count(*) FROM (SELECT FROM (SELECT FROM mass_requests WHERE `+free+`
                              UNION ALL SELECT FROM mass_requests WHERE `+held+`) p LIMIT $1) q`, limit)
	return n, wrap("count pending requests", err)
}
