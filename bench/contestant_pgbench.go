package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/migrations"
)

// pgbenchTable is the product's table with the indexes that its lists need, as a service written the ordinary way has them:
// the product keeps three of those on a table beside, which takes another row.
const pgbenchTable = `
CREATE TABLE pgbench_requests (LIKE mass_requests INCLUDING ALL) WITH (toast_tuple_target = 1024);
CREATE INDEX ON pgbench_requests (created_at, id);
CREATE INDEX ON pgbench_requests (site_id, created_at, id) WHERE site_id IS NOT NULL;
CREATE INDEX ON pgbench_requests (cluster_id, created_at, id) WHERE cluster_id IS NOT NULL;
`

// pgbenchScript inserts a row as the product does, one a transaction; the product writes an audit event beside, which is
// left out here. The payload is a parameter, so that it is parsed every time.
const pgbenchScript = `INSERT INTO pgbench_requests (batch_id, payload, schema_version, correlation_id, site_id, cluster_id)
VALUES (nextval('mass_batches'), :payload::json, '1.1', 'c-1', 'site-1', 'cluster-1');
`

// pgbench measures how fast this PostgreSQL takes rows one by one, from as many clients as POST gets connections.
func (b *bench) pgbench(ctx context.Context, clients int) (err error) {
	binary, err := findPgbench()
	if err != nil {
		return err
	}
	name, databaseURL, err := b.machine.database(ctx, "pgbench", func(ctx context.Context, databaseURL string) error {
		if _, err := migrations.Up(ctx, databaseURL); err != nil {
			return err
		}
		return execute(ctx, databaseURL, pgbenchTable)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.machine.drop(context.WithoutCancel(ctx), name)) }()
	payload, err := firstPayload()
	if err != nil {
		return err
	}
	script := filepath.Join(b.machine.dir, "insert.sql")
	if err := os.WriteFile(script, []byte(pgbenchScript), 0o600); err != nil {
		return err
	}
	logs, err := os.MkdirTemp(b.machine.dir, "pgbench-")
	if err != nil {
		return err
	}
	// pgbench knows whole seconds only, and counts among them those in which the clients connect, though not in its rate.
	seconds := max(1, int(b.duration.Round(time.Second).Seconds())) + clients/50
	cpu := b.machine.cpu()
	cmd := exec.CommandContext(ctx, binary, "-n", "-M", "prepared", "-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(4, clients)),
		"-T", strconv.Itoa(seconds), "-l", "--log-prefix="+filepath.Join(logs, "log"), "-f", script, "-D", "payload="+payload, databaseURL)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("pgbench: %w: %.500s", err, out)
	}
	used := b.machine.cpu()["postgres"] - cpu["postgres"]
	m := regexp.MustCompile(`tps = ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		return fmt.Errorf("pgbench: no rate in %.500s", out)
	}
	rate, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		return err
	}
	latency, err := pgbenchLatency(logs)
	if err != nil {
		return err
	}
	b.add("post", "pgbench", fmt.Sprintf("conns=%d", clients), map[string]float64{
		"rate": rate, "p50_ms": ms(latency.quantile(0.5)), "p99_ms": ms(latency.quantile(0.99)), "errors": 0,
		"cpu_us_postgres": float64(used.Microseconds()) / max(1, float64(latency.n)),
	})
	return os.RemoveAll(logs)
}

// pgbenchLatency reads the transaction logs: client, number, microseconds, …
func pgbenchLatency(dir string) (*histogram, error) {
	files, err := filepath.Glob(filepath.Join(dir, "log*"))
	if err != nil {
		return nil, err
	}
	h := &histogram{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(content) {
			if f := strings.Fields(string(line)); len(f) > 2 {
				us, err := strconv.ParseInt(f[2], 10, 64)
				if err != nil {
					return nil, fmt.Errorf("read a log of pgbench: %w", err)
				}
				h.record(time.Duration(us) * time.Microsecond)
			}
		}
	}
	return h, nil
}

// findPgbench looks where PostgreSQL's own programs are.
func findPgbench() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if len(found) > 0 {
		return found[len(found)-1], nil
	}
	path, err := exec.LookPath("pgbench")
	if err != nil {
		return "", fmt.Errorf("pgbench is needed (Debian: postgresql-contrib): %w", err)
	}
	return path, nil
}
