package store

import (
	"context"
	"fmt"
	"slices"
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
	Standbys       int       `db:"standbys"`        // servers that stream from this one
	Synchronous    int       `db:"synchronous"`     // those of them that a commit waits for
	Hidden         int       `db:"hidden"`          // those of them about which the role may not know that
}

// Server asks Postgres about itself.
func (s *Store) Server(ctx context.Context) (Server, error) {
	var v Server
	err := s.db.GetContext(ctx, &v, `
        SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number,
               clock_timestamp() AS now, current_setting('transaction_read_only') = 'on' AS read_only, current_user AS role,
               current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS max_connections,
               (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL AND pid <> pg_backend_pid()) AS connections,
               count(r.pid) AS standbys, count(*) FILTER (WHERE r.sync_state IN ('sync', 'quorum')) AS synchronous,
               count(*) FILTER (WHERE r.pid IS NOT NULL AND r.sync_state IS NULL) AS hidden
        FROM (SELECT) AS one LEFT JOIN pg_stat_replication r ON true`)
	return v, wrap("ask the database about itself", err)
}

// trailTables are the tables that nobody may change afterwards.
const trailTables = `('audit_events'), ('audit_seals'), ('audit_sources')`

const findMissingPrivileges = `
        WITH ours AS (
            SELECT c.oid, c.relname, c.relkind FROM pg_class c JOIN pg_class r ON r.oid = to_regclass('mass_requests')
            WHERE c.relnamespace = r.relnamespace AND c.relowner = r.relowner AND c.relkind IN ('r', 'p', 'S') AND NOT c.relispartition
        )
        SELECT privilege || ' on ' || relname FROM ours, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
        WHERE relkind <> 'S' AND relname <> 'mass_migrations' AND relname NOT IN (VALUES ` + trailTables + `)
          AND NOT (relname = 'recommendation_opinions' AND privilege IN ('UPDATE', 'DELETE')) -- opinions are only added
          AND NOT has_table_privilege(oid, privilege)
        UNION ALL
        SELECT 'SELECT on ' || relname FROM ours
        WHERE (relname = 'mass_migrations' OR relname IN (VALUES ` + trailTables + `)) AND NOT has_table_privilege(oid, 'SELECT')
        UNION ALL
        -- The database alone sets the id and the time of an event. Seals are added by
        -- the role of the leader, which is not every role.
        SELECT 'INSERT on ' || relname FROM ours
        WHERE relname IN ('audit_events', 'audit_sources') AND EXISTS (
            SELECT FROM pg_attribute a WHERE a.attrelid = ours.oid AND a.attnum > 0 AND NOT a.attisdropped
              AND a.attname NOT IN ('id', 'at', 'started_at') AND NOT has_column_privilege(ours.oid, a.attnum, 'INSERT'))
        UNION ALL
        SELECT 'USAGE on ' || relname FROM ours
        WHERE relname NOT IN ('audit_events_id_seq', 'audit_sources_id_seq')
          AND CASE WHEN relkind = 'S' THEN NOT has_sequence_privilege(oid, 'USAGE') END
        UNION ALL
        SELECT 'EXECUTE on ' || name FROM unnest(ARRAY['readings_partition', 'readings_drop']) AS name
        WHERE NOT coalesce(has_function_privilege(to_regprocedure(name || '(timestamptz)'), 'EXECUTE'), true)
        UNION ALL
        SELECT 'SELECT on ' || relname FROM ours 
        WHERE relname = 'audit_events_id_seq' AND CASE WHEN relkind = 'S' THEN NOT has_sequence_privilege(oid, 'SELECT') END`

// MissingPrivileges lists the privileges that deploy/sql/grants.sql gives to the
// role of an API or a worker and that this role lacks, such as "INSERT on
// audit_events".
func (s *Store) MissingPrivileges(ctx context.Context) ([]string, error) {
	var list []string
	err := s.db.SelectContext(ctx, &list, findMissingPrivileges)
	return list, wrap("look up the privileges", err)
}

// The privileges by which a role could change what the trail says, or make such
// a change possible. What the role could obtain with SET ROLE or RESET ROLE
// counts as well.
const findExcessPrivileges = `
        SELECT 'is a superuser' FROM pg_roles WHERE rolname IN (current_user, session_user) AND rolsuper
        UNION
        SELECT 'may create roles' FROM pg_roles WHERE rolname IN (current_user, session_user) AND rolcreaterole
        UNION
        SELECT 'may replicate' FROM pg_roles WHERE rolname IN (current_user, session_user) AND rolreplication
        UNION
        SELECT 'is a member of ' || r.rolname FROM pg_roles r
        WHERE r.rolname IN ('pg_execute_server_program', 'pg_write_server_files', 'pg_write_all_data', 'pg_maintain')
          AND pg_has_role(session_user, r.oid, 'MEMBER')
        UNION
        SELECT 'owns ' || c.relname FROM (VALUES ` + trailTables + `, ('mass_migrations')) AS t(tab) JOIN pg_class c ON c.oid = to_regclass(tab)
        WHERE pg_has_role(session_user, c.relowner, 'MEMBER') OR pg_has_role(current_user, c.relowner, 'MEMBER')
        UNION
        SELECT privilege || ' on ' || tab FROM (VALUES ` + trailTables + `) AS t(tab), unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) AS privilege
        WHERE to_regclass(tab) IS NOT NULL AND has_table_privilege(to_regclass(tab), privilege)
        UNION
        SELECT 'UPDATE on ' || tab FROM (VALUES ` + trailTables + `) AS t(tab)
        WHERE to_regclass(tab) IS NOT NULL AND has_any_column_privilege(to_regclass(tab), 'UPDATE')
        UNION
        SELECT 'INSERT of ' || a.attname || ' on ' || tab FROM (VALUES ('audit_events'), ('audit_sources')) AS t(tab)
        JOIN pg_attribute a ON a.attrelid = to_regclass(tab) AND a.attname IN ('id', 'at', 'started_at')
        WHERE has_column_privilege(a.attrelid, a.attnum, 'INSERT')
        UNION
        SELECT privilege || ' on audit_events_id_seq' FROM unnest(ARRAY['USAGE', 'UPDATE']) AS privilege
        WHERE to_regclass('audit_events_id_seq') IS NOT NULL AND has_sequence_privilege(to_regclass('audit_events_id_seq'), privilege)
        UNION
        SELECT privilege || ' on mass_migrations' FROM unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS privilege
        WHERE to_regclass('mass_migrations') IS NOT NULL AND has_table_privilege(to_regclass('mass_migrations'), privilege)
        UNION
        SELECT 'CREATE on schema ' || n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = to_regclass('audit_events') AND has_schema_privilege(n.oid, 'CREATE')
        ORDER BY 1`

// ExcessPrivileges lists what the role may do and no API or worker needs: what
// could change the trail. A superuser may do everything, so only that is
// listed.
func (s *Store) ExcessPrivileges(ctx context.Context) ([]string, error) {
	var list []string
	err := s.db.SelectContext(ctx, &list, findExcessPrivileges)
	const superuser = "is a superuser"
	if slices.Contains(list, superuser) {
		list = []string{superuser}
	}
	return list, wrap("look up the privileges", err)
}

// MaySeal reports whether the role may add seals to the trail.
func (s *Store) MaySeal(ctx context.Context) (bool, error) {
	var may bool
	err := s.db.GetContext(ctx, &may, `SELECT has_any_column_privilege(to_regclass('audit_seals'), 'INSERT')`)
	return may, wrap("look up the privileges", err)
}

// ExpiringKey is an API key that ends soon.
type ExpiringKey struct {
	KeyRef
	ExpiresAt time.Time `db:"expires_at"`
}

// ExpiringKeys returns up to limit keys that end within that time, the first to
// end first. ErrNotAllowed means that the role may not read the keys.
func (s *Store) ExpiringKeys(ctx context.Context, within time.Duration, limit int) ([]ExpiringKey, error) {
	const act = "look for API keys that expire soon"
	var may bool
	if err := s.db.GetContext(ctx, &may, `SELECT has_table_privilege('api_keys', 'SELECT')`); err != nil {
		return nil, wrap(act, err)
	}
	if !may {
		return nil, fmt.Errorf("%s: %w", act, ErrNotAllowed)
	}
	var list []ExpiringKey
	err := s.db.SelectContext(ctx, &list, `
        SELECT id, name, role, expires_at FROM api_keys
        WHERE revoked_at IS NULL AND expires_at > now() AND expires_at < now() + make_interval(secs => $1) ORDER BY expires_at, id LIMIT $2`,
		within.Seconds(), limit)
	return list, wrap(act, err)
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
