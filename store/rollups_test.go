package store_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// rollUp computes all dirty rollups again.
func (b system) rollUp() {
	b.t.Helper()
	for {
		hours, err := b.RollUp(b.ctx)
		require.NoError(b.t, err)
		if hours == 0 {
			break
		}
	}
	report, err := b.VerifyRollups(b.ctx)
	require.NoError(b.t, err)
	require.Empty(b.t, report.Wrong)
}

// bothWays adds up readings from the readings alone and with the rollups.
func (b system) bothWays(scope store.ReadingScope, buckets []kpi.Range) {
	b.t.Helper()
	want, have := kpi.NewSeries(buckets), kpi.NewSeries(buckets)
	for i := range buckets {
		require.NoError(b.t, b.Pieces(b.ctx, scope, buckets[i], func(v *kpi.Values, piece kpi.Range) { want.Add(v, piece) }))
	}
	require.NoError(b.t, b.FillSeries(b.ctx, scope, have))
	for i := range buckets {
		_, w, wantCovered := want.At(i)
		_, h, haveCovered := have.At(i)
		require.InDelta(b.t, wantCovered, haveCovered, 1e-6, "%v", buckets[i])
		of := h.Quantities()
		for k, x := range w.Quantities() {
			require.InDelta(b.t, *x, *of[k], 1e-9*max(1, math.Abs(*x)), "%v, quantity %d", buckets[i], k)
		}
		require.Equal(b.t, w.ITMaxKW, h.ITMaxKW)
		require.Equal(b.t, w.InletMaxC, h.InletMaxC)
		require.True(b.t, w.InletMaxAt.Equal(h.InletMaxAt))
		require.Equal(b.t, w.HeadroomMinK, h.HeadroomMinK)
	}
}

// Whatever was submitted, corrected, deleted and replayed, in zones of half hours
// and of clock changes: rollups are what a recomputation gives, and figures from
// them are those of the readings, dirty or not.
func TestRollupsEqualTheReadings(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rng := rand.New(rand.NewPCG(3, 4))
	zones := map[string]string{"s": "Europe/Madrid", "z": "Asia/Kolkata", "l": "Australia/Lord_Howe"}
	names := []string{"s", "z", "l"}
	var ids []int64
	for round := range 4 {
		var payloads []string
		for range 12 {
			from := 27*24*60 + rng.IntN(300)*15 // around the clock change of 29 March; Lord Howe's is on 4 April
			payloads = append(payloads, signalsOf(names[rng.IntN(3)], []string{"", "a", "b"}[rng.IntN(3)], from, from+5*(1+rng.IntN(300)), float64(1+rng.IntN(50))))
		}
		ids = append(ids, b.finished(payloads...)...)
		if id := ids[rng.IntN(len(ids))]; round%2 == 0 {
			_ = b.DeleteRequest(b.ctx, id, store.Origin{Actor: "test"}) // it may be gone already
		} else if moved, err := b.MoveRequest(b.ctx, id, jobs.StatusPending, store.Origin{Actor: "test"}); err == nil {
			b.end(b.worker(), moved.BatchID)
		}
		b.project(7)
		if round == 1 {
			for site, zone := range zones {
				require.NoError(t, b.SetSiteZone(b.ctx, site, zone, store.Origin{Actor: "test"}))
			}
		}
		if round != 2 { // then the dirty ones are read from the readings
			b.rollUp()
		}
		for site, name := range zones {
			zone, err := time.LoadLocation(name)
			require.NoError(t, err)
			whole := kpi.Range{From: march.AddDate(0, 0, 26).Add(100 * time.Minute), To: march.AddDate(0, 0, 36).Add(13 * time.Minute)}
			for _, cluster := range []string{"", "a"} {
				scope := store.ReadingScope{Site: site, Cluster: cluster}
				b.bothWays(scope, []kpi.Range{whole})
				b.bothWays(scope, kpi.Day.Divide(whole, zone))
				b.bothWays(scope, kpi.Day.Divide(whole, time.UTC))
				b.bothWays(scope, kpi.Minutes(30).Divide(kpi.Range{From: whole.From, To: whole.From.AddDate(0, 0, 3)}, zone))
			}
		}
	}
}

// Each quantity of kpi.Sums has its column: a round trip through the table loses
// none and mixes none up.
func TestRollupsKeepEachQuantity(t *testing.T) {
	t.Parallel()
	b := setup(t)
	payload := fmt.Sprintf(`{"schema_version":"1.1","request":{"time_window":{"start_utc":%q,"end_utc":%q},"assets":{"site_id":"s"},
        "signals":{"energy":{"it_load_kw":11,"facility_power_kw":13,"carbon_intensity_gco2_per_kwh":217,"energy_price_usd_per_kwh":0.19},
        "thermal":{"avg_rack_inlet_c":21,"p95_rack_inlet_c":28,"supply_temp_c":17,"return_temp_c":31},
        "cooling":{"cooling_setpoint_c":19,"chiller_kw":1.3,"fan_power_kw":0.4},
        "workload":{"cpu_util_avg":41,"gpu_util_avg":43,"queue_depth":7,"tokens_per_watt_est":3},
        "weather":{"outdoor_dry_bulb_c":-4,"outdoor_wet_bulb_c":-5.5},"water":{"water_l":23}},
        "constraints":{"hard":{"no_control_actions":true,"max_rack_inlet_p95_c":27}}}}`,
		march.Format(time.RFC3339), march.Add(time.Hour).Format(time.RFC3339))
	b.finished(payload, signalsOf("s", "", 60, 90, 5))
	b.project(10)
	b.rollUp()
	b.bothWays(store.ReadingScope{Site: "s"}, []kpi.Range{{From: march, To: march.AddDate(0, 0, 1)}})

	var s kpi.Sums
	require.NoError(t, b.Pieces(b.ctx, store.ReadingScope{Site: "s"}, kpi.Range{From: march, To: march.Add(time.Hour)}, s.AddReading))
	floats := 0 // fields of Sums that are plain sums
	for i := range reflect.TypeFor[kpi.Sums]().NumField() {
		switch f := reflect.TypeFor[kpi.Sums]().Field(i); f.Type {
		case reflect.TypeFor[float64]():
			floats++
		case reflect.TypeFor[kpi.Mean]():
			floats += 2
		}
	}
	require.Len(t, s.Quantities(), floats, "Quantities lists every sum")
	zero := 0
	for _, x := range s.Quantities() {
		if *x == 0 {
			zero++
		}
	}
	require.Equal(t, 2, zero, "only the times below and within the range of the inlet are 0")

	// Any wrong quantity is found.
	for _, statement := range []string{
		`UPDATE rollup_hour SET return_sum = return_sum * (1 + 1e-8)`, `UPDATE rollup_day SET cost = cost + 0.001`,
		`DELETE FROM rollup_day`, `INSERT INTO rollup_hour SELECT (jsonb_populate_record(h, '{"cluster": "other"}')).* FROM rollup_hour h`,
	} {
		_, err := b.db.ExecContext(b.ctx, statement)
		require.NoError(t, err)
		report, err := b.VerifyRollups(b.ctx)
		require.NoError(t, err)
		require.NotEmpty(t, report.Wrong, statement)
		_, err = b.db.ExecContext(b.ctx, `DELETE FROM rollup_hour WHERE cluster = 'other'`)
		require.NoError(t, err)
		_, err = b.db.ExecContext(b.ctx, `INSERT INTO rollup_dirty (site, from_at, to_at) VALUES ('s', $1, $2)`, march, march.AddDate(0, 0, 1))
		require.NoError(t, err)
		b.rollUp()
	}
}

// A long window is rolled up in several steps.
func TestALongWindowIsRolledUpInSteps(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.finished(signalsOf("s", "", 7, 100*24*60, 10))
	b.project(10)
	first, err := b.RollUp(b.ctx)
	require.NoError(t, err)
	require.Equal(t, 31*24, first)
	b.bothWays(store.ReadingScope{Site: "s"}, []kpi.Range{{From: march, To: march.AddDate(0, 0, 60)}})
	b.rollUp()
}

// Windows at the edges of what a payload may name do not stop the projection.
func TestExtremeWindows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	window := func(from, to string) string {
		return fmt.Sprintf(`{"schema_version":"1.1","request":{"time_window":{"start_utc":%q,"end_utc":%q},"assets":{"site_id":"s"},
            "signals":{"energy":{"it_load_kw":1,"facility_power_kw":2}},"constraints":{"hard":{"no_control_actions":true}}}}`, from, to)
	}
	b.finished(
		window("2026-03-01T00:00:00.000000001Z", "2026-03-01T00:00:00.000000002Z"),
		window("9998-12-31T22:00:00Z", "9998-12-31T23:00:00Z"),
		window("1970-01-01T00:00:00Z", "1970-01-01T01:00:00Z"),
	)
	skipped := b.finished(window("0000-01-01T00:00:00Z", "0000-01-01T01:00:00Z"), window("9999-12-31T22:00:00Z", "9999-12-31T23:00:00Z"))
	mark, err := b.MarkTrail(b.ctx)
	require.NoError(t, err)
	step, err := b.ProjectReadings(b.ctx, 0, mark.UpTo, 100)
	require.NoError(t, err)
	require.Equal(t, 3, step.Stored)
	require.Equal(t, skipped, step.Skipped)
	b.verified()
}

// The retention of readings removes whole months, and what their readings took
// from later ones counts again.
func TestOldMonthsAreForgotten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	month := func(d int) int { return d * 24 * 60 }
	b.finished(signalsOf("s", "", 0, 60, 10), signalsOf("s", "", month(31), month(31)+120, 100), signalsOf("s", "", month(31)-60, month(31)+60, 10))
	b.project(10)
	b.rollUp()
	april := store.ReadingScope{Site: "s"}
	require.InDelta(t, 150+15, b.facility(april, month(31), month(32)), 1e-9, "the later one counts where both overlap")

	forgotten, _, err := b.ForgetReadings(b.ctx, march.AddDate(0, 1, -1))
	require.NoError(t, err)
	require.True(t, forgotten.IsZero(), "the month is not over for long enough")
	forgotten, removed, err := b.ForgetReadings(b.ctx, march.AddDate(0, 1, 0))
	require.NoError(t, err)
	require.True(t, forgotten.Equal(march))
	require.EqualValues(t, 2, removed)
	require.InDelta(t, 300, b.facility(april, month(31), month(32)), 1e-9, "the rest counts again")
	b.rollUp()
	b.verified()

	// Neither a rebuild nor a late reading brings them back.
	late := b.finished(signalsOf("s", "", 0, 60, 10))
	_, _, err = b.RebuildReadings(b.ctx, 0, 100, kpi.Range{})
	require.NoError(t, err)
	b.project(10)
	require.NotEmpty(t, late)
	require.Equal(t, 1, b.verified().Readings)
}
