package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/pipeline"
)

// The peers are the same service written the ordinary way on a queue that exists. They run as processes of their own:
// this binary, called as `bench peer <name> [address]`.

// peerTable is the product's table without what belongs to its own way of delivery (batches, claims, rescues), and with
// the indexes that the same API needs for its lists.
const peerTable = `
CREATE TABLE requests (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at     timestamptz NOT NULL DEFAULT now(),
    started_at     timestamptz,
    finished_at    timestamptz,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    attempt        integer NOT NULL DEFAULT 0,
    status         text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'processing', 'done', 'failed', 'cancelled')),
    priority       text NOT NULL DEFAULT 'default',
    schema_version text NOT NULL,
    correlation_id text,
    site_id        text,
    cluster_id     text,
    error          text,
    payload        jsonb NOT NULL,
    result         jsonb
);
CREATE INDEX ON requests (created_at, id);
CREATE INDEX ON requests (status, created_at, id) WHERE status <> 'done';
CREATE INDEX ON requests (site_id, created_at, id) WHERE site_id IS NOT NULL;
CREATE INDEX ON requests (cluster_id, created_at, id) WHERE cluster_id IS NOT NULL`

// fillPeerTable stores n requests at once, without queueing them.
const fillPeerTable = `
INSERT INTO requests (schema_version, correlation_id, site_id, cluster_id, payload)
SELECT p->>'schema_version', p->>'correlation_id', p #>> '{request,assets,site_id}', p #>> '{request,assets,cluster_id}', p
FROM (SELECT ($1::jsonb[])[1 + n % cardinality($1::jsonb[])] AS p FROM generate_series(1, $2::int) n) s`

// peerBacklog stores n requests in bulk.
func peerBacklog(ctx context.Context, s *session, n int) error {
	var payloads []string
	for _, body := range bodies() {
		var b submission
		if err := json.Unmarshal(body, &b); err != nil {
			return err
		}
		payloads = append(payloads, string(b.Payload))
	}
	_, err := s.db.Exec(ctx, fillPeerTable, payloads, n)
	s.accepted += int64(n)
	return err
}

// submission is the body of a POST.
type submission struct {
	Payload json.RawMessage `json:"payload"`
}

// accepted is the answer.
type accepted struct {
	ID        int64           `json:"id"`
	Status    string          `json:"status"`
	CreatedAt time.Time       `json:"created_at"`
	Payload   json.RawMessage `json:"payload"`
}

// inserter stores a request and sees to it that it is worked on.
type inserter func(ctx context.Context, meta payload.Meta, raw json.RawMessage) (accepted, error)

const insertRequest = `
INSERT INTO requests (schema_version, correlation_id, site_id, cluster_id, payload)
VALUES ($1, nullif($2, ''), nullif($3, ''), nullif($4, ''), $5) RETURNING id, status, created_at`

// queryRower is a pool or a transaction.
type queryRower interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func insert(ctx context.Context, db queryRower, meta payload.Meta, raw json.RawMessage) (a accepted, err error) {
	a.Payload = raw
	err = db.QueryRow(ctx, insertRequest, meta.SchemaVersion, meta.CorrelationID, meta.SiteID, meta.ClusterID, raw).
		Scan(&a.ID, &a.Status, &a.CreatedAt)
	return a, err
}

// peerHandler is the API of a peer.
func peerHandler(insert inserter) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health/ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /mass-requests/", func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		var body submission
		if err == nil {
			err = json.Unmarshal(raw, &body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		meta, faults := payload.Inspect(body.Payload)
		if err := faults.Err(); err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		a, err := insert(r.Context(), meta, body.Payload)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Location", fmt.Sprintf("/mass-requests/%d", a.ID))
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(a)
	})
	return mux
}

// workOn is what a peer's worker does with a request: one UPDATE a transition, and the product's pipeline between them.
func workOn(ctx context.Context, db *pgxpool.Pool, id int64) error {
	var raw []byte
	err := db.QueryRow(ctx, `
        UPDATE requests SET status = 'processing', attempt = attempt + 1, started_at = now(), updated_at = now()
        WHERE id = $1 AND status IN ('pending', 'processing') RETURNING payload`, id).Scan(&raw)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // a repeated delivery
	}
	if err != nil {
		return err
	}
	result, err := pipeline.Run(ctx, raw)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, `
        UPDATE requests SET status = 'done', result = $2, finished_at = now(), updated_at = now()
        WHERE id = $1 AND status = 'processing'`, id, result)
	return err
}

// peerPool is the connection pool of a peer's process.
func peerPool(ctx context.Context, conns int32) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		return nil, err
	}
	config.MaxConns = conns
	return pgxpool.NewWithConfig(ctx, config)
}

// runPeer is the main function of a peer's process.
func runPeer(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	switch args[0] {
	case "river-api":
		return riverAPI(ctx, args[1])
	case "river-worker":
		return riverWorker(ctx)
	case "river-empty":
		return riverEmptyWorker(ctx)
	case "asynq-api":
		return asynqAPI(ctx, args[1])
	case "asynq-worker":
		return asynqWorker(ctx)
	}
	return fmt.Errorf("no peer %q", args[0])
}

// serve runs an API until ctx ends.
func serve(ctx context.Context, addr string, h http.Handler) error {
	server := &http.Server{Addr: addr, Handler: h, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Shutdown(context.WithoutCancel(ctx)) })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
