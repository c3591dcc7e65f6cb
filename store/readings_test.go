package store_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

// march is the beginning of the time that the readings of these tests are about.
var march = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// signalsOf is a signals payload of a site, or of one of its clusters, for a
// window in minutes after march.
func signalsOf(site, cluster string, from, to int, kw float64) string {
	stamp := func(minutes int) string { return march.Add(time.Duration(minutes) * time.Minute).Format(time.RFC3339) }
	assets := fmt.Sprintf(`"site_id":%q`, site)
	if cluster != "" {
		assets += fmt.Sprintf(`,"cluster_id":%q`, cluster)
	}
	return fmt.Sprintf(`{"schema_version":"1.1","request":{"time_window":{"start_utc":%q,"end_utc":%q},"assets":{%s},
        "signals":{"energy":{"it_load_kw":%v,"facility_power_kw":%v}},"constraints":{"hard":{"no_control_actions":true}}}}`,
		stamp(from), stamp(to), assets, kw, 1.5*kw)
}

// finished submits signals payloads and ends them as done.
func (b system) finished(payloads ...string) (ids []int64) {
	b.t.Helper()
	worker := b.worker()
	for _, payload := range payloads {
		in, err := b.InsertRequests(b.ctx, []store.NewRequest{{Payload: json.RawMessage(payload), SchemaVersion: signals.Version, Priority: jobs.Default}})
		require.NoError(b.t, err)
		b.end(worker, in[0].BatchID)
		ids = append(ids, in[0].ID)
	}
	return ids
}

func (b system) end(worker store.WorkerIdentity, batch int64) {
	b.t.Helper()
	for _, c := range b.claim(worker, batch) {
		b.settle(worker, jobs.Outcome{Lease: c.Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{}`)}})
	}
}

// project follows the trail to its end, in steps of some events.
func (b system) project(size int) {
	b.t.Helper()
	mark, err := b.MarkTrail(b.ctx)
	require.NoError(b.t, err)
	position, err := b.ReadingsPosition(b.ctx)
	require.NoError(b.t, err)
	for position < mark.UpTo {
		step, err := b.ProjectReadings(b.ctx, position, mark.UpTo, size)
		require.NoError(b.t, err)
		require.Empty(b.t, step.Skipped)
		require.Greater(b.t, step.Upto, position)
		position = step.Upto
	}
	b.verified()
}

func (b system) verified() store.ReadingsReport {
	b.t.Helper()
	report, err := b.VerifyReadings(b.ctx)
	require.NoError(b.t, err)
	require.True(b.t, report.OK(), "%+v", report)
	return report
}

// facility adds up the facility energy of a site, or of a cluster, in kWh.
func (b system) facility(scope store.ReadingScope, from, to int) float64 {
	b.t.Helper()
	var s kpi.Sums
	r := kpi.Range{From: march.Add(time.Duration(from) * time.Minute), To: march.Add(time.Duration(to) * time.Minute)}
	require.NoError(b.t, b.Pieces(b.ctx, scope, r, s.AddReading))
	return s.FacilityKWh
}

func TestReadingsFollowTheRequests(t *testing.T) {
	t.Parallel()
	b := setup(t)
	oslo := store.ReadingScope{Site: "oslo"}
	ids := b.finished(signalsOf("oslo", "", 0, 60, 100), signalsOf("oslo", "", 60, 120, 100), signalsOf("bergen", "", 0, 60, 10))
	b.submit(`{"n": 1}`)
	b.project(2)
	require.Equal(t, 3, b.verified().Readings)
	require.InDelta(t, 300, b.facility(oslo, 0, 120), 1e-9)
	require.InDelta(t, 75, b.facility(oslo, 30, 60), 1e-9, "a part of a window")

	// A correction replaces the reading of the same window.
	correction := b.finished(signalsOf("oslo", "", 0, 60, 200))[0]
	b.project(100)
	require.InDelta(t, 450, b.facility(oslo, 0, 120), 1e-9)

	// Without the correction, the older one counts again.
	require.NoError(t, b.DeleteRequest(b.ctx, correction, store.Origin{Actor: "test"}))
	b.project(100)
	require.InDelta(t, 300, b.facility(oslo, 0, 120), 1e-9)

	// A replay takes the reading away until the request is done again.
	moved, err := b.MoveRequest(b.ctx, ids[0], jobs.StatusPending, store.Origin{Actor: "test"})
	require.NoError(t, err)
	b.project(100)
	require.InDelta(t, 150, b.facility(oslo, 0, 120), 1e-9)
	b.end(b.worker(), moved.BatchID)
	b.project(100)
	require.InDelta(t, 300, b.facility(oslo, 0, 120), 1e-9)

	// Retention removes requests and leaves readings, also those of a rebuild.
	_, err = b.db.ExecContext(b.ctx, `UPDATE mass_requests SET finished_at = now() - interval '2 days' WHERE id = $1`, ids[0])
	require.NoError(t, err)
	_, err = b.db.ExecContext(b.ctx, `UPDATE mass_submissions SET submitted_at = now() - interval '2 days' WHERE request_id = $1`, ids[0])
	require.NoError(t, err)
	removed, err := b.RetainRequests(b.ctx, 24*time.Hour, store.Position{}, 100)
	require.NoError(t, err)
	require.Equal(t, 1, removed.Removed)
	b.project(100)
	require.InDelta(t, 300, b.facility(oslo, 0, 120), 1e-9)
}

// A window may be corrected very often. Only its newest reading takes part in
// decisions, and the older ones return in turn when it is deleted.
func TestOlderReadingsReturnInTurn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var payloads []string
	for n := range 40 {
		payloads = append(payloads, signalsOf("s", "", 0, 60, float64(1+n)))
	}
	ids := b.finished(payloads...)
	b.project(7)
	taking := func() (n int) {
		require.NoError(t, b.db.GetContext(b.ctx, &n, `SELECT count(*) FROM readings WHERE asset_state <> 'replaced'`))
		return n
	}
	for n := 39; n > 30; n-- {
		require.Equal(t, 1, taking())
		require.InDelta(t, 1.5*float64(1+n), b.facility(store.ReadingScope{Site: "s"}, 0, 60), 1e-9)
		require.NoError(t, b.DeleteRequest(b.ctx, ids[n], store.Origin{Actor: "test"}))
		if n == 35 { // an older one goes unnoticed
			require.NoError(t, b.DeleteRequest(b.ctx, ids[3], store.Origin{Actor: "test"}))
		}
		b.project(100)
	}
}

// Clusters count for their site where it has nothing of its own, and for
// themselves always.
func TestClustersStandInForTheirSite(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.finished(signalsOf("s", "a", 0, 60, 10), signalsOf("s", "b", 0, 60, 20), signalsOf("s", "", 30, 60, 100))
	b.project(100)
	require.InDelta(t, 15+30, b.facility(store.ReadingScope{Site: "s"}, 0, 30)*2, 1e-9)
	require.InDelta(t, 75, b.facility(store.ReadingScope{Site: "s"}, 30, 60), 1e-9)
	require.InDelta(t, 15, b.facility(store.ReadingScope{Site: "s", Cluster: "a"}, 0, 60), 1e-9)
	require.InDelta(t, 30, b.facility(store.ReadingScope{Site: "s", Cluster: "b"}, 0, 60), 1e-9)
}

// Whatever was submitted, corrected, deleted and replayed, in whatever order: the
// readings are those of a decision from all of them, and so are those of a
// rebuild.
func TestTheProjectionEqualsARebuild(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rng := rand.New(rand.NewPCG(1, 2))
	var ids []int64
	for range 6 {
		var payloads []string
		for range 15 {
			from := rng.IntN(40) * 15
			payloads = append(payloads, signalsOf([]string{"s", "z"}[rng.IntN(2)], []string{"", "a", "b"}[rng.IntN(3)], from, from+15*(1+rng.IntN(9)), float64(1+rng.IntN(50))))
		}
		ids = append(ids, b.finished(payloads...)...)
		for range 3 {
			switch id := ids[rng.IntN(len(ids))]; rng.IntN(2) {
			case 0:
				_ = b.DeleteRequest(b.ctx, id, store.Origin{Actor: "test"}) // it may be gone already
			default:
				if moved, err := b.MoveRequest(b.ctx, id, jobs.StatusPending, store.Origin{Actor: "test"}); err == nil {
					b.end(b.worker(), moved.BatchID)
				}
			}
		}
		b.project(1 + rng.IntN(20))
	}
	scopes := []store.ReadingScope{{Site: "s"}, {Site: "s", Cluster: "a"}, {Site: "z"}, {Site: "z", Cluster: "b"}}
	sums := func() (list []float64) {
		for _, scope := range scopes {
			whole, parts := b.facility(scope, 0, 800), 0.0
			for from := 0; from < 800; from += 40 {
				parts += b.facility(scope, from, from+40)
			}
			require.InDelta(t, whole, parts, 1e-9*math.Max(1, whole))
			list = append(list, whole)
		}
		return list
	}
	before, readings := sums(), b.verified().Readings
	require.NotContains(t, before, 0.0)

	_, err := b.db.ExecContext(b.ctx, `TRUNCATE readings, reading_parts, sites`)
	require.NoError(t, err)
	for behind := int64(0); ; {
		last, _, err := b.RebuildReadings(b.ctx, behind, 7, kpi.Range{})
		require.NoError(t, err)
		if last == 0 {
			break
		}
		behind = last
	}
	require.Equal(t, readings, b.verified().Readings)
	require.InDeltaSlice(t, before, sums(), 1e-9)
}

// Two processes that follow the trail do not follow it twice.
func TestThePositionMovesOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.finished(signalsOf("s", "", 0, 60, 10))
	mark, err := b.MarkTrail(b.ctx)
	require.NoError(t, err)
	_, err = b.ProjectReadings(b.ctx, 0, mark.UpTo, 10)
	require.NoError(t, err)
	_, err = b.ProjectReadings(b.ctx, 0, mark.UpTo, 10)
	require.ErrorIs(t, err, store.ErrConflict)
}

func TestVerifyReadingsFindsFaults(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ids := b.finished(signalsOf("s", "", 0, 60, 10), signalsOf("s", "", 30, 90, 10), signalsOf("s", "", 90, 120, 10))
	b.project(10)
	for statement, find := range map[string]func(r store.ReadingsReport) []int64{
		`DELETE FROM readings WHERE request_id = $1`:                                                 func(r store.ReadingsReport) []int64 { return r.Missing },
		`UPDATE readings SET site_state = 'replaced' WHERE request_id = $1`:                          func(r store.ReadingsReport) []int64 { return r.Miscounted },
		`UPDATE reading_parts SET to_at = to_at - interval '1 s' WHERE request_id = $1 AND for_site`: func(r store.ReadingsReport) []int64 { return r.Miscounted },
		`UPDATE mass_requests SET status = 'failed' WHERE id = $1`:                                   func(r store.ReadingsReport) []int64 { return r.Unfounded },
	} {
		_, err := b.db.ExecContext(b.ctx, statement, ids[0])
		require.NoError(t, err)
		report, err := b.VerifyReadings(b.ctx)
		require.NoError(t, err)
		require.Contains(t, find(report), ids[0], statement)
		_, err = b.db.ExecContext(b.ctx, `UPDATE mass_requests SET status = 'done' WHERE id = $1`, ids[0])
		require.NoError(t, err)
		_, err = b.db.ExecContext(b.ctx, `TRUNCATE readings, reading_parts`)
		require.NoError(t, err)
		_, _, err = b.RebuildReadings(b.ctx, 0, 100, kpi.Range{})
		require.NoError(t, err)
		b.verified()
	}
}
