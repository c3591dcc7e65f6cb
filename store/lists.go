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

// ListRequests returns up to f.Limit requests, newest first.
func (s *Store) ListRequests(ctx context.Context, f Filter) ([]jobs.Request, error) {
	query, args := listQuery(f)
	var rows []requestRow
	if err := s.db.SelectContext(ctx, &rows, query, args...); err != nil {
		return nil, wrap("list requests", err)
	}
	list := make([]jobs.Request, len(rows))
	for i := range rows {
		list[i] = rows[i].request()
	}
	return list, nil
}

// listQuery is the statement of a list with its parameters.
func listQuery(f Filter) (query string, args []any) {
	by := bySubmission
	if f.Status == jobs.StatusFailed || f.Status == jobs.StatusCancelled {
		by = byBadEnd
	}
	values := queryValues{}
	text := `SELECT ` + requestColumns + ` FROM ` + by.from
	if where := f.conditions(by, values); len(where) > 0 {
		text += ` WHERE ` + strings.Join(where, ` AND `)
	}
	q := nameParameters(text + by.newestFirst())
	return q.text, q.args(values)
}

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
