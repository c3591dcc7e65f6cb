package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// unlisted counts the requests that no list would find as they are, and what the
// lists know beyond them.
func (b system) unlisted() (n int) {
	b.t.Helper()
	require.NoError(b.t, b.db.GetContext(b.ctx, &n, `
        SELECT count(*) FROM mass_requests FULL JOIN mass_submissions ON id = request_id
        WHERE (id, created_at, site_id, cluster_id) IS DISTINCT FROM (request_id, submitted_at, site, cluster)`))
	return n
}

// What lists look requests up by is another table than theirs. Whatever happens
// to a request, by whomever, the two say the same.
func TestListsKnowEveryRequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	item := store.NewRequest{Payload: []byte(`{}`), SchemaVersion: "1.0-simple", SiteID: "oslo", Priority: jobs.Default}
	keyed := item
	keyed.ClusterID, keyed.IdempotencyKey, keyed.Digest = "gpu", "k", make([]byte, 32)
	for _, items := range [][]store.NewRequest{{item, item}, {keyed, item}, {keyed}} { // the last one is a repetition
		_, err := b.InsertRequests(b.ctx, items)
		require.NoError(t, err)
	}
	listed := func(f store.Filter) int {
		t.Helper()
		assert.Zero(t, b.unlisted())
		f.Limit = 100
		list, _, err := b.ListRequests(b.ctx, f, store.PageBytes)
		require.NoError(t, err)
		return len(list)
	}
	assert.Equal(t, 4, listed(store.Filter{}))
	assert.Equal(t, 1, listed(store.Filter{ClusterID: "gpu"}))

	// An API of the version before, or a person with psql.
	var id int64
	require.NoError(t, b.db.GetContext(b.ctx, &id, `
        INSERT INTO mass_requests (batch_id, payload, schema_version, site_id) VALUES (1, '{}', '1.0-simple', 'bergen') RETURNING id`))
	assert.Equal(t, 1, listed(store.Filter{SiteID: "bergen"}))
	_, err := b.db.ExecContext(b.ctx, `UPDATE mass_requests SET site_id = 'oslo', created_at = created_at - interval '1 day' WHERE id = $1`, id)
	require.NoError(t, err)
	assert.Zero(t, listed(store.Filter{SiteID: "bergen"}))
	assert.Equal(t, 5, listed(store.Filter{SiteID: "oslo"}))

	require.NoError(t, b.DeleteRequest(b.ctx, id, store.Origin{Actor: "test"}))
	assert.Equal(t, 4, listed(store.Filter{}))
	_, err = b.db.ExecContext(b.ctx, `DELETE FROM mass_requests WHERE cluster_id IS NOT NULL`)
	require.NoError(t, err)
	assert.Equal(t, 3, listed(store.Filter{}))
	_, err = b.db.ExecContext(b.ctx, `TRUNCATE mass_requests`)
	require.NoError(t, err)
	assert.Zero(t, listed(store.Filter{}))
}

// A list ends by its bytes, says whether more requests match, and has at least
// one request.
func TestAListEndsByItsBytes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const size = 100_000
	payload := func(size int) []byte { return fmt.Appendf(nil, `{"x":"%s"}`, strings.Repeat("x", size-8)) }
	_, err := b.InsertRequests(b.ctx, []store.NewRequest{
		{Payload: payload(size), SchemaVersion: "1.0-simple", Priority: jobs.Default},
		{Payload: payload(size), SchemaVersion: "1.0-simple", Priority: jobs.Default},
		{Payload: payload(size), SchemaVersion: "1.0-simple", Priority: jobs.Default},
	})
	require.NoError(t, err)
	const row = size + 1<<10
	for _, c := range []struct {
		limit int
		bytes int64
		want  int
		more  bool
	}{
		{3, 3 * row, 3, false}, {3, 3*row - 1, 2, true}, {3, 2 * row, 2, true}, {3, row, 1, true}, {3, 1, 1, true},
		{2, 3 * row, 2, true}, {1, 1, 1, true}, {500, 1 << 30, 3, false},
	} {
		list, more, err := b.ListRequests(b.ctx, store.Filter{Limit: c.limit}, c.bytes)
		require.NoError(t, err)
		assert.Len(t, list, c.want, "%+v", c)
		assert.Equal(t, c.more, more, "%+v", c)
		for _, r := range list {
			assert.Len(t, r.Payload, size)
		}
	}
	_, err = b.db.ExecContext(b.ctx, `DELETE FROM mass_requests WHERE id <> 2`)
	require.NoError(t, err)
	list, more, err := b.ListRequests(b.ctx, store.Filter{Limit: 5}, 1)
	require.NoError(t, err)
	assert.Len(t, list, 1)
	assert.False(t, more)
}
