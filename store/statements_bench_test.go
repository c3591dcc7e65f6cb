package store_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/pipeline"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

// BenchmarkStatements takes groups of 64 requests through their life and
// reports the time of each of the three statements for one request.
func BenchmarkStatements(b *testing.B) {
	const size = 64
	ctx, url := b.Context(), devtest.Database(b)
	st, err := store.Open(store.Config{URL: url, MaxOpen: 2, MaxIdle: 2, ConnectTimeout: 5 * time.Second, StatementTimeout: 30 * time.Second})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, st.Close()) })
	db, err := sqlx.Open("postgres", url)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	raw := signals.Example()
	digest := sha256.Sum256(raw)
	result, same, err := pipeline.Default().Run(ctx, raw)
	require.NoError(b, err)
	items := make([]store.NewRequest, size)
	for i := range items {
		items[i] = store.NewRequest{
			Payload: raw, SchemaVersion: "1.1", CorrelationID: "c-1", SiteID: "site-1", ClusterID: "cluster-1", Priority: jobs.Default, CreatedBy: "key:1",
			Origin: store.Origin{Actor: "key:1", RequestID: "0123456789abcdef", Client: "10.0.0.1", TraceID: "0af7651916cd43dd8448eb211c80319c", SpanID: "b7ad6b7169203331"},
		}
	}
	worker, err := st.RegisterWorker(ctx, "host", 1, "test")
	require.NoError(b, err)
	var insert, claim, end time.Duration
	n := 0
	for b.Loop() {
		began := time.Now()
		rows, err := st.InsertRequests(ctx, items)
		require.NoError(b, err)
		inserted := time.Now()
		claimed, _, err := st.ClaimBatches(ctx, worker, []int64{rows[0].BatchID}, 16<<20)
		require.NoError(b, err)
		require.Len(b, claimed, size)
		claimedAt := time.Now()
		outcomes := make([]jobs.Outcome, size)
		for i, c := range claimed {
			outcomes[i] = jobs.Outcome{Lease: c.Lease, Action: jobs.Finish, InputDigest: digest[:], Result: jobs.Result{JSON: result, AsSubmitted: same}}
		}
		_, err = st.WriteOutcomes(ctx, worker, outcomes)
		require.NoError(b, err)
		insert, claim, end = insert+inserted.Sub(began), claim+claimedAt.Sub(inserted), end+time.Since(claimedAt)
		n += size
	}
	for name, d := range map[string]time.Duration{"insert": insert, "claim": claim, "outcome": end} {
		b.ReportMetric(float64(d.Microseconds())/float64(n), name+"-µs/request")
	}
	b.ReportMetric(0, "ns/op")
}
