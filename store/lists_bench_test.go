package store_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

// BenchmarkList reads pages of requests of the usual size.
func BenchmarkList(b *testing.B) {
	st, err := store.Open(store.Config{URL: devtest.Database(b), MaxOpen: 2, MaxIdle: 2})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, st.Close()) })
	items := make([]store.NewRequest, 1000)
	for i := range items {
		items[i] = store.NewRequest{Payload: signals.Example(), SchemaVersion: "1.1", Priority: jobs.Default, Origin: store.Origin{Actor: "key:1"}}
	}
	for range 5 {
		_, err := st.InsertRequests(b.Context(), items)
		require.NoError(b, err)
	}
	_, err = store.Raw(st).ExecContext(b.Context(), `ANALYZE`)
	require.NoError(b, err)
	for _, limit := range []int{50, 500} {
		b.Run(fmt.Sprint(limit), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				list, more, err := st.ListRequests(b.Context(), store.Filter{Limit: limit}, store.PageBytes)
				if err != nil || len(list) != limit || !more {
					b.Fatal(len(list), more, err)
				}
			}
		})
	}
}
