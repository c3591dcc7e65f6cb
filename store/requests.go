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

// The predicates of the partial indexes of mass_requests, in the words of the
// indexes: the planner matches a statement with an index by its text, and
// cannot match a parameter.
const (
	isReady      = `(status = 'pending' AND NOT parked)`
	isParked     = `(status = 'pending' AND parked)`
	isPending    = `(` + isReady + ` OR ` + isParked + `)` // the planner combines the two indexes
	isOpen       = `(` + isReady + ` OR ` + isParked + ` OR status = 'processing')`
	isEndedBadly = `status IN ('failed', 'cancelled')`
)

// NewRequest is a request to be inserted. The requests of one call that have
// the same Group belong to one new batch. They must share Priority, Lane and
// RunAt.
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
	Group         int       // number of the new batch, from 0

	IdempotencyKey string // "" for none; belongs to the caller (CreatedBy)
	Digest         []byte // with a key: SHA-256 of the submission
}

// Inserted is what Postgres decided about a NewRequest.
type Inserted struct {
	ID        int64
	BatchID   int64
	CreatedAt time.Time
	Replayed  bool // the key was used before for the same submission: the values are those of its first use
	Mismatch  bool // the key was used before for a different submission: nothing was stored
}

// insertColumns are the values of a NewRequest, except its payload and its key.
// A further column of mass_requests that a submission fills is one more entry
// here.
var insertColumns = []arrayColumn[NewRequest]{
	{name: "schema_version", element: "text", request: true, event: true,
		values: columnOf[textArray](func(r *NewRequest) string { return r.SchemaVersion })},
	{name: "correlation_id", element: "text", request: true,
		values: columnOf[nullArray](func(r *NewRequest) string { return r.CorrelationID })},
	{name: "site_id", element: "text", request: true,
		values: columnOf[nullArray](func(r *NewRequest) string { return r.SiteID })},
	{name: "cluster_id", element: "text", request: true,
		values: columnOf[nullArray](func(r *NewRequest) string { return r.ClusterID })},
	{name: "priority", element: "text", request: true,
		values: columnOf[textArray](func(r *NewRequest) string { return string(r.Priority) })},
	{name: "lane", element: "int", request: true,
		values: columnOf[int32Array](func(r *NewRequest) int32 { return int32(r.Lane) })},
	{name: "created_by", element: "text", request: true,
		values: columnOf[nullArray](func(r *NewRequest) string { return r.CreatedBy })},
	{name: "expires_at", element: "timestamptz", request: true,
		values: columnOf[timeArray](func(r *NewRequest) time.Time { return r.ExpiresAt })},
	{name: "callback_url", element: "text", request: true,
		values: columnOf[nullArray](func(r *NewRequest) string { return r.CallbackURL })},

	{name: "due_at", element: "timestamptz",
		values: columnOf[timeArray](func(r *NewRequest) time.Time { return r.RunAt })},
	{name: "batch_group", element: "int",
		values: columnOf[int32Array](func(r *NewRequest) int32 { return int32(r.Group) })}, // below the number of items

	{name: "actor", element: "text", event: true,
		values: columnOf[textArray](func(r *NewRequest) string { return r.Origin.Actor })},
	{name: "http_request_id", element: "text", event: true,
		values: columnOf[nullArray](func(r *NewRequest) string { return r.Origin.RequestID })},
	{name: "client", element: "text", event: true,
		values: columnOf[nullArray](func(r *NewRequest) string { return r.Origin.Client })},
	{name: "trace_id", element: "bytea", event: true,
		values: columnOf[bytesArray](func(r *NewRequest) []byte { return decodeHex(r.Origin.TraceID) })},
	{name: "span_id", element: "bytea", event: true,
		values: columnOf[bytesArray](func(r *NewRequest) []byte { return decodeHex(r.Origin.SpanID) })},
	{name: "input_digest", element: "bytea", event: true,
		values: columnOf[bytesArray](func(r *NewRequest) []byte {
			sum := sha256.Sum256(r.Payload)
			return sum[:]
		})},
}

var (
	insertQuery      = nameParameters(insertStatement(insertColumns, false))
	insertKeyedQuery = nameParameters(insertStatement(append(slices.Clip(insertColumns), keyColumns...), true))
)

// insertStatement stores requests together with the rows through which lists
// find them, and with their events. It takes ids from the sequences before it
// inserts, so that the answer maps each id to the place of its item, in
// whatever order Postgres inserts rows.
//
// An item wins its key by inserting the key, or by taking over an expired one.
// Of two statements with the same key the later one waits for the earlier one,
// and then loses. Keys are taken in order, so that two statements cannot wait
// for each other. An item that loses is not stored, and is missing from the
// answer. Most calls have no keys, and use a simpler statement.
//
// The payloads are taken from their array only where they are stored: as a
// column of item they would be copied twice on the way. @new_batches has an
// element for each new batch. It is not a number for generate_series, because
// the planner expects a thousand rows from that function in a plan that is
// kept.
func insertStatement(columns []arrayColumn[NewRequest], keyed bool) string {
	var request, event []string
	for _, c := range columns {
		if c.request {
			request = append(request, c.name)
		}
		if c.event {
			event = append(event, c.name)
		}
	}
	requestNames, eventNames := strings.Join(request, `, `), strings.Join(event, `, `)
	accept, accepted, key := ``, `item`, `NULL`
	if keyed {
		accept, accepted, key = acceptKeys, `accepted`, `key`
	}
	return `
WITH new_batch AS MATERIALIZED (
    SELECT array_agg(nextval('mass_batches')) AS ids FROM unnest(@new_batches::int[])
), item AS MATERIALIZED (
    SELECT nextval('mass_requests_id_seq') AS id, (SELECT ids FROM new_batch)[batch_group + 1] AS batch_id, u.*
    FROM ` + unnestColumns(columns) + `
)` + accept + `, inserted AS (
    INSERT INTO mass_requests (id, batch_id, payload, run_at, listed, idempotency_key, ` + requestNames + `)
    OVERRIDING SYSTEM VALUE
    SELECT id, batch_id, (@payload::json[])[ord], coalesce(due_at, now()), true, ` + key + `, ` + requestNames + ` FROM ` + accepted + `
), submission AS (
    INSERT INTO mass_submissions (request_id, submitted_at, site, cluster) SELECT id, now(), site_id, cluster_id FROM ` + accepted + `
), event AS (
    INSERT INTO audit_events (request_id, batch_id, action, to_status, ` + eventNames + `)
    SELECT id, batch_id, 'submit', 'pending', ` + eventNames + ` FROM ` + accepted + `
)
SELECT ord, id, batch_id, now() AS created_at FROM ` + accepted
}

// InsertRequests stores all items as pending, or none, and returns their ids in
// the same order. ErrInvalid means that Postgres refused one of the payloads.
// Items whose key was used before are not stored again; see Inserted.
func (s *Store) InsertRequests(ctx context.Context, items []NewRequest) ([]Inserted, error) {
	payload := make(jsonArray, len(items))
	newBatches, keyed := 0, false
	for i, r := range items {
		payload[i] = r.Payload
		newBatches = max(newBatches, r.Group+1)
		keyed = keyed || r.IdempotencyKey != ""
	}
	values := queryValues{"payload": payload, "new_batches": make(int32Array, newBatches)}
	addColumns(values, insertColumns, items)
	insert, query := s.insert, insertQuery
	if keyed {
		insert, query = s.insertKeyed, insertKeyedQuery
		addColumns(values, keyColumns, items)
		values["key_ttl"] = IdempotencyTTL.Seconds()
	}
	var rows []struct {
		Ord       int       `db:"ord"`
		ID        int64     `db:"id"`
		BatchID   int64     `db:"batch_id"`
		CreatedAt time.Time `db:"created_at"`
	}
	if err := insert.selectInto(ctx, &rows, query.args(values)...); err != nil {
		return nil, wrap("insert requests", err)
	}
	out := make([]Inserted, len(items))
	for _, r := range rows {
		out[r.Ord-1] = Inserted{ID: r.ID, BatchID: r.BatchID, CreatedAt: r.CreatedAt}
	}
	if len(rows) == len(items) {
		return out, nil
	}
	return out, s.lookUpKeys(ctx, items, out)
}

// requestColumns are the columns of requestRow. The long ones are those whose
// size only the size of a submission bounds.
const (
	requestColumns = shortColumns + `, payload, result, faults`
	shortColumns   = `id, schema_version, correlation_id, site_id, cluster_id, status, priority, lane, attempt,
    failures, rescues, normalized_as_submitted, error, batch_id, created_by, created_at, run_at, expires_at,
    started_at, finished_at, updated_at, callback_url`
)

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

// withNormalized puts the payload into a result whose member "normalized" was
// left out, at the place where the pipeline writes that member. The result
// is as the pipeline wrote it: an object without white space around it. The SQL
// function mass_result does the same.
func withNormalized(result, payload []byte) []byte {
	rest := result[1:] // the text after the opening brace: a member, or the end
	if len(rest) == 1 {
		return slices.Concat([]byte(`{"normalized":`), payload, rest)
	}
	return slices.Concat([]byte(`{"normalized":`), payload, []byte(`,`), rest)
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
		return jobs.Request{}, wrap(fmt.Sprintf("read request %d", id), notFound(NounRequest, err))
	}
	return row.request(), nil
}

var deleteRequestQuery = nameParameters(`
WITH deleted AS (
    DELETE FROM mass_requests WHERE id = @id RETURNING id, batch_id, attempt, status
)
INSERT INTO audit_events (request_id, batch_id, attempt, action, from_status, ` + originColumns + `)
SELECT id, batch_id, attempt, 'delete', status, ` + originValues + ` FROM deleted
RETURNING request_id`)

// DeleteRequest removes a request, whatever its status; its events remain. The
// writes of a worker that has claimed the request are refused. The error is
// ErrNotFound when there is no such request.
func (s *Store) DeleteRequest(ctx context.Context, id int64, by Origin) error {
	values := by.queryValues()
	values["id"] = id
	var deleted int64
	err := s.db.GetContext(ctx, &deleted, deleteRequestQuery.text, deleteRequestQuery.args(values)...)
	return wrap(fmt.Sprintf("delete request %d", id), notFound(NounRequest, err))
}

// CountPending counts the pending requests, up to limit.
func (s *Store) CountPending(ctx context.Context, limit int) (int, error) {
	var n int
	err := s.db.GetContext(ctx, &n, `
        SELECT count(*) FROM (SELECT FROM (SELECT FROM mass_requests WHERE `+isReady+`
                              UNION ALL SELECT FROM mass_requests WHERE `+isParked+`) p LIMIT $1) q`, limit)
	return n, wrap("count pending requests", err)
}

// IdempotencyTTL is how long a key is remembered, by the clock of Postgres.
const IdempotencyTTL = 24 * time.Hour

// keyColumns are the columns that an insertion takes in addition to
// insertColumns when at least one of its items has a key.
var keyColumns = []arrayColumn[NewRequest]{
	{name: "key", element: "text",
		values: columnOf[nullArray](func(r *NewRequest) string { return r.IdempotencyKey })},
	{name: "digest", element: "bytea",
		values: columnOf[bytesArray](func(r *NewRequest) []byte { return r.Digest })},
}

// acceptKeys is the part of insertStatement that decides which items are
// stored.
const acceptKeys = `, won AS (
    INSERT INTO idempotency_keys AS k (caller, key, digest, request_id, batch_id)
    SELECT DISTINCT ON (created_by, key) coalesce(created_by, ''), key, digest, id, batch_id
    FROM item WHERE key IS NOT NULL ORDER BY created_by, key, ord
    ON CONFLICT (caller, key) DO UPDATE
    SET digest = excluded.digest, request_id = excluded.request_id, batch_id = excluded.batch_id, created_at = now()
    WHERE k.created_at < now() - make_interval(secs => @key_ttl)
    RETURNING request_id
), accepted AS MATERIALIZED (
    SELECT * FROM item WHERE key IS NULL OR id IN (SELECT request_id FROM won)
)`

// lookUpKeys fills in the items that were not stored, from the first use of
// their keys.
func (s *Store) lookUpKeys(ctx context.Context, items []NewRequest, out []Inserted) error {
	var callers, keys pq.StringArray
	for i := range items {
		if out[i].ID == 0 {
			callers, keys = append(callers, items[i].CreatedBy), append(keys, items[i].IdempotencyKey)
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
        FROM idempotency_keys JOIN unnest($1::text[], $2::text[]) AS u(caller, key) USING (caller, key)`, callers, keys)
	if err != nil {
		return wrap("look up idempotency keys", err)
	}
	type callerKey struct{ caller, key string }
	place := make(map[callerKey]int, len(rows))
	for i, r := range rows {
		place[callerKey{r.Caller, r.Key}] = i
	}
	for i := range items {
		if out[i].ID != 0 {
			continue
		}
		at, ok := place[callerKey{items[i].CreatedBy, items[i].IdempotencyKey}]
		if !ok { // the key expired and was removed between the two statements
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

// RemoveExpiredKeys removes up to limit expired idempotency keys and returns
// how many.
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
