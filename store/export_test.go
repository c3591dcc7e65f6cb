package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Raw gives tests the connections of a Store.
func Raw(s *Store) *sqlx.DB { return s.db }

// ExplainList is the statement of a list with its values in place.
func ExplainList(f Filter) string {
	query, args := listQuery(f)
	for i := len(args); i > 0; i-- {
		value := fmt.Sprint(args[i-1])
		if t, ok := args[i-1].(time.Time); ok {
			value = string(pq.FormatTimestamp(t))
		}
		query = strings.ReplaceAll(query, fmt.Sprintf("$%d", i), pq.QuoteLiteral(value))
	}
	return query
}
