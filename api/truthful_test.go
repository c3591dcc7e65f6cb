package api_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devfault"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

// startFolder makes a folder for private servers of one test.
func startFolder(t *testing.T) *devstack.Folder {
	t.Helper()
	f, err := devstack.NewFolder(t.Context(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, f.Close(ctx))
	})
	return f
}

// check returns the status and the detail of one dependency on /health/ready.
func (e *system) check(name string) (httpStatus int, detail string) {
	e.t.Helper()
	a := e.call(http.MethodGet, "/health/ready", "")
	checks, _ := a.json["checks"].(map[string]any)
	one, _ := checks[name].(map[string]any)
	detail, _ = one["detail"].(string)
	return a.StatusCode, detail
}

// Readiness asks through the connections that the API has open already: a server
// that accepts no further ones is no reason to be unready.
func TestReadinessOpensNoConnection(t *testing.T) {
	t.Parallel()
	database := devtest.Database(t)
	e := setupOn(t, database, devtest.Redis(t))
	pool := e.store.Pool()
	var open []*sql.Conn // as many as the probes use at the same time
	for range 6 {
		conn, err := pool.Conn(t.Context())
		require.NoError(t, err)
		open = append(open, conn)
	}
	for _, conn := range open {
		require.NoError(t, conn.Close())
	}
	_, err := e.db.ExecContext(t.Context(), `UPDATE pg_database SET datallowconn = false WHERE datname = current_database()`)
	require.NoError(t, err)
	a := e.call(http.MethodGet, "/health/ready", "")
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	_, err = migrations.Pending(t.Context(), database)
	require.ErrorContains(t, err, "not currently accepting connections", "a new connection is refused")
}

// A database that answers, but takes no writes, makes the API unready, with or
// without traffic, and the API becomes ready again without traffic.
func TestAReadOnlyDatabaseMakesUnready(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.submit(`{}`)
	eventually(t, "ready", func() bool { status, _ := e.check("postgres"); return status == http.StatusOK })
	var name string
	require.NoError(t, e.db.GetContext(t.Context(), &name, `SELECT quote_ident(current_database())`))
	set := func(value string) {
		_, err := e.db.ExecContext(t.Context(), `SET default_transaction_read_only = off; ALTER DATABASE `+name+` SET default_transaction_read_only = `+value)
		require.NoError(t, err)
		_, err = e.db.ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		require.NoError(t, err)
	}
	set("on")
	eventually(t, "not ready", func() bool {
		status, detail := e.check("postgres")
		return status == http.StatusServiceUnavailable && strings.Contains(detail, "read-only")
	})
	set("off")
	eventually(t, "ready again", func() bool { status, _ := e.check("postgres"); return status == http.StatusOK })
	e.submit(`{}`)
}

// A full disk is known from the submissions that it refused. When the disk is
// free again, the API finds it out by itself.
func TestAFullDiskMakesUnready(t *testing.T) {
	t.Parallel()
	small, err := devfault.StartSmallPostgres(t.Context(), startFolder(t), 512<<20)
	if errors.Is(err, devfault.ErrNoDisk) {
		t.Skip(err)
	}
	require.NoError(t, err)
	_, err = migrations.Up(t.Context(), small.DatabaseURL())
	require.NoError(t, err)
	e := setupOn(t, small.DatabaseURL(), devtest.Redis(t))
	e.submit(`{}`)
	eventually(t, "ready", func() bool { status, _ := e.check("postgres"); return status == http.StatusOK })

	require.NoError(t, small.Disk.Fill())
	large := `{"payload":{"text":"` + strings.Repeat("x", 1_000_000) + `"}}`
	eventually(t, "submissions fail", func() bool {
		return e.call(http.MethodPost, "/mass-requests/", large).StatusCode == http.StatusServiceUnavailable
	})
	var detail string
	eventually(t, "not ready", func() bool {
		var status int
		status, detail = e.check("postgres")
		return status == http.StatusServiceUnavailable
	})
	t.Log(detail)
	assert.Contains(t, []string{"the disk of the database is full", "the database is starting or shutting down",
		"the database is restarting after a crash", "the database does not answer, or is read-only", "does not answer",
		"the latest submissions could not be stored"}, detail, "without room for the WAL, PostgreSQL ends")

	require.NoError(t, small.Free(t.Context()))
	eventually(t, "ready again, without a submission", func() bool { status, _ := e.check("postgres"); return status == http.StatusOK })
	assert.Equal(t, http.StatusCreated, e.call(http.MethodPost, "/mass-requests/", large).StatusCode)
}

// A Redis that answers a PING, but takes no tasks, is named. Submissions are
// still accepted, so the API stays ready.
func TestAFullRedisIsNamed(t *testing.T) {
	t.Parallel()
	server, err := devfault.StartMemoryRedis(t.Context(), startFolder(t), "")
	require.NoError(t, err)
	e := setupOn(t, devtest.Database(t), server.URL())
	eventually(t, "ok", func() bool { status, detail := e.check("redis"); return status == http.StatusOK && detail == "" })
	require.NoError(t, devfault.FillRedis(t.Context(), e.rdb))
	eventually(t, "named", func() bool {
		status, detail := e.check("redis")
		return status == http.StatusOK && detail == "the memory of Redis is full"
	})
	assert.Equal(t, "degraded", e.call(http.MethodGet, "/health/ready", "").json["status"])
	e.submit(`{}`)
	require.NoError(t, devfault.FreeRedis(t.Context(), e.rdb))
	eventually(t, "ok again", func() bool { _, detail := e.check("redis"); return detail == "" })
}
