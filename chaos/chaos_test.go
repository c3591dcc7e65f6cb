//go:build chaos

package chaos_test

import (
	"context"
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

	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/chaos"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

var (
	seed     = flag.Uint64("seed", 1, "seed of the topologies, the schedule, the victims and the load")
	duration = flag.Duration("duration", 2*time.Minute, "how long load and faults last, all stages together")
	long     = flag.Bool("long", false, "use the long duration of each fault, as every run of 5m or more does")
	faults   = flag.String("faults", "", "comma-separated names of the faults to inject; empty means all")
	topology = flag.String("topology", "", "use only this topology, such as single/single or standby/cluster; empty means one after the other")
)

func TestMain(m *testing.M) {
	logging.Disable() // go-redis reports every failover on standard error
	os.Exit(m.Run())
}

// building lets only one build at a time fill the cache: the overlay changes
// the whole standard library, so the first build compiles all of it.
var building sync.Mutex

// build builds the binary under test with the given tags.
func build(t *testing.T, tags string) string {
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
	return binary
}

// run runs one stage on servers of its own.
func run(t *testing.T, binary string, stage chaos.Stage, change func(*chaos.Config)) *chaos.Report {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	c := chaos.Config{
		Binary: binary, Dir: logFolder(t), Seed: *seed, Stage: stage, Long: isLong(),
		APIs: 2, Workers: 3, Rate: 180, Bound: time.Minute, Logger: logger,
	}
	asynchronous := false
	if change != nil {
		change(&c)
		asynchronous = c.Servers == unsafeServers
	}
	var err error
	c.Servers, err = chaos.Install(t.Context(), stage.Topology, asynchronous, logger)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Servers.Close(context.WithoutCancel(t.Context()))) }()
	_, err = migrations.Up(t.Context(), c.Servers.AdminURL())
	require.NoError(t, err)
	report, err := chaos.Run(t.Context(), c)
	require.NoError(t, err)
	t.Logf("\n%s", report)
	return report
}

// unsafeServers asks run for an asynchronous standby.
var unsafeServers = &chaos.Installation{}

func isLong() bool { return *long || *duration >= 5*time.Minute }

// stages plans the run that the flags describe, without the faults that this
// machine does not allow.
func stages(t *testing.T, leftOut map[string]string) ([]chaos.Stage, []chaos.Fault) {
	t.Helper()
	wanted := chaos.Faults()
	if *faults != "" {
		wanted = only(t, strings.Split(*faults, ",")...)
	}
	possible := slices.DeleteFunc(slices.Clone(wanted), func(f chaos.Fault) bool { return leftOut[f.Name] != "" })
	topologies := chaos.Topologies(*seed, leftOut["pgbouncer-restart"] == "")
	if *topology != "" {
		postgres, redis, _ := strings.Cut(*topology, "/")
		topologies = []chaos.Topology{{Postgres: chaos.PostgresForm(postgres), Redis: chaos.RedisForm(redis)}}
	}
	return chaos.Plan(*duration, isLong(), topologies, possible), wanted
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
	leftOut := chaos.LeftOut()
	list, wanted := stages(t, leftOut)
	require.NotEmpty(t, list, "no topology fits the faults")
	t.Logf("seed %d:\n%s", *seed, chaos.Describe(*seed, list))
	binary := build(t, "chaos")
	var reports []*chaos.Report
	for _, stage := range list {
		report := run(t, binary, stage, nil)
		reports = append(reports, report)
		assert.True(t, report.OK(), "promises were broken")
		assert.NotZero(t, report.Acknowledged)
		assert.NotZero(t, report.History.Shared, "no task had submissions of two statements: the load is too light")
		assert.Empty(t, report.NotInjected(), "faults that were not injected often enough")
	}
	t.Logf("\n%s", chaos.Summary(*seed, wanted, reports, leftOut))
}

// A short run of the servers that fail over, for every change of the code.
func TestFailover(t *testing.T) {
	t.Parallel()
	report := run(t, build(t, "chaos"), stage(t, chaos.Topology{Postgres: chaos.StandbyPair, Redis: chaos.SentinelRedis}, 10*time.Second,
		"postgres-promotion", "sentinel-failover"), lighter)
	assert.True(t, report.OK(), "promises were broken")
	assert.Empty(t, report.NotInjected())
}

// The harness must be able to fail: each of the following runs removes one
// safeguard of the system, and the harness must detect it.

func TestMissingFencingIsNoticed(t *testing.T) {
	t.Parallel()
	report := run(t, build(t, "chaos,sabotage_fencing"), stage(t, chaos.Plain(), 20*time.Second, "worker-zombie"),
		func(c *chaos.Config) { c.Long, c.Bound = false, 45*time.Second })
	assert.NotZero(t, report.Count(chaos.Doubled), "an outdated worker overwrote a newer outcome, and the harness did not report it")
}

func TestMissingReconcilerIsNoticed(t *testing.T) {
	t.Parallel()
	report := run(t, build(t, "chaos"), stage(t, chaos.Plain(), 15*time.Second, "redis-kill-data-lost", "worker-kill"), func(c *chaos.Config) {
		c.Long, c.Bound = false, 10*time.Second
		c.WorkerSettings = []string{"MASS_RECONCILE_GRACE=24h", "MASS_SILENT_AFTER=24h"}
	})
	assert.NotZero(t, report.Count(chaos.Lost), "requests were never processed, and the harness did not report it")
}

// The standby gets nothing for the last half second of the primary. With a
// synchronous standby no submission is acknowledged in that time.
func TestAsynchronousStandbyIsNoticed(t *testing.T) {
	t.Parallel()
	report := run(t, build(t, "chaos"), stage(t, chaos.Topology{Postgres: chaos.StandbyPair, Redis: chaos.SingleRedis}, 10*time.Second,
		"postgres-failover"), func(c *chaos.Config) {
		lighter(c)
		c.Servers, c.Bound = unsafeServers, 20*time.Second
	})
	assert.NotZero(t, report.Count(chaos.Lost), "acknowledged requests were lost in the failover, and the harness did not report it")
}

// lighter makes a run that shares the machine with others.
func lighter(c *chaos.Config) { c.Long, c.Rate, c.Workers = false, 60, 2 }

// stage injects each of the named faults once.
func stage(t *testing.T, topology chaos.Topology, duration time.Duration, names ...string) chaos.Stage {
	t.Helper()
	list := chaos.Plan(duration, false, []chaos.Topology{topology}, only(t, names...))
	require.Len(t, list, 1)
	return list[0]
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
