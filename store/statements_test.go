package store

import (
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
)

func TestParametersAreNumberedByName(t *testing.T) {
	t.Parallel()
	q := nameParameters(`SELECT @batch::int, @batch_ids, @worker FROM t WHERE a = @worker::bigint AND b > @batch`)
	args := q.args(queryValues{"worker": 3, "batch": 1, "batch_ids": 2, "unused": 4})
	assert.Equal(t, `SELECT $3::int, $1, $2 FROM t WHERE a = $2::bigint AND b > $3`, q.text)
	assert.Equal(t, []any{2, 3, 1}, args)
	assert.PanicsWithValue(t, "store: the statement has no value for @batch", func() { q.args(queryValues{"worker": 3, "batch_ids": 2}) })
}

// A statement may be prepared anew while others use it, and the old ones go away.
func TestAPlanIsMadeAnew(t *testing.T) {
	t.Parallel()
	db, err := sqlx.Open("postgres", devtest.Database(t))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	db.SetMaxOpenConns(1)
	p := &prepared{db: db, query: `SELECT $1::int`, life: time.Nanosecond}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			var n []int
			assert.NoError(t, p.selectInto(t.Context(), &n, i))
			assert.Equal(t, []int{i}, n)
		})
	}
	wg.Wait()
	var left int
	require.NoError(t, db.GetContext(t.Context(), &left, `SELECT count(*) FROM pg_prepared_statements WHERE statement = $1`, p.query))
	assert.Equal(t, 1, left)

	p.life = time.Hour
	was := p.current
	var n []int
	require.NoError(t, p.selectInto(t.Context(), &n, 7))
	assert.Same(t, was, p.current, "one that is young is kept")
}
