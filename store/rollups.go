package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
)

// sumColumns are the columns of kpi.Sums.Quantities, in its order.
const sumColumns = `seconds, facility_kwh, it_kwh, cooling_seconds, cooling_kwh, cooling_facility_kwh,
    carbon_seconds, carbon_kg, carbon_facility_kwh, carbon_it_kwh, price_seconds, cost, price_facility_kwh,
    inlet_seconds, inlet_below_seconds, inlet_within_seconds, inlet_above_seconds, headroom_seconds, headroom_negative_seconds,
    water_seconds, water_l, water_it_kwh,
    avg_inlet_seconds, avg_inlet_sum, supply_seconds, supply_sum, return_seconds, return_sum, setpoint_seconds, setpoint_sum,
    cpu_seconds, cpu_sum, gpu_seconds, gpu_sum, queue_depth_seconds, queue_depth_sum, tokens_per_watt_seconds, tokens_per_watt_sum,
    it_load_seconds, it_load_sum, dry_bulb_seconds, dry_bulb_sum, wet_bulb_seconds, wet_bulb_sum`

// rollupColumns are the columns of a rollup behind site, cluster and start_at.
const rollupColumns = `readings, covered_seconds, ` + sumColumns + `, inlet_max_c, inlet_max_at, headroom_min_k, it_max_kw`

// mergedRollups adds up rollups h, as rollupColumns has them. Of two equal maxima
// the earlier one counts: arrays are compared element by element.
const (
	worstInlet    = `max(ARRAY[h.inlet_max_c, -extract(epoch FROM h.inlet_max_at)::float8]) FILTER (WHERE h.inlet_max_c IS NOT NULL)`
	mergedRollups = `sum(h.readings)::bigint AS readings, sum(h.covered_seconds) AS covered_seconds,
    sum(h.seconds) AS seconds, sum(h.facility_kwh) AS facility_kwh, sum(h.it_kwh) AS it_kwh, sum(h.cooling_seconds) AS cooling_seconds,
    sum(h.cooling_kwh) AS cooling_kwh, sum(h.cooling_facility_kwh) AS cooling_facility_kwh, sum(h.carbon_seconds) AS carbon_seconds,
    sum(h.carbon_kg) AS carbon_kg, sum(h.carbon_facility_kwh) AS carbon_facility_kwh, sum(h.carbon_it_kwh) AS carbon_it_kwh,
    sum(h.price_seconds) AS price_seconds, sum(h.cost) AS cost, sum(h.price_facility_kwh) AS price_facility_kwh,
    sum(h.inlet_seconds) AS inlet_seconds, sum(h.inlet_below_seconds) AS inlet_below_seconds,
    sum(h.inlet_within_seconds) AS inlet_within_seconds, sum(h.inlet_above_seconds) AS inlet_above_seconds,
    sum(h.headroom_seconds) AS headroom_seconds, sum(h.headroom_negative_seconds) AS headroom_negative_seconds,
    sum(h.water_seconds) AS water_seconds, sum(h.water_l) AS water_l, sum(h.water_it_kwh) AS water_it_kwh,
    sum(h.avg_inlet_seconds) AS avg_inlet_seconds, sum(h.avg_inlet_sum) AS avg_inlet_sum, sum(h.supply_seconds) AS supply_seconds,
    sum(h.supply_sum) AS supply_sum, sum(h.return_seconds) AS return_seconds, sum(h.return_sum) AS return_sum,
    sum(h.setpoint_seconds) AS setpoint_seconds, sum(h.setpoint_sum) AS setpoint_sum, sum(h.cpu_seconds) AS cpu_seconds,
    sum(h.cpu_sum) AS cpu_sum, sum(h.gpu_seconds) AS gpu_seconds, sum(h.gpu_sum) AS gpu_sum, sum(h.queue_depth_seconds) AS queue_depth_seconds,
    sum(h.queue_depth_sum) AS queue_depth_sum, sum(h.tokens_per_watt_seconds) AS tokens_per_watt_seconds,
    sum(h.tokens_per_watt_sum) AS tokens_per_watt_sum, sum(h.it_load_seconds) AS it_load_seconds, sum(h.it_load_sum) AS it_load_sum,
    sum(h.dry_bulb_seconds) AS dry_bulb_seconds, sum(h.dry_bulb_sum) AS dry_bulb_sum, sum(h.wet_bulb_seconds) AS wet_bulb_seconds, sum(h.wet_bulb_sum) AS wet_bulb_sum,
    (` + worstInlet + `)[1] AS inlet_max_c, to_timestamp(-(` + worstInlet + `)[2]) AS inlet_max_at,
    min(h.headroom_min_k) AS headroom_min_k, max(h.it_max_kw) AS it_max_kw`
)

// rollupRow is a row of rollup_hour or rollup_day.
type rollupRow struct {
	Cluster string
	Start   time.Time
	Covered float64 // seconds
	kpi.Sums
}

// targets lists where the columns of rollupColumns are scanned to.
func (r *rollupRow) targets(at *sql.NullTime) []any {
	list := []any{&r.Readings, &r.Covered}
	for _, x := range r.Quantities() {
		list = append(list, x)
	}
	return append(list, &r.InletMaxC, at, &r.HeadroomMinK, &r.ITMaxKW)
}

// dirtyTimes are times of sites whose rollups must be computed again.
type dirtyTimes struct {
	sites    textArray
	from, to timeArray
}

func (d *dirtyTimes) add(site string, r kpi.Range) {
	d.sites, d.from, d.to = append(d.sites, site), append(d.from, r.From), append(d.to, r.To)
}

func (d *dirtyTimes) store(ctx context.Context, tx *sqlx.Tx) error {
	if len(d.sites) == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, `
        INSERT INTO rollup_dirty (site, from_at, to_at) SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[])`, d.sites, d.from, d.to)
	return err
}

// dropRollups removes the rollups of a site, and has them computed again.
func dropRollups(ctx context.Context, tx *sqlx.Tx, site string) error {
	for _, statement := range []string{
		`DELETE FROM rollup_hour WHERE site = $1`,
		`DELETE FROM rollup_day WHERE site = $1`,
		`DELETE FROM rollup_dirty WHERE site = $1`,
		`INSERT INTO rollup_dirty (site, from_at, to_at) SELECT site, min(start_at), max(end_at) FROM readings WHERE site = $1 GROUP BY site`,
	} {
		if _, err := tx.ExecContext(ctx, statement, site); err != nil {
			return err
		}
	}
	return nil
}

// RebuildRollups removes all rollups and has them computed again. Until then,
// readings answer for them.
func (s *Store) RebuildRollups(ctx context.Context) error {
	sites, err := s.Sites(ctx, "", math.MaxInt32)
	for _, site := range sites {
		if err != nil {
			return err
		}
		err = s.transact(ctx, "rebuild rollups", func(tx *sqlx.Tx) error {
			if _, err := tx.ExecContext(ctx, `SELECT FROM sites WHERE site_id = $1 FOR NO KEY UPDATE`, site.ID); err != nil {
				return err
			}
			return dropRollups(ctx, tx, site.ID)
		})
	}
	return err
}

// RebuildRollupsWithin has the rollups of a time computed again. Until then,
// readings answer for them.
func (s *Store) RebuildRollupsWithin(ctx context.Context, r kpi.Range) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO rollup_dirty (site, from_at, to_at) SELECT site_id, $1, $2 FROM sites`, r.From, r.To)
	return wrap("rebuild rollups", err)
}

const (
	rollUpHours = 31 * 24 // most hours that one step computes again
	rollUpDirty = 1000    // most dirty times that one step takes
)

// RollUp computes the rollups of one site again that are dirty, up to about a
// month of them, and returns how many hours those were: 0 when there are none.
// Rollups are made from the readings in the same transaction in which they stop
// being dirty, so they are either right or dirty.
func (s *Store) RollUp(ctx context.Context) (hours int, err error) {
	err = s.transact(ctx, "roll up readings", func(tx *sqlx.Tx) error {
		hours = 0
		var site, zoneName string
		// The row of the site is locked, so that two processes do not compute its
		// rollups at the same time, and its zone stays.
		err := tx.QueryRowxContext(ctx, `
            SELECT site_id, zone FROM sites WHERE site_id = (SELECT site FROM rollup_dirty ORDER BY id LIMIT 1)
            FOR NO KEY UPDATE`).Scan(&site, &zoneName)
		if errors.Is(err, sql.ErrNoRows) {
			_, err = tx.ExecContext(ctx, `DELETE FROM rollup_dirty d WHERE NOT EXISTS (SELECT FROM sites WHERE site_id = d.site)`)
			return err
		}
		if err != nil {
			return err
		}
		zone, err := time.LoadLocation(zoneName)
		if err != nil {
			return fmt.Errorf("zone of site %s: %w", site, err)
		}
		times, err := takeDirty(ctx, tx, site)
		if err != nil {
			return err
		}
		now, later := firstHours(times, zone)
		for _, r := range now {
			n, err := rollUpRange(ctx, tx, site, zone, r)
			if err != nil {
				return err
			}
			hours += n
		}
		var dirty dirtyTimes
		for _, r := range later {
			dirty.add(site, r)
		}
		return dirty.store(ctx, tx)
	})
	return hours, err
}

// takeDirty removes the oldest dirty times of a site, and returns their union.
func takeDirty(ctx context.Context, tx *sqlx.Tx, site string) ([]kpi.Range, error) {
	var rows []struct {
		From time.Time `db:"from_at"`
		To   time.Time `db:"to_at"`
	}
	err := tx.SelectContext(ctx, &rows, `
        DELETE FROM rollup_dirty WHERE id IN (SELECT id FROM rollup_dirty WHERE site = $1 ORDER BY id LIMIT $2) RETURNING from_at, to_at`, site, rollUpDirty)
	list := make([]kpi.Range, len(rows))
	for i, r := range rows {
		list[i] = kpi.Range{From: r.From.UTC(), To: r.To.UTC()}
	}
	return kpi.Union(list), err
}

// firstHours widens times to whole hours of the zone, and separates what one
// step computes from what is left for later ones.
func firstHours(times []kpi.Range, zone *time.Location) (now, later []kpi.Range) {
	budget := rollUpHours * time.Hour
	for _, r := range kpi.Union(wholeBuckets(kpi.Hour, times, zone)) {
		if length := r.To.Sub(r.From); length <= budget {
			now, budget = append(now, r), budget-length
			continue
		}
		if budget >= time.Hour {
			cut := kpi.Hour.Containing(r.From.Add(budget-1), zone).To
			now, r.From, budget = append(now, kpi.Range{From: r.From, To: cut}), cut, 0
		}
		if !r.Empty() {
			later = append(later, r)
		}
	}
	return now, later
}

// wholeBuckets widens each time to the edges of buckets.
func wholeBuckets(b kpi.Bucket, times []kpi.Range, zone *time.Location) []kpi.Range {
	list := make([]kpi.Range, len(times))
	for i, r := range times {
		list[i] = kpi.Range{From: b.Containing(r.From, zone).From.UTC(), To: b.Containing(r.To.Add(-time.Microsecond), zone).To.UTC()}
	}
	return list
}

// rollUpRange computes the rollups of whole hours again, and those of the days in
// which they lie.
func rollUpRange(ctx context.Context, tx *sqlx.Tx, site string, zone *time.Location, r kpi.Range) (hours int, err error) {
	rows, hours, err := hoursOf(ctx, tx, site, zone, r)
	if err != nil {
		return 0, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM rollup_hour WHERE site = $1 AND start_at >= $2 AND start_at < $3`, site, r.From, r.To); err != nil {
		return 0, err
	}
	if err := insertHours(ctx, tx, site, rows); err != nil {
		return 0, err
	}
	days := wholeBuckets(kpi.Day, []kpi.Range{r}, zone)[0]
	if _, err := tx.ExecContext(ctx, `DELETE FROM rollup_day WHERE site = $1 AND start_at >= $2 AND start_at < $3`, site, days.From, days.To); err != nil {
		return 0, err
	}
	var from, to timeArray
	for _, day := range kpi.Day.Divide(days, zone) {
		from, to = append(from, day.From), append(to, day.To)
	}
	_, err = tx.ExecContext(ctx, `
        INSERT INTO rollup_day (site, cluster, start_at, `+rollupColumns+`)
        SELECT h.site, h.cluster, d.from_at, `+mergedRollups+`
        FROM unnest($2::timestamptz[], $3::timestamptz[]) AS d(from_at, to_at)
        JOIN rollup_hour h ON h.site = $1 AND h.start_at >= d.from_at AND h.start_at < d.to_at
        GROUP BY h.site, h.cluster, d.from_at`, site, from, to)
	return hours, err
}

// hoursOf computes the hours of a time from the readings: of the site, and of
// each of its clusters that has readings in the time. Hours without readings are
// left out. It returns how many hours the time has as well.
func hoursOf(ctx context.Context, q reader, site string, zone *time.Location, r kpi.Range) (rows []rollupRow, hours int, err error) {
	clusters := []string{""}
	err = q.SelectContext(ctx, &clusters, `SELECT '' UNION SELECT r.cluster`+overlapping+` ORDER BY 1`, site, r.From, r.To)
	if err != nil {
		return nil, 0, err
	}
	buckets := kpi.Hour.Divide(r, zone)
	for _, cluster := range clusters {
		series := kpi.NewSeries(buckets)
		if err := pieces(ctx, q, ReadingScope{Site: site, Cluster: cluster}, r, series.Add); err != nil {
			return nil, 0, err
		}
		for i := range series.Len() {
			if hour, sums, covered := series.At(i); sums.Seconds > 0 {
				rows = append(rows, rollupRow{Cluster: cluster, Start: hour.From.UTC(), Covered: covered, Sums: *sums})
			}
		}
	}
	return rows, len(buckets), nil
}

// insertRollupHours has the site, and one array for each other column.
const insertRollupHours = `
INSERT INTO rollup_hour (site, cluster, start_at, ` + rollupColumns + `)
SELECT $1::text, * FROM unnest(
    $2::text[], $3::timestamptz[], $4::bigint[], $5::float8[], $6::float8[], $7::float8[], $8::float8[], $9::float8[],
    $10::float8[], $11::float8[], $12::float8[], $13::float8[], $14::float8[], $15::float8[], $16::float8[], $17::float8[],
    $18::float8[], $19::float8[], $20::float8[], $21::float8[], $22::float8[], $23::float8[], $24::float8[], $25::float8[],
    $26::float8[], $27::float8[], $28::float8[], $29::float8[], $30::float8[], $31::float8[], $32::float8[], $33::float8[],
    $34::float8[], $35::float8[], $36::float8[], $37::float8[], $38::float8[], $39::float8[], $40::float8[], $41::float8[],
    $42::float8[], $43::float8[], $44::float8[], $45::float8[], $46::float8[], $47::float8[], $48::float8[], $49::float8[],
    $50::float8[], $51::timestamptz[], $52::float8[], $53::float8[])`

func insertHours(ctx context.Context, tx *sqlx.Tx, site string, rows []rollupRow) error {
	if len(rows) == 0 {
		return nil
	}
	n := len(rows)
	var (
		clusters         textArray
		starts, worst    timeArray
		counts           int64Array
		covered          floatArray
		quantities       = make([]floatArray, len(rows[0].Quantities())) // in the order of sumColumns
		inlet, headrooms = make([]*float64, n), make([]*float64, n)
		loads            = make([]*float64, n)
	)
	for i := range rows {
		row := &rows[i]
		clusters, starts = append(clusters, row.Cluster), append(starts, row.Start)
		counts, covered = append(counts, int64(row.Readings)), append(covered, row.Covered)
		for k, x := range row.Quantities() {
			quantities[k] = append(quantities[k], *x)
		}
		inlet[i], headrooms[i], loads[i], worst = row.InletMaxC, row.HeadroomMinK, row.ITMaxKW, append(worst, row.InletMaxAt)
	}
	args := []any{site, clusters, starts, counts, covered}
	for _, column := range quantities {
		args = append(args, column)
	}
	args = append(args, pq.Array(inlet), worst, pq.Array(headrooms), pq.Array(loads))
	_, err := tx.ExecContext(ctx, insertRollupHours, args...)
	return err
}

// RollupReport is what VerifyRollups found.
type RollupReport struct {
	Hours, Days int      // rollups that were compared
	Wrong       []string // rollups that differ from a recomputation, in words
}

// rollupTolerance is the largest relative difference between a rollup and its
// recomputation: sums of floating-point numbers depend on the order.
const rollupTolerance = 1e-9

// VerifyRollups computes all rollups from the readings and compares them with
// those that are stored. It expects that none is dirty and that nothing moves.
func (s *Store) VerifyRollups(ctx context.Context) (report RollupReport, err error) {
	const act = "verify the rollups"
	sites, err := s.Sites(ctx, "", math.MaxInt32)
	if err != nil {
		return report, err
	}
	for _, site := range sites {
		if err := s.verifyRollupsOf(ctx, site, &report); err != nil {
			return report, wrap(act, err)
		}
	}
	return report, nil
}

func (s *Store) verifyRollupsOf(ctx context.Context, site Site, report *RollupReport) error {
	zone, err := time.LoadLocation(site.Zone)
	if err != nil {
		return err
	}
	var whole struct {
		From *time.Time `db:"low"`
		To   *time.Time `db:"high"`
	}
	err = s.db.GetContext(ctx, &whole, `
        SELECT min(low) AS low, max(high) AS high FROM (
            SELECT min(start_at) AS low, max(end_at) AS high FROM readings WHERE site = $1
            UNION ALL SELECT min(start_at), max(start_at) + interval '1 hour' FROM rollup_hour WHERE site = $1
            UNION ALL SELECT min(start_at), max(start_at) + interval '1 hour' FROM rollup_day WHERE site = $1) t`, site.ID)
	if err != nil || whole.From == nil {
		return err
	}
	all := wholeBuckets(kpi.Day, []kpi.Range{{From: *whole.From, To: *whole.To}}, zone)[0]
	for all.From.Before(all.To) {
		part := kpi.Range{From: all.From, To: kpi.Day.Containing(all.From.AddDate(0, 0, 31), zone).To.UTC()}.Within(all)
		if err := s.verifyRollupsIn(ctx, site.ID, zone, part, report); err != nil {
			return err
		}
		all.From = part.To
	}
	return nil
}

type rollupKey struct {
	cluster string
	start   int64 // Unix seconds
}

// verifyRollupsIn compares the rollups of whole days.
func (s *Store) verifyRollupsIn(ctx context.Context, site string, zone *time.Location, r kpi.Range, report *RollupReport) error {
	hours, _, err := hoursOf(ctx, s.db, site, zone, r)
	if err != nil {
		return err
	}
	var days []rollupRow
	dayOf := map[rollupKey]int{}
	for i := range hours {
		h := &hours[i]
		start := kpi.Day.Containing(h.Start, zone).From.UTC()
		key := rollupKey{h.Cluster, start.Unix()}
		k, ok := dayOf[key]
		if !ok {
			k = len(days)
			dayOf[key] = k
			days = append(days, rollupRow{Cluster: h.Cluster, Start: start})
		}
		days[k].Merge(&h.Sums)
		days[k].Covered += h.Covered
	}
	report.Hours, report.Days = report.Hours+len(hours), report.Days+len(days)
	for _, kind := range []struct {
		table, read string
		want        []rollupRow
	}{{"rollup_hour", readRollupHours, hours}, {"rollup_day", readRollupDays, days}} {
		table, want := kind.table, kind.want
		stored, err := s.storedRollups(ctx, kind.read, site, r)
		if err != nil {
			return err
		}
		for i := range want {
			w := &want[i]
			key := rollupKey{w.Cluster, w.Start.Unix()}
			have, ok := stored[key]
			delete(stored, key)
			switch {
			case !ok:
				report.add("%s of site %q, cluster %q at %s is missing", table, site, w.Cluster, w.Start.Format(time.RFC3339))
			case !have.equals(w):
				report.add("%s of site %q, cluster %q at %s differs from the readings", table, site, w.Cluster, w.Start.Format(time.RFC3339))
			}
		}
		for _, extra := range stored {
			report.add("%s of site %q, cluster %q at %s has no readings", table, site, extra.Cluster, extra.Start.Format(time.RFC3339))
		}
	}
	return nil
}

func (r *RollupReport) add(format string, args ...any) {
	if len(r.Wrong) < reportedIDs {
		r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
	}
}

const (
	readRollupHours = `SELECT cluster, start_at, ` + rollupColumns + ` FROM rollup_hour WHERE site = $1 AND start_at >= $2 AND start_at < $3`
	readRollupDays  = `SELECT cluster, start_at, ` + rollupColumns + ` FROM rollup_day WHERE site = $1 AND start_at >= $2 AND start_at < $3`
)

// storedRollups reads the rollups of a time with one of the statements above.
func (s *Store) storedRollups(ctx context.Context, read, site string, r kpi.Range) (map[rollupKey]*rollupRow, error) {
	rows, err := s.db.QueryxContext(ctx, read, site, r.From, r.To)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[rollupKey]*rollupRow{}
	for rows.Next() {
		var row rollupRow
		var worst sql.NullTime
		if err := rows.Scan(append([]any{&row.Cluster, &row.Start}, row.targets(&worst)...)...); err != nil {
			return nil, err
		}
		row.Start, row.InletMaxAt = row.Start.UTC(), worst.Time.UTC()
		found[rollupKey{row.Cluster, row.Start.Unix()}] = &row
	}
	return found, rows.Err()
}

func (r *rollupRow) equals(o *rollupRow) bool {
	near := func(a, b float64) bool {
		return math.Abs(a-b) <= rollupTolerance*max(1, math.Abs(a), math.Abs(b))
	}
	same := func(a, b *float64) bool { return (a == nil) == (b == nil) && (a == nil || near(*a, *b)) }
	if r.Readings != o.Readings || !near(r.Covered, o.Covered) || !r.InletMaxAt.Equal(o.InletMaxAt) ||
		!same(r.InletMaxC, o.InletMaxC) || !same(r.HeadroomMinK, o.HeadroomMinK) || !same(r.ITMaxKW, o.ITMaxKW) {
		return false
	}
	of := o.Quantities()
	for i, x := range r.Quantities() {
		if !near(*x, *of[i]) {
			return false
		}
	}
	return true
}
