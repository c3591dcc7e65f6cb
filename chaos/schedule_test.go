package chaos_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/chaos"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

// everything is a stage with all faults, whether or not they fit one topology.
func everything() chaos.Stage {
	return chaos.Stage{Number: 1, Required: chaos.Faults(), Faults: chaos.Faults()}
}

// first returns the names of the first strikes of a schedule.
func first(seed uint64, n int) (names [][]string) {
	for strike := range chaos.Schedule(seed, everything()) {
		var s []string
		for _, f := range strike.Faults {
			s = append(s, f.Name)
		}
		if names = append(names, s); len(names) == n {
			break
		}
	}
	return names
}

func TestScheduleDependsOnTheSeedAlone(t *testing.T) {
	t.Parallel()
	assert.Equal(t, first(7, 100), first(7, 100))
	assert.NotEqual(t, first(7, 100), first(8, 100))
}

func TestScheduleUsesEveryFaultAndBreaksNoTargetTwice(t *testing.T) {
	t.Parallel()
	count, double := map[string]int{}, 0
	n := 0
	for strike := range chaos.Schedule(7, everything()) {
		if n++; n > 200 {
			break
		}
		assert.GreaterOrEqual(t, strike.Gap, time.Second)
		for _, f := range strike.Faults {
			count[f.Name]++
		}
		if len(strike.Faults) == 2 {
			double++
			assert.NotEqual(t, strike.Faults[0].Target, strike.Faults[1].Target)
			for i, f := range strike.Faults {
				if f.Name == "rolling-restart" {
					assert.Contains(t, []chaos.Target{"redis", "postgres"}, strike.Faults[1-i].Target, "a process that is restarted is not broken as well")
				}
			}
		}
	}
	least, most := 1000, 0
	for _, f := range chaos.Faults() {
		least, most = min(least, count[f.Name]), max(most, count[f.Name])
	}
	assert.LessOrEqual(t, most-least, 1, "all are used equally often")
	assert.Greater(t, double, 20)
}

func TestPlanInjectsEveryFaultTwiceInTenMinutes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		stages := chaos.Plan(10*time.Minute, true, chaos.Topologies(seed, true), chaos.Faults())
		require.Len(t, stages, 3)
		count, total := map[string]int{}, time.Duration(0)
		for _, stage := range stages {
			total += stage.Duration
			require.Greater(t, stage.Duration, time.Minute, "the stages are balanced")
			for _, f := range stage.Required {
				count[f.Name]++
				require.True(t, f.Postgres == "" || f.Postgres == stage.Topology.Postgres, f.Name)
				require.True(t, f.Redis == "" || f.Redis == stage.Topology.Redis, f.Name)
			}
		}
		require.InDelta(t, 10*time.Minute, total, float64(2*time.Second))
		require.Len(t, count, len(chaos.Faults()))
		for name, n := range count {
			require.Equal(t, 2, n, name)
		}
	}
}

func TestPlanDependsOnTheSeedAlone(t *testing.T) {
	t.Parallel()
	describe := func(seed uint64) string {
		return chaos.Describe(seed, chaos.Plan(time.Minute, false, chaos.Topologies(seed, true), chaos.Faults()))
	}
	require.Equal(t, describe(3), describe(3))
	require.NotEqual(t, describe(3), describe(4))
	met := map[string]bool{}
	for seed := range uint64(50) {
		for _, topology := range chaos.Topologies(seed, true) {
			met[topology.String()] = true
		}
	}
	require.Len(t, met, 9, "some seed lets each form of PostgreSQL meet each form of Redis")
}

func TestPlanWithoutPgBouncer(t *testing.T) {
	t.Parallel()
	var fit []chaos.Fault
	for _, f := range chaos.Faults() {
		if f.Postgres != chaos.PooledPostgres {
			fit = append(fit, f)
		}
	}
	stages := chaos.Plan(time.Minute, false, chaos.Topologies(5, false), fit)
	require.Len(t, stages, 3)
	required := 0
	for _, stage := range stages {
		require.NotEqual(t, chaos.PooledPostgres, stage.Topology.Postgres)
		required += len(stage.Required)
	}
	require.Len(t, fit, required)
}

func TestKindsShareOneHundred(t *testing.T) {
	t.Parallel()
	total := 0
	for _, k := range chaos.Kinds() {
		total += k.Share
	}
	assert.Equal(t, 100, total)
}

// fixedPipeline answers every payload alike.
type fixedPipeline struct {
	result json.RawMessage
	err    error
}

func (p fixedPipeline) Run(context.Context, []byte) (json.RawMessage, bool, error) {
	return p.result, false, p.err
}

func TestPipelineObeysAndSigns(t *testing.T) {
	t.Parallel()
	p := chaos.NewPipeline(fixedPipeline{result: json.RawMessage(`{"normalized":{}}`)}, t.TempDir())
	payload := []byte(`{"correlation_id":"n","chaos":{"sleep_ms":1,"fail_times":2}}`)
	ctx := jobs.ContextWithLease(t.Context(), jobs.Lease{ID: 1, Attempt: 3})

	for range 2 {
		_, _, err := p.Run(ctx, payload)
		require.ErrorContains(t, err, "ordered to fail")
	}
	result, asSubmitted, err := p.Run(ctx, payload)
	require.NoError(t, err)
	assert.False(t, asSubmitted)
	assert.JSONEq(t, `{"normalized":{},"chaos":{"attempt":3}}`, string(result))
}

func TestPipelineHandsErrorsOn(t *testing.T) {
	t.Parallel()
	cause := errors.New("no good")
	p := chaos.NewPipeline(fixedPipeline{err: cause}, t.TempDir())
	_, _, err := p.Run(t.Context(), []byte(`{}`))
	assert.ErrorIs(t, err, cause)
}
