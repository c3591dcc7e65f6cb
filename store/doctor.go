package store

import (
	"context"
	"time"

	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// mass doctor runs the statements of this file for an operator. Each statement
// is bounded: none counts the requests that are done, and none reads more than
// a sample.

// Server describes the Postgres server.
type Server struct {
	Version        string    `db:"version"`
	VersionNumber  int       `db:"version_number"` // 150003 is 15.3
	Now            time.Time `db:"now"`
	ReadOnly       bool      `db:"read_only"` // a standby, or set to read-only
	Role           string    `db:"role"`
	MaxConnections int       `db:"max_connections"` // for roles like this one
	Connections    int       `db:"connections"`     // of clients, now
}

// Server asks Postgres about itself.
func (s *Store) Server(ctx context.Context) (Server, error) {
	var v Server
	err := s.db.GetContext(ctx, &v, `
        SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number,
               clock_timestamp() AS now, current_setting('transaction_read_only') = 'on' AS read_only, current_user AS role,
               current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS max_connections,
               (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL AND pid <> pg_backend_pid()) AS connections`)
	return v, wrap("ask the database about itself", err)
}

// MissingPrivileges lists the privileges that the role needs and lacks, such as
// "INSERT on audit_events". It ignores tables that do not exist.
func (s *Store) MissingPrivileges(ctx context.Context) ([]string, error) {
	var list []string
	err := s.db.SelectContext(ctx, &list, `
        SELECT privilege || ' on ' || tab
        FROM (VALUES ('mass_requests', 'SELECT'), ('mass_requests', 'INSERT'), ('mass_requests', 'UPDATE'), ('mass_requests', 'DELETE'),
                     ('audit_events', 'SELECT'), ('audit_events', 'INSERT'), ('mass_workers', 'SELECT'), ('mass_workers', 'INSERT'),
                     ('mass_workers', 'UPDATE'), ('mass_workers', 'DELETE'), ('idempotency_keys', 'SELECT'), ('idempotency_keys', 'INSERT'),
                     ('idempotency_keys', 'UPDATE'), ('idempotency_keys', 'DELETE')) AS need(tab, privilege)
        WHERE to_regclass(tab) IS NOT NULL AND NOT has_table_privilege(to_regclass(tab), privilege)
        UNION ALL
        SELECT 'USAGE on ' || seq FROM (VALUES ('mass_batches'), ('mass_requests_id_seq')) AS need(seq)
        WHERE to_regclass(seq) IS NOT NULL AND NOT has_sequence_privilege(to_regclass(seq), 'USAGE')`)
	return list, wrap("look up the privileges", err)
}

// Backlog counts requests of one status and priority.
type Backlog struct {
	Status   jobs.Status   `db:"status"`
	Priority jobs.Priority `db:"priority"`
	Count    int           `db:"count"`
	Waiting  float64       `db:"waiting"` // seconds since the oldest of them was due; only those that are pending
}

const countBacklog = `
        SELECT status, priority, count(*) AS count,
               coalesce(extract(epoch FROM now() - min(greatest(created_at, run_at)) FILTER (WHERE status = 'pending' AND run_at <= now())), 0)::float8 AS waiting
        FROM ((SELECT status, priority, created_at, run_at FROM mass_requests WHERE ` + isReady + ` ORDER BY batch_id LIMIT $1)
              UNION ALL
              (SELECT status, priority, created_at, run_at FROM mass_requests WHERE ` + isParked + ` ORDER BY created_by, id LIMIT $1)
              UNION ALL
              (SELECT status, priority, created_at, run_at FROM mass_requests WHERE status = 'processing' LIMIT $1)
              UNION ALL
              (SELECT status, priority, created_at, run_at FROM mass_requests
               WHERE status = 'failed' AND ` + isEndedBadly + ` ORDER BY created_at LIMIT $1)
              UNION ALL
              (SELECT status, priority, created_at, run_at FROM mass_requests
               WHERE status = 'cancelled' AND ` + isEndedBadly + ` ORDER BY created_at LIMIT $1)) r
        GROUP BY status, priority ORDER BY status, priority`

// Backlog counts what is pending, processing, failed or cancelled, by priority,
// up to most requests of each status: a sum of most means "at least".
func (s *Store) Backlog(ctx context.Context, most int) ([]Backlog, error) {
	var list []Backlog
	err := s.db.SelectContext(ctx, &list, countBacklog, most)
	return list, wrap("count the backlog", err)
}

const findStale = `
        SELECT b FROM unnest($1::bigint[]) AS b
        WHERE EXISTS (SELECT FROM mass_requests r WHERE r.batch_id = b AND ` + isReady + `
                      AND greatest(r.updated_at, r.run_at) < now() - make_interval(secs => $2))
        ORDER BY b`

// StaleBatches returns those of the batches that hold requests which have been
// due, and pending without a change, for longer than age.
func (s *Store) StaleBatches(ctx context.Context, ids []int64, age time.Duration) ([]int64, error) {
	var list []int64
	err := s.db.SelectContext(ctx, &list, findStale, pq.Int64Array(ids), age.Seconds())
	return list, wrap("look for stale batches", err)
}

const findOverdue = `
        SELECT id FROM mass_requests
        WHERE status = 'processing' AND started_at < now() - make_interval(secs => $1) LIMIT $2`

// Overdue returns up to limit requests that have been processing for longer
// than age.
func (s *Store) Overdue(ctx context.Context, age time.Duration, limit int) ([]int64, error) {
	var list []int64
	err := s.db.SelectContext(ctx, &list, findOverdue, age.Seconds(), limit)
	return list, wrap("look for overdue requests", err)
}

// Failures summarizes the requests that failed recently.
type Failures struct {
	Count int    `db:"count"`
	Error string `db:"error"` // the most frequent one, truncated
}

const countFailures = `
        WITH failed AS (
            SELECT error FROM (
                SELECT error, finished_at FROM mass_requests
                WHERE status = 'failed' AND ` + isEndedBadly + ` ORDER BY created_at DESC LIMIT $2) newest
            WHERE finished_at > now() - make_interval(secs => $1)
        )
        SELECT (SELECT count(*) FROM failed) AS count,
               coalesce((SELECT left(error, 120) FROM failed WHERE error IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1), '') AS error`

// FailuresSince looks at the newest requests that failed, up to sample of them,
// for those that did so within age.
func (s *Store) FailuresSince(ctx context.Context, age time.Duration, sample int) (Failures, error) {
	var f Failures
	err := s.db.GetContext(ctx, &f, countFailures,
		age.Seconds(), sample)
	return f, wrap("count recent failures", err)
}

// Leader describes the session that leads the reconciliation.
type Leader struct {
	PID         int    `db:"pid"` // of the server's process
	Application string `db:"application"`
	Address     string `db:"address"` // of the client; "" for a socket
}

// Leader finds the leader by its lock, or returns ErrNotFound.
func (s *Store) Leader(ctx context.Context) (Leader, error) {
	var l Leader
	err := s.db.GetContext(ctx, &l, `
        SELECT l.pid, coalesce(a.application_name, '') AS application, coalesce(host(a.client_addr), '') AS address
        FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid = 0 AND l.objid::bigint = $1
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`, leaderKey)
	return l, wrap("look for the leader", missing(NounLeader, err))
}

// OverdueWebhooks counts up to most webhooks that should have been delivered,
// or tried again, more than age ago. A schema without webhooks has none.
func (s *Store) OverdueWebhooks(ctx context.Context, age time.Duration, most int) (int, error) {
	var there bool
	err := s.db.GetContext(ctx, &there, `SELECT to_regclass('webhook_deliveries') IS NOT NULL`)
	if err != nil || !there {
		return 0, wrap("look for the webhooks", err)
	}
	var n int
	err = s.db.GetContext(ctx, &n, `
        SELECT count(*) FROM (SELECT FROM webhook_deliveries
        WHERE status = 'pending' AND next_at < now() - make_interval(secs => $1) LIMIT $2) late`, age.Seconds(), most)
	return n, wrap("count overdue webhooks", err)
}
