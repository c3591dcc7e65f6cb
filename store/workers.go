package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// WorkerIdentity names a worker. The token is needed because an id may return: a
// failover may lose the newest rows, and with them the registration of a worker,
// whose id is then given to another one.
type WorkerIdentity struct {
	ID    int64  `db:"id"`
	Token string `db:"token"`
}

// isOwnID is the condition that no other worker has the id of this one. A worker
// without a registration passes: it was declared dead and learns that from its
// next heartbeat.
const isOwnID = `NOT EXISTS (SELECT FROM mass_workers w WHERE w.id = @worker AND w.token <> nullif(@worker_token, '')::uuid)`

// values adds the parameters of isOwnID.
func (w WorkerIdentity) values(more queryValues) queryValues {
	more["worker"], more["worker_token"] = w.ID, w.Token
	return more
}

// Worker is one worker process.
type Worker struct {
	Token      string    `db:"token"`
	ID         int64     `db:"id"`
	Host       string    `db:"host"`
	PID        int       `db:"pid"`
	Version    string    `db:"version"`
	Beat       int64     `db:"beat"`
	StartedAt  time.Time `db:"started_at"`
	LastSeenAt time.Time `db:"last_seen_at"`
}

// Identity returns the identity of the worker.
func (w *Worker) Identity() WorkerIdentity { return WorkerIdentity{ID: w.ID, Token: w.Token} }

// RegisterWorker adds a worker and returns the identity under which it claims.
func (s *Store) RegisterWorker(ctx context.Context, host string, pid int, version string) (WorkerIdentity, error) {
	var me WorkerIdentity
	err := s.db.GetContext(ctx, &me,
		`INSERT INTO mass_workers (host, pid, version) VALUES ($1, $2, $3) RETURNING id, token::text`, host, pid, version)
	return me, wrap("register the worker", explainOldSchema(err))
}

// Beat records a worker's heartbeat. It returns the requests that the worker
// holds according to the rows, or ErrNotFound when the worker was declared dead
// and removed.
func (s *Store) Beat(ctx context.Context, worker WorkerIdentity) ([]jobs.Lease, error) {
	var rows []struct {
		ID      *int64 `db:"id"`
		Attempt *int   `db:"attempt"`
	}
	err := s.db.SelectContext(ctx, &rows, `
        WITH me AS (
            UPDATE mass_workers SET beat = beat + 1, last_seen_at = now() WHERE id = $1 AND token = nullif($2, '')::uuid RETURNING id
        )
        SELECT r.id, r.attempt
        FROM me LEFT JOIN mass_requests r ON r.claimed_by = me.id AND r.status = 'processing'`, worker.ID, worker.Token)
	act := fmt.Sprintf("beat for worker %d", worker.ID)
	if err != nil {
		return nil, wrap(act, err)
	}
	if len(rows) == 0 {
		return nil, wrap(act, &NotFoundError{Noun: NounWorker})
	}
	var leases []jobs.Lease
	for _, r := range rows {
		if r.ID != nil {
			leases = append(leases, jobs.Lease{ID: *r.ID, Attempt: *r.Attempt})
		}
	}
	return leases, nil
}

// Workers lists all registered workers.
func (s *Store) Workers(ctx context.Context) ([]Worker, error) {
	var list []Worker
	err := s.db.SelectContext(ctx, &list,
		`SELECT id, token::text, host, pid, version, beat, started_at, last_seen_at FROM mass_workers ORDER BY id`)
	return list, wrap("list workers", err)
}

// RemoveWorker removes a worker that holds no requests anymore. A worker that
// still holds requests stays, so that they are rescued first.
func (s *Store) RemoveWorker(ctx context.Context, worker WorkerIdentity) error {
	_, err := s.db.ExecContext(ctx, `
        DELETE FROM mass_workers w
        WHERE id = $1 AND token = nullif($2, '')::uuid
          AND NOT EXISTS (SELECT FROM mass_requests WHERE claimed_by = w.id AND status = 'processing')`, worker.ID, worker.Token)
	return wrap(fmt.Sprintf("remove worker %d", worker.ID), err)
}

// StrayHolders lists workers that hold requests and are not registered. This
// happens when a claim of a worker commits after the worker was removed.
func (s *Store) StrayHolders(ctx context.Context) ([]int64, error) {
	var list []int64
	err := s.db.SelectContext(ctx, &list, `
        WITH RECURSIVE holder AS (
            (SELECT claimed_by FROM mass_requests WHERE status = 'processing' ORDER BY claimed_by LIMIT 1)
            UNION ALL
            SELECT (SELECT r.claimed_by FROM mass_requests r
                    WHERE r.status = 'processing' AND r.claimed_by > h.claimed_by ORDER BY r.claimed_by LIMIT 1)
            FROM holder h WHERE h.claimed_by IS NOT NULL
        )
        SELECT claimed_by FROM holder
        WHERE claimed_by IS NOT NULL AND NOT EXISTS (SELECT FROM mass_workers w WHERE w.id = claimed_by)`)
	return list, wrap("look for stray holders", err)
}

// Leadership is a lease in the table mass_leader that one process at a time
// holds. Its holder renews it with Check.
//
// The lease is a row and not a lock of Postgres: only a role with the right to
// change the table can take it, each schema has its own, and it needs no session,
// so it also works behind a connection pooler. Taking and renewing it are writes,
// which a standby or a demoted server refuses.
type Leadership struct {
	db   *sqlx.DB
	term int64
}

// leaderPatience is how long a leader may be silent before another process may
// take the lead. Otherwise a process that is frozen, or cut off by a network that
// drops everything, would lead forever.
const leaderPatience = 5 * time.Second

// leaderTimeout bounds one renewal. A leader whose renewal is not answered ends
// its duties before another process may lead.
const leaderTimeout = 3 * time.Second

// isLeaderless is the condition under which the lead may be taken: the leader
// resigned, was silent, or the process of the server that served it has ended.
// A renewal that lies in the future was made by the clock of another server,
// before a failover.
const isLeaderless = `(renewed_at IS NULL
           OR renewed_at NOT BETWEEN clock_timestamp() - make_interval(secs => @patience) AND clock_timestamp() + make_interval(secs => @patience)
           OR NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = backend))`

var (
	leaderlessQuery = nameParameters(`SELECT EXISTS (SELECT FROM mass_leader WHERE ` + isLeaderless + `)`)

	takeLeadQuery = nameParameters(`
        UPDATE mass_leader
        SET term = term + 1, worker_id = nullif(@worker::bigint, 0), token = nullif(@token, '')::uuid, backend = pg_backend_pid(),
            taken_at = clock_timestamp(), renewed_at = clock_timestamp()
        WHERE ` + isLeaderless + ` AND ` + commitLater + `
        RETURNING term`)
)

// TryLead takes the lead for a worker if it is free. The error is ErrConflict
// when another process leads.
func (s *Store) TryLead(ctx context.Context, worker WorkerIdentity) (*Leadership, error) {
	const act = "try to lead"
	taken := wrap(act, &ConflictError{Noun: NounLeader, Reason: "another process leads"})
	values := queryValues{"patience": leaderPatience.Seconds(), "worker": worker.ID, "token": worker.Token}
	// Candidates look on a shared connection. Only a leader has one of its own.
	var free bool
	if err := s.db.GetContext(ctx, &free, leaderlessQuery.text, leaderlessQuery.args(values)...); err != nil {
		return nil, wrap(act, explainOldSchema(err))
	}
	if !free {
		return nil, taken
	}
	l := &Leadership{db: s.lead}
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	err := s.lead.GetContext(ctx, &l.term, takeLeadQuery.text, takeLeadQuery.args(values)...)
	if errors.Is(notFound(NounLeader, err), ErrNotFound) {
		return nil, taken
	}
	if err != nil {
		return nil, wrap(act, err)
	}
	return l, nil
}

// Check renews the lease. It returns an error when the leadership is lost, and
// also when that cannot be known in time.
func (l *Leadership) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	return wrap("renew the leadership", l.change(ctx, `
        UPDATE mass_leader SET renewed_at = clock_timestamp(), backend = pg_backend_pid() WHERE term = $1 AND renewed_at IS NOT NULL AND `+commitLater))
}

// Resign gives up the leadership.
func (l *Leadership) Resign(ctx context.Context) error {
	return wrap("resign the leadership", l.change(ctx, `UPDATE mass_leader SET renewed_at = NULL WHERE term = $1 AND renewed_at IS NOT NULL`))
}

func (l *Leadership) change(ctx context.Context, query string) error {
	result, err := l.db.ExecContext(ctx, query, l.term)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return &ConflictError{Noun: NounLeader, Reason: "another process leads"}
}

// Leader describes the process that leads the reconciliation.
type Leader struct {
	Worker     int64     `db:"worker"` // id; 0: none
	Host       string    `db:"host"`   // "" for a worker that is not registered
	PID        int       `db:"pid"`    // of the worker
	Registered bool      `db:"registered"`
	Since      time.Time `db:"since"`
}

var leaderQuery = nameParameters(`
        SELECT coalesce(l.worker_id, 0) AS worker, coalesce(w.host, '') AS host, coalesce(w.pid, 0) AS pid,
               w.id IS NOT NULL AS registered, l.taken_at AS since
        FROM mass_leader l LEFT JOIN mass_workers w ON w.id = l.worker_id AND w.token = l.token
        WHERE NOT ` + isLeaderless)

// Leader finds the leader of this schema, or returns ErrNotFound.
func (s *Store) Leader(ctx context.Context) (Leader, error) {
	var l Leader
	err := s.db.GetContext(ctx, &l, leaderQuery.text, leaderQuery.args(queryValues{"patience": leaderPatience.Seconds()})...)
	return l, wrap("look for the leader", notFound(NounLeader, err))
}

// explainOldSchema turns the error about a table or column that a migration adds
// into one that says so.
func explainOldSchema(err error) error {
	var answer *pq.Error
	if errors.As(err, &answer) && (answer.Code == "42P01" || answer.Code == "42703") {
		return errors.Join(ErrOldSchema, err)
	}
	return err
}

// BioCoreReport is what a worker found out about BioCore.
type BioCoreReport struct {
	State   string `db:"biocore_state"`   // of the circuit breaker
	Problem string `db:"biocore_problem"` // "" for none
}

// ReportBioCore records what a worker found out about BioCore.
func (s *Store) ReportBioCore(ctx context.Context, worker WorkerIdentity, r BioCoreReport) error {
	_, err := s.db.ExecContext(ctx, `
        UPDATE mass_workers SET biocore_state = $3, biocore_problem = $4 WHERE id = $1 AND token = nullif($2, '')::uuid`,
		worker.ID, worker.Token, r.State, clipDetail(r.Problem))
	return wrap("report the state of BioCore", err)
}

// BioCoreReports returns what the workers last found out about BioCore; none if
// no worker asks it.
func (s *Store) BioCoreReports(ctx context.Context) ([]BioCoreReport, error) {
	var list []BioCoreReport
	err := s.db.SelectContext(ctx, &list, `
        SELECT biocore_state, coalesce(biocore_problem, '') AS biocore_problem FROM mass_workers WHERE biocore_state IS NOT NULL ORDER BY id`)
	return list, wrap("look up the state of BioCore", err)
}
