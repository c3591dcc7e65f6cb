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
	seed     = flag.Uint64("seed", 1, "seed of the schedule, the victims and the load")
	duration = flag.Duration("duration", 2*time.Minute, "how long load and faults last")
	long     = flag.Bool("long", false, "use the long duration of each fault, as every run of 5m or more does")
	faults   = flag.String("faults", "", "comma-separated names of the faults to inject; empty means all")
)

// building lets only one build at a time fill the cache: the overlay changes
// the whole standard library, so the first build compiles all of it.
var building sync.Mutex

// setup builds the binary with the given tags, starts the servers, and returns
// the configuration of a run on them.
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

// logFolder makes a folder that is removed unless the test fails.
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
	assert.NotZero(t, report.History.Shared, "no task had submissions of two statements: the load is too light")
	assert.Empty(t, report.NotInjected(), "faults that were never injected")
}

// The harness must be able to fail: each of the following runs removes one
// safeguard of the system, and the harness must detect it.

func TestMissingFencingIsNoticed(t *testing.T) {
	t.Parallel()
	c := setup(t, "chaos,sabotage_fencing")
	c.Duration, c.Long, c.Bound = 20*time.Second, false, 45*time.Second
	c.Faults = only(t, "worker-zombie")
	report, err := chaos.Run(t.Context(), c)
	require.NoError(t, err)
	t.Logf("\n%s", report)
	assert.NotZero(t, report.Count(chaos.Doubled), "an outdated worker overwrote a newer outcome, and the harness did not report it")
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
	assert.NotZero(t, report.Count(chaos.Lost), "requests were never processed, and the harness did not report it")
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
