package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
)

// maxRawParts bounds the separate times that FillSeries reads from the readings;
// above it, one query over all of the time is faster.
const maxRawParts = 64

// FillSeries adds up what counts of a site or a cluster by the buckets of a
// series, which must be new. Whole days and hours on the clock of the site come
// from the rollups; the edges of other buckets, and times whose rollups are
// dirty, come from the readings. The result is that of the readings alone.
// Nothing is read of a site that is not known.
func (s *Store) FillSeries(ctx context.Context, scope ReadingScope, series *kpi.Series) error {
	const act = "add up readings"
	if series.Len() == 0 {
		return nil
	}
	// Rollups and dirty times must be of the same moment.
	tx, err := s.db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return wrap(act, err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	return wrap(act, fillSeries(ctx, tx, scope, series))
}

func fillSeries(ctx context.Context, tx *sqlx.Tx, scope ReadingScope, series *kpi.Series) error {
	var zoneName string
	err := tx.GetContext(ctx, &zoneName, `SELECT zone FROM sites WHERE site_id = $1`, scope.Site)
	if err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	}
	zone, err := time.LoadLocation(zoneName)
	if err != nil {
		return err
	}
	first, _, _ := series.At(0)
	last, _, _ := series.At(series.Len() - 1)
	dirty, err := dirtyWithin(ctx, tx, scope.Site, kpi.Range{From: first.From, To: last.To}, zone)
	if err != nil {
		return err
	}
	p := planFill(series, dirty, zone)
	if len(p.raw) > maxRawParts {
		p = fillPlan{raw: []kpi.Range{{From: first.From, To: last.To}}}
	}
	if err := p.days.addTo(ctx, tx, addDays, scope, series); err != nil {
		return err
	}
	if err := p.hours.addTo(ctx, tx, addHours, scope, series); err != nil {
		return err
	}
	for _, r := range p.raw {
		err := pieces(ctx, tx, scope, r, func(v *kpi.Values, piece kpi.Range) { series.AddWithin(v, piece, r) })
		if err != nil {
			return err
		}
	}
	return nil
}

// dirtyWithin returns the hours of the zone in a time whose rollups are dirty.
func dirtyWithin(ctx context.Context, tx *sqlx.Tx, site string, r kpi.Range, zone *time.Location) ([]kpi.Range, error) {
	var rows []struct {
		From time.Time `db:"from_at"`
		To   time.Time `db:"to_at"`
	}
	// A dirty time makes its whole hour dirty, and no hour of a clock is longer than 2 hours.
	err := tx.SelectContext(ctx, &rows, `
        SELECT from_at, to_at FROM rollup_dirty
        WHERE site = $1 AND from_at < $3::timestamptz + interval '2 hours' AND to_at > $2::timestamptz - interval '2 hours'`, site, r.From, r.To)
	list := make([]kpi.Range, len(rows))
	for i, row := range rows {
		list[i] = kpi.Range{From: row.From.UTC(), To: row.To.UTC()}
	}
	return kpi.Union(wholeBuckets(kpi.Hour, kpi.Union(list), zone)), err
}

// fillPlan says from where the parts of the buckets of a series come.
type fillPlan struct {
	days, hours rollupParts
	raw         []kpi.Range
}

// rollupParts are times of whole rollups, and the buckets in which they lie.
type rollupParts struct {
	bucket   int64Array
	from, to timeArray
}

func (p *rollupParts) add(bucket int, r kpi.Range) {
	p.bucket, p.from, p.to = append(p.bucket, int64(bucket)), append(p.from, r.From), append(p.to, r.To)
}

func planFill(series *kpi.Series, dirty []kpi.Range, zone *time.Location) (p fillPlan) {
	for i := range series.Len() {
		bucket, _, _ := series.At(i)
		clean := kpi.Without([]kpi.Range{bucket}, dirty)
		var rolled []kpi.Range
		for _, part := range clean {
			inner := kpi.Day.Inner(part, zone)
			rest := []kpi.Range{part}
			if !inner.Empty() {
				p.days.add(i, inner)
				rolled = append(rolled, inner)
				rest = kpi.Without(rest, []kpi.Range{inner})
			}
			for _, part := range rest {
				if inner := kpi.Hour.Inner(part, zone); !inner.Empty() {
					p.hours.add(i, inner)
					rolled = append(rolled, inner)
				}
			}
		}
		p.raw = append(p.raw, kpi.Without([]kpi.Range{bucket}, kpi.Union(rolled))...)
	}
	p.raw = kpi.Union(p.raw)
	return p
}

const (
	addedUp = `SELECT p.bucket, ` + mergedRollups + ` FROM unnest($3::bigint[], $4::timestamptz[], $5::timestamptz[]) AS p(bucket, from_at, to_at) `
	inParts = ` h ON h.site = $1 AND h.cluster = $2 AND h.start_at >= p.from_at AND h.start_at < p.to_at GROUP BY p.bucket`

	addHours = addedUp + `JOIN rollup_hour` + inParts
	addDays  = addedUp + `JOIN rollup_day` + inParts
)

// addTo adds rollups to the buckets of a series, by addHours or addDays.
func (p *rollupParts) addTo(ctx context.Context, tx *sqlx.Tx, query string, scope ReadingScope, series *kpi.Series) error {
	if len(p.bucket) == 0 {
		return nil
	}
	rows, err := tx.QueryxContext(ctx, query, scope.Site, scope.Cluster, p.bucket, p.from, p.to)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var bucket int
		var row rollupRow
		var worst sql.NullTime
		if err := rows.Scan(append([]any{&bucket}, row.targets(&worst)...)...); err != nil {
			return err
		}
		row.InletMaxAt = worst.Time.UTC()
		series.AddSums(bucket, &row.Sums, row.Covered)
	}
	return rows.Err()
}
