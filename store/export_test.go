package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// PageBytes is a bound of a list that tests do not reach.
const PageBytes = 64 << 20

// Raw gives tests the connections of a Store.
func Raw(s *Store) *sqlx.DB { return s.db }

// ExplainList is the statement of a list with its values in place.
func ExplainList(f Filter) string {
	query, args := listQuery(f, PageBytes)
	for i := len(args); i > 0; i-- {
		value := fmt.Sprint(args[i-1])
		if t, ok := args[i-1].(time.Time); ok {
			value = string(pq.FormatTimestamp(t))
		}
		query = strings.ReplaceAll(query, fmt.Sprintf("$%d", i), pq.QuoteLiteral(value))
	}
	return query
}

// RetainQuery is the statement of a step of retention.
const RetainQuery = retainRequests

// RetainArgs are parameters of RetainQuery.
func RetainArgs(age time.Duration, step int) []any {
	return []any{time.Time{}, 0, age.Seconds(), step, statusArray(jobs.Retain.From())}
}

// MoveQuery is the statement of a step of a bulk, with its parameters.
func MoveQuery(m BulkMove) (string, []any, error) { return moveQuery(m) }

// The statements of the doctor that look at requests.
const (
	BacklogQuery  = countBacklog
	StaleQuery    = findStale
	OverdueQuery  = findOverdue
	FailuresQuery = countFailures
)

// SealedColumns is what seals are made of.
const SealedColumns = sealedColumns
