package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// riverService is the service on River: the row and its job are inserted in one transaction.
func riverService(self string) *service {
	return &service{
		name: "river", table: "requests", prepare: prepareRiver,
		api: func(_ *session, addr string) (env, command []string) {
			return nil, []string{self, "peer", "river-api", addr}
		},
		worker:  func(*session) (env, command []string) { return nil, []string{self, "peer", "river-worker"} },
		backlog: riverBacklog,
	}
}

func prepareRiver(ctx context.Context, databaseURL string) error {
	pool, err := pgxpool.New(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	_, err = pool.Exec(ctx, peerTable)
	return err
}

// requestArgs is the job of one request.
type requestArgs struct {
	ID int64 `json:"id"`
}

// Kind implements river.JobArgs.
func (requestArgs) Kind() string { return "request" }

type requestWorker struct {
	river.WorkerDefaults[requestArgs]
	db *pgxpool.Pool
}

// Work implements river.Worker.
func (w *requestWorker) Work(ctx context.Context, job *river.Job[requestArgs]) error {
	return workOn(ctx, w.db, job.Args.ID)
}

// riverConnections is the size of each process' pool; more were slower on two cores.
const riverConnections = 50

func riverAPI(ctx context.Context, addr string) error {
	db, err := peerPool(ctx, riverConnections)
	if err != nil {
		return err
	}
	defer db.Close()
	client, err := river.NewClient(riverpgxv5.New(db), &river.Config{Logger: quiet()}) // inserts only
	if err != nil {
		return err
	}
	return serve(ctx, addr, peerHandler(func(ctx context.Context, meta payload.Meta, raw json.RawMessage) (a accepted, err error) {
		err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			if a, err = insert(ctx, tx, meta, raw); err != nil {
				return err
			}
			_, err = client.InsertTx(ctx, tx, requestArgs{ID: a.ID}, nil)
			return err
		})
		return a, err
	}))
}

// riverTuned takes jobs as often as River's own benchmark does (`river bench`: 2 ms, 20 ms).
func riverTuned(workers *river.Workers, most int) *river.Config {
	return &river.Config{
		FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: most}}, Workers: workers, Logger: quiet(),
	}
}

func riverWorker(ctx context.Context) error {
	db, err := peerPool(ctx, riverConnections)
	if err != nil {
		return err
	}
	defer db.Close()
	workers := river.NewWorkers()
	river.AddWorker(workers, &requestWorker{db: db})
	return runRiver(ctx, db, riverTuned(workers, 100))
}

func runRiver(ctx context.Context, db *pgxpool.Pool, config *river.Config) error {
	client, err := river.NewClient(riverpgxv5.New(db), config)
	if err != nil {
		return err
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	<-ctx.Done()
	return client.Stop(context.WithoutCancel(ctx))
}

// riverBacklog uses the bulk insert of each side.
func riverBacklog(ctx context.Context, s *session, n int) error {
	if err := peerBacklog(ctx, s, n); err != nil {
		return err
	}
	return insertJobs(ctx, s.db, n, func(i int) river.JobArgs { return requestArgs{ID: int64(i) + 1} })
}

// insertJobs adds n jobs by COPY.
func insertJobs(ctx context.Context, db *pgxpool.Pool, n int, args func(i int) river.JobArgs) error {
	client, err := river.NewClient(riverpgxv5.New(db), &river.Config{Logger: quiet()})
	if err != nil {
		return err
	}
	const step = 10_000
	for from := 0; from < n; from += step {
		list := make([]river.InsertManyParams, min(step, n-from))
		for i := range list {
			list[i].Args = args(from + i)
		}
		if _, err := client.InsertManyFast(ctx, list); err != nil {
			return err
		}
	}
	return nil
}

// emptyArgs is a job that does nothing.
type emptyArgs struct{}

// Kind implements river.JobArgs.
func (emptyArgs) Kind() string { return "empty" }

type emptyWorker struct {
	river.WorkerDefaults[emptyArgs]
}

// Work implements river.Worker.
func (*emptyWorker) Work(context.Context, *river.Job[emptyArgs]) error { return nil }

func riverEmptyWorker(ctx context.Context) error {
	db, err := peerPool(ctx, 10)
	if err != nil {
		return err
	}
	defer db.Close()
	workers := river.NewWorkers()
	river.AddWorker(workers, &emptyWorker{})
	return runRiver(ctx, db, riverTuned(workers, 2000)) // as `river bench`
}

func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}
