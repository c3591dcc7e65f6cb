package store

import (
	"context"
	"fmt"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// Worker is one worker process.
type Worker struct {
	ID         int64     `db:"id"`
	Host       string    `db:"host"`
	PID        int       `db:"pid"`
	Version    string    `db:"version"`
	Beat       int64     `db:"beat"`
	StartedAt  time.Time `db:"started_at"`
	LastSeenAt time.Time `db:"last_seen_at"`
}

// RegisterWorker adds a worker and returns the id under which it claims.
func (s *Store) RegisterWorker(ctx context.Context, host string, pid int, version string) (int64, error) {
	var id int64
	err := s.db.GetContext(ctx, &id,
		`INSERT INTO mass_workers (host, pid, version) VALUES ($1, $2, $3) RETURNING id`, host, pid, version)
	return id, wrap("register the worker", err)
}

// Beat records a worker's heartbeat. It returns the requests that the worker
// holds according to the rows, or ErrNotFound when the worker was declared dead
// and removed.
func (s *Store) Beat(ctx context.Context, worker int64) ([]jobs.Lease, error) {
	var rows []struct {
		ID      *int64 `db:"id"`
		Attempt *int   `db:"attempt"`
	}
	err := s.db.SelectContext(ctx, &rows, `
        WITH me AS (
            UPDATE mass_workers SET beat = beat + 1, last_seen_at = now() WHERE id = $1 RETURNING id
        )
        SELECT r.id, r.attempt
        FROM me LEFT JOIN mass_requests r ON r.claimed_by = me.id AND r.status = 'processing'`, worker)
	act := fmt.Sprintf("beat for worker %d", worker)
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
		`SELECT id, host, pid, version, beat, started_at, last_seen_at FROM mass_workers ORDER BY id`)
	return list, wrap("list workers", err)
}

// RemoveWorker removes a worker that holds no requests anymore. A worker that
// still holds requests stays, so that they are rescued first.
func (s *Store) RemoveWorker(ctx context.Context, worker int64) error {
	_, err := s.db.ExecContext(ctx, `
        DELETE FROM mass_workers w
        WHERE id = $1 AND NOT EXISTS (SELECT FROM mass_requests WHERE claimed_by = w.id AND status = 'processing')`, worker)
	return wrap(fmt.Sprintf("remove worker %d", worker), err)
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
