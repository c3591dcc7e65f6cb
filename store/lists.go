package store

import (
	"context"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// Filter selects requests for a list. The zero value of a field does not
// restrict.
type Filter struct {
	Status        jobs.Status
	SiteID        string
	ClusterID     string
	CreatedFrom   time.Time // inclusive
	CreatedBefore time.Time // exclusive
	After         Position  // the list continues after this row
	Limit         int
}

// Position is the key of a row in the order of lists.
type Position struct {
	CreatedAt time.Time `db:"created_at"`
	ID        int64     `db:"id"`
}

// rowBytes is what a row of a list takes beyond its payload, its result and its
// faults: the other columns, and the names of the members in the answer.
const rowBytes = 1 << 10

// ListRequests returns up to f.Limit requests, newest first. It returns fewer
// when their payloads, results and faults together would exceed the number of
// bytes, but always the first request that matches. more says that further
// requests match the filter: the list continues after the last one returned.
func (s *Store) ListRequests(ctx context.Context, f Filter, bytes int64) (list []jobs.Request, more bool, err error) {
	query, args := listQuery(f, bytes)
	var rows []struct {
		requestRow
		Fits bool `db:"fits"`
	}
	if err := s.db.SelectContext(ctx, &rows, query, args...); err != nil {
		return nil, false, wrap("list requests", err)
	}
	list = make([]jobs.Request, 0, len(rows))
	for i := range rows {
		if !rows[i].Fits || i == f.Limit {
			return list, true, nil
		}
		list = append(list, rows[i].request())
		rows[i].requestRow = requestRow{} // the request may hold a copy of the result
	}
	return list, false, nil
}

// listQuery is the statement of a list with its parameters. The statement looks
// at one row more than the limit and returns it too, because that row shows
// whether there is a next page.
//
// The columns payload and result are stored uncompressed (STORAGE EXTERNAL), so
// pg_column_size is their true size, and it does not read them. The statement
// reads the payloads and results of only those rows that fit. Of the first row
// that does not fit, it returns everything else.
func listQuery(f Filter, bytes int64) (query string, args []any) {
	by := bySubmission
	if f.Status == jobs.StatusFailed || f.Status == jobs.StatusCancelled {
		by = byBadEnd
	}
	values := queryValues{"bytes": bytes, "row_bytes": rowBytes}
	page := `SELECT ` + requestColumns + `, ` + by.createdAt + ` AS place_time, ` + by.id + ` AS place_id FROM ` + by.from
	if where := f.conditions(by, values); len(where) > 0 {
		page += ` WHERE ` + strings.Join(where, ` AND `)
	}
	values["limit"] = f.Limit + 1
	q := nameParameters(`
        SELECT ` + shortColumns + `, fits, CASE WHEN fits THEN payload END AS payload,
               CASE WHEN fits THEN result END AS result, CASE WHEN fits THEN faults END AS faults
        FROM (
            SELECT *, place = 1 OR bytes <= @bytes AS fits FROM (
                SELECT *, row_number() OVER in_order AS place, sum(` + rowSize + `) OVER in_order AS bytes
                FROM (` + page + by.newestFirst() + `) page
                WINDOW in_order AS (ORDER BY place_time DESC, place_id DESC ROWS UNBOUNDED PRECEDING)
            ) counted
        ) fitted
        WHERE fits OR place = 2 OR bytes - ` + rowSize + ` <= @bytes
        ORDER BY place_time DESC, place_id DESC`)
	return q.text, q.args(values)
}

// rowSize is the size of a row in an answer, which contains a payload twice when
// it is its own normal form. The faults are compressed, by a factor of four in
// most cases.
const rowSize = `(pg_column_size(payload)::bigint * CASE WHEN normalized_as_submitted THEN 2 ELSE 1 END
                     + coalesce(pg_column_size(result), 0) + 4 * coalesce(pg_column_size(faults), 0) + @row_bytes)`

// listWalk is where a list finds requests in its order, newest first.
type listWalk struct {
	from              string
	createdAt, id     string // the key of the order
	siteID, clusterID string
}

var (
	// bySubmission is the usual walk. mass_requests has the same values in
	// columns of its own, but without an index.
	bySubmission = listWalk{
		from:      `mass_submissions JOIN mass_requests ON id = request_id`,
		createdAt: `submitted_at`, id: `request_id`, siteID: `site`, clusterID: `cluster`,
	}
	// byBadEnd is for failed and cancelled requests, which have an index in the
	// order of lists.
	byBadEnd = listWalk{from: `mass_requests`, createdAt: `created_at`, id: `id`, siteID: `site_id`, clusterID: `cluster_id`}
)

// newestFirst is the end of the statement of a list.
func (w listWalk) newestFirst() string {
	return ` ORDER BY ` + w.createdAt + ` DESC, ` + w.id + ` DESC LIMIT @limit`
}

// conditions returns the conditions that the filter puts on a row, and adds the
// values of the filter's parameters.
func (f *Filter) conditions(by listWalk, values queryValues) []string {
	var where []string
	add := func(condition, name string, value any) {
		where = append(where, condition)
		values[name] = value
	}
	values["limit"] = f.Limit
	switch f.Status {
	case "":
	case jobs.StatusFailed, jobs.StatusCancelled:
		add(`status = @status`, "status", string(f.Status))
		where = append(where, isEndedBadly)
	case jobs.StatusPending:
		where = append(where, isPending)
	case jobs.StatusProcessing:
		where = append(where, `status = 'processing'`)
	default:
		add(`status = @status`, "status", string(f.Status))
	}
	if f.SiteID != "" {
		add(by.siteID+` = @site`, "site", f.SiteID)
	}
	if f.ClusterID != "" {
		add(by.clusterID+` = @cluster`, "cluster", f.ClusterID)
	}
	if !f.CreatedFrom.IsZero() {
		add(by.createdAt+` >= @created_from`, "created_from", f.CreatedFrom)
	}
	if !f.CreatedBefore.IsZero() {
		add(by.createdAt+` < @created_before`, "created_before", f.CreatedBefore)
	}
	if f.After.ID != 0 {
		add(`(`+by.createdAt+`, `+by.id+`) < (@after_time, @after_id)`, "after_time", f.After.CreatedAt)
		values["after_id"] = f.After.ID
	}
	return where
}
