//go:build chaos

package chaos_test

import (
	"flag"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/chaos"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

var (
	seed     = flag.Uint64("seed", 1, "of the schedule, the victims and the load")
	duration = flag.Duration("duration", 2*time.Minute, "of the load and the faults")
	long     = flag.Bool("long", false, "faults last as long as the issue asks, which they also do from a duration of 5m on")
	faults   = flag.String("faults", "", "the names of the faults to inject, with commas between them; all when empty")
)

// building lets one build at a time fill the cache: with the overlay all of the
// standard library is another one.
var building sync.Mutex

// setup builds the binary with more tags, starts the servers, and returns the
// description of a run on them.
func setup(t *testing.T, tags string) chaos.Config {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "mass")
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	require.NoError(t, err)
	overlay, err := chaos.ClockOverlay(strings.TrimSpace(string(root)), t.TempDir())
	require.NoError(t, err)
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-tags", tags, "-o", binary, "../cmd/mass")
	building.Lock()
	out, err := build.CombinedOutput()
	building.Unlock()
	require.NoError(t, err, "%s", out)

	servers := devtest.Private(t)
	_, err = migrations.Up(t.Context(), servers.DatabaseURL())
	require.NoError(t, err)
	return chaos.Config{
		Binary: binary, Servers: servers, DatabaseURL: servers.DatabaseURL(), RedisURL: servers.RedisURL(),
		RedisData: servers.RedisData(), Dir: logFolder(t),
		Seed: *seed, Duration: *duration, Long: *long || *duration >= 5*time.Minute, Faults: chaos.Faults(),
		APIs: 2, Workers: 3, Rate: 180, Bound: time.Minute, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// logFolder is removed unless the test fails.
func logFolder(t *testing.T) string {
	dir, err := os.MkdirTemp("", "mass-chaos-")
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the logs of the processes are in %s", dir)
			return
		}
		assert.NoError(t, os.RemoveAll(dir))
	})
	return dir
}

func TestChaos(t *testing.T) {
	t.Parallel()
	c := setup(t, "chaos")
	if *faults != "" {
		c.Faults = only(t, strings.Split(*faults, ",")...)
	}
	report, err := chaos.Run(t.Context(), c)
	require.NoError(t, err)
	t.Logf("\n%s", report)
	assert.True(t, report.OK(), "promises were broken")
	assert.NotZero(t, report.Acknowledged)
	assert.NotZero(t, report.History.Shared, "no two statements shared a task: the load is too thin")
	assert.Empty(t, report.NotInjected(), "faults that never struck")
}

// The harness must be able to fail: each of these runs meets a system without
// one of its safeguards, and has to find out.

func TestMissingFencingIsNoticed(t *testing.T) {
	t.Parallel()
	c := setup(t, "chaos,sabotage_fencing")
	c.Duration, c.Long, c.Bound = 20*time.Second, false, 45*time.Second
	c.Faults = only(t, "worker-zombie")
	report, err := chaos.Run(t.Context(), c)
	require.NoError(t, err)
	t.Logf("\n%s", report)
	assert.NotZero(t, report.Count(chaos.Doubled), "an outdated worker overwrote a newer outcome, and nobody noticed")
}

func TestMissingReconcilerIsNoticed(t *testing.T) {
	t.Parallel()
	c := setup(t, "chaos")
	c.Duration, c.Long, c.Bound = 15*time.Second, false, 10*time.Second
	c.Faults = only(t, "redis-kill-data-lost", "worker-kill")
	c.WorkerSettings = []string{"MASS_RECONCILE_GRACE=24h", "MASS_SILENT_AFTER=24h"}
	report, err := chaos.Run(t.Context(), c)
	require.NoError(t, err)
	t.Logf("\n%s", report)
	assert.NotZero(t, report.Count(chaos.Lost), "requests were never worked on, and nobody noticed")
}

// only selects faults by name.
func only(t *testing.T, names ...string) []chaos.Fault {
	t.Helper()
	var list []chaos.Fault
	for _, f := range chaos.Faults() {
		if slices.Contains(names, f.Name) {
			list = append(list, f)
		}
	}
	require.Len(t, list, len(names))
	return list
}
