package store

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestParametersAreNumberedByName(t *testing.T) {
	t.Parallel()
	q := nameParameters(`SELECT @batch::int, @batch_ids, @worker FROM t WHERE a = @worker::bigint AND b > @batch`)
	args := q.args(queryValues{"worker": 3, "batch": 1, "batch_ids": 2, "unused": 4})
	assert.Equal(t, `SELECT $3::int, $1, $2 FROM t WHERE a = $2::bigint AND b > $3`, q.text)
	assert.Equal(t, []any{2, 3, 1}, args)
	assert.PanicsWithValue(t, "store: the statement has no value for @batch", func() { q.args(queryValues{"worker": 3, "batch_ids": 2}) })
}
