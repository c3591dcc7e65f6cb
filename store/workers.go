package store

import (
	"context"
	"fmt"
	"time"

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
