package store

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// valueColumns are the columns of kpi.Values.
const valueColumns = `it_load_kw, facility_power_kw, ups_efficiency_pct, pue_current, carbon_intensity_gco2_per_kwh, energy_price_usd_per_kwh,
    avg_rack_inlet_c, p95_rack_inlet_c, hotspot_rack_count, supply_temp_c, return_temp_c, cooling_setpoint_c, chiller_kw,
    fan_power_kw, cooling_valve_position_pct, cpu_util_avg, gpu_util_avg, queue_depth, tokens_per_watt_est, max_rack_inlet_p95_c,
    outdoor_dry_bulb_c, outdoor_wet_bulb_c, relative_humidity_pct, pressure_hpa, water_l_per_hour`

const numberOfValues = 25

// ProjectionStep says what one step of the projection did.
type ProjectionStep struct {
	Upto    int64 // the event up to which the readings follow the trail
	Stored  int   // readings
	Removed int
	Skipped []int64 // requests whose payload this version cannot read, or whose window is not kpi.Range.Askable

	done []kpi.Reading // of the requests that are done, also of those that had a reading before
}

// ReadingsPosition returns the event up to which the readings follow the trail.
func (s *Store) ReadingsPosition(ctx context.Context) (event int64, err error) {
	err = s.db.GetContext(ctx, &event, `SELECT event_id FROM readings_position`)
	return event, wrap("look up the position of the readings", err)
}

// ProjectReadings makes the readings follow the next events of the trail: those
// after the position, up to an id for which TrailVisible was true, and at most
// atMost that concern readings. The position moves in the same transaction, so
// that a step happens wholly or not at all. ErrConflict means that another
// process has moved the position.
func (s *Store) ProjectReadings(ctx context.Context, after, upTo int64, atMost int) (step ProjectionStep, err error) {
	return s.FollowTrail(ctx, after, upTo, atMost, RecommendPolicy{})
}

// FollowTrail does what ProjectReadings does, and makes a row for each
// recommendation that the policy asks for.
func (s *Store) FollowTrail(ctx context.Context, after, upTo int64, atMost int, p RecommendPolicy) (step ProjectionStep, err error) {
	err = s.transact(ctx, "follow the trail with readings", func(tx *sqlx.Tx) error {
		var position int64
		if err := tx.GetContext(ctx, &position, `SELECT event_id FROM readings_position FOR UPDATE`); err != nil {
			return err
		}
		if position != after {
			return &ConflictError{Noun: NounMark, Reason: "another process follows the trail"}
		}
		var events []struct {
			ID      int64  `db:"id"`
			Request int64  `db:"request_id"`
			Action  string `db:"action"`
		}
		err := tx.SelectContext(ctx, &events, `
            SELECT id, request_id, action FROM audit_events
            WHERE id > $1 AND id <= $2 AND request_id IS NOT NULL
              AND (action = 'finish' AND schema_version = $4 OR action IN ('replay', 'delete'))
            ORDER BY id LIMIT $3`, after, upTo, atMost, signals.Version)
		if err != nil {
			return err
		}
		step = ProjectionStep{Upto: upTo}
		if len(events) == atMost {
			step.Upto = events[atMost-1].ID
		}
		deleted := map[int64]bool{}
		var ids []int64
		for _, e := range events {
			ids = append(ids, e.Request)
			deleted[e.Request] = deleted[e.Request] || e.Action == "delete"
		}
		slices.Sort(ids)
		if err := project(ctx, tx, slices.Compact(ids), deleted, &step); err != nil {
			return err
		}
		if err := removeRecommendations(ctx, tx, deleted); err != nil {
			return err
		}
		if err := addRecommendations(ctx, tx, step.done, p); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE readings_position SET event_id = $1, moved_at = now()`, step.Upto)
		return err
	})
	return step, err
}

// RebuildReadings makes the readings of the requests behind an id anew, from up
// to size of the requests that are there, and returns the last of them; 0 when
// there are no more. Readings of requests that retention removed stay. A time
// that is not empty leaves the readings alone whose windows do not overlap it.
func (s *Store) RebuildReadings(ctx context.Context, behind int64, size int, within kpi.Range) (last int64, step ProjectionStep, err error) {
	err = s.transact(ctx, "rebuild readings", func(tx *sqlx.Tx) error {
		last, step = 0, ProjectionStep{}
		// The projection waits for this step, and this step for the projection.
		if _, err := tx.ExecContext(ctx, `SELECT FROM readings_position FOR UPDATE`); err != nil {
			return err
		}
		var ids []int64
		err := tx.SelectContext(ctx, &ids, `SELECT id FROM mass_requests WHERE id > $1 ORDER BY id LIMIT $2`, behind, size)
		if err != nil || len(ids) == 0 {
			return err
		}
		last = ids[len(ids)-1]
		if !within.Empty() {
			if ids, err = overlappingRequests(ctx, tx, ids, within); err != nil {
				return err
			}
		}
		var touched touchedSites
		if err := removeReadings(ctx, tx, ids, &step, &touched); err != nil {
			return err
		}
		if err := project(ctx, tx, ids, nil, &step); err != nil {
			return err
		}
		return touched.count(ctx, tx)
	})
	return last, step, err
}

// overlappingRequests returns those of the requests whose payload or reading has
// a window that overlaps a time.
func overlappingRequests(ctx context.Context, tx *sqlx.Tx, ids []int64, within kpi.Range) ([]int64, error) {
	var rows []struct {
		ID      int64  `db:"id"`
		Payload []byte `db:"payload"`
	}
	err := tx.SelectContext(ctx, &rows, `
        SELECT id, payload FROM mass_requests WHERE id = ANY ($1) AND status = 'done' AND schema_version = $2`, int64Array(ids), signals.Version)
	if err != nil {
		return nil, err
	}
	var found []int64
	err = tx.SelectContext(ctx, &found, `
        SELECT request_id FROM readings WHERE request_id = ANY ($1) AND start_at < $3 AND end_at > $2`, int64Array(ids), within.From, within.To)
	for _, row := range rows {
		d, faults := signals.Decode(row.Payload)
		if len(faults) > 0 {
			continue // it never had a reading
		}
		w := &d.Request.TimeWindow
		if w.StartUTC.Instant().Before(within.To) && w.EndUTC.Instant().After(within.From) {
			found = append(found, row.ID)
		}
	}
	slices.Sort(found)
	return slices.Compact(found), err
}

// project brings the readings of the requests into line with the requests.
// deleted has those that a person deleted; a request that is gone and was not
// deleted was removed by retention, and its reading stays.
func project(ctx context.Context, tx *sqlx.Tx, ids []int64, deleted map[int64]bool, step *ProjectionStep) error {
	var rows []struct {
		ID        int64     `db:"id"`
		CreatedAt time.Time `db:"created_at"`
		Signals   bool      `db:"signals"`
		Payload   []byte    `db:"payload"`
	}
	err := tx.SelectContext(ctx, &rows, `
        SELECT id, created_at, signals, CASE WHEN signals THEN payload END AS payload
        FROM mass_requests CROSS JOIN LATERAL (SELECT status = 'done' AND schema_version = $2 AS signals) kind
        WHERE id = ANY ($1)`, int64Array(ids), signals.Version)
	if err != nil {
		return err
	}
	keptFrom, err := readingsKeptFrom(ctx, tx)
	if err != nil {
		return err
	}
	var wanted []kpi.Reading
	var unwanted []int64
	there := map[int64]bool{}
	for _, row := range rows {
		there[row.ID] = true
		if !row.Signals {
			unwanted = append(unwanted, row.ID)
			continue
		}
		d, faults := signals.Decode(row.Payload)
		if len(faults) > 0 || len(signals.Validate(d)) > 0 {
			step.Skipped = append(step.Skipped, row.ID)
			unwanted = append(unwanted, row.ID)
			continue
		}
		reading := kpi.ReadingOf(row.ID, row.CreatedAt.UTC(), d)
		switch {
		case !reading.Window().Askable():
			step.Skipped = append(step.Skipped, row.ID)
			unwanted = append(unwanted, row.ID)
		case reading.From.Before(keptFrom):
			unwanted = append(unwanted, row.ID)
		default:
			wanted = append(wanted, reading)
		}
	}
	for _, id := range ids {
		if !there[id] && deleted[id] {
			unwanted = append(unwanted, id)
		}
	}
	step.done = wanted
	var touched touchedSites
	if err := removeReadings(ctx, tx, unwanted, step, &touched); err != nil {
		return err
	}
	if err := storeReadings(ctx, tx, wanted, step, &touched); err != nil {
		return err
	}
	return touched.count(ctx, tx)
}

// reader is a connection pool or a transaction.
type reader interface {
	sqlx.QueryerContext
	GetContext(ctx context.Context, into any, query string, args ...any) error
	SelectContext(ctx context.Context, into any, query string, args ...any) error
}

// readingsKeptFrom is the time before which readings were removed by retention;
// the zero time without one.
func readingsKeptFrom(ctx context.Context, q reader) (time.Time, error) {
	var from *time.Time
	if err := q.GetContext(ctx, &from, `SELECT kept_from FROM readings_position`); err != nil || from == nil {
		return time.Time{}, err
	}
	return from.UTC(), nil
}

// ForgetReadings removes the readings of the oldest month that there is, if that
// month ended at or before the given time, with its partition, and returns its
// beginning; the zero time when nothing was removed. Readings of later months
// that they took time from count again, and rollups of that time are computed
// again. Readings that begin before the end of the month are not made again.
func (s *Store) ForgetReadings(ctx context.Context, before time.Time) (month time.Time, removed int64, err error) {
	err = s.transact(ctx, "remove old readings", func(tx *sqlx.Tx) error {
		month, removed = time.Time{}, 0
		if _, err := tx.ExecContext(ctx, `SELECT FROM readings_position FOR UPDATE`); err != nil {
			return err
		}
		var oldest *time.Time
		if err := tx.GetContext(ctx, &oldest, `SELECT min(start_at) FROM readings`); err != nil || oldest == nil {
			return err
		}
		first := time.Date(oldest.UTC().Year(), oldest.UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
		end := first.AddDate(0, 1, 0)
		if end.After(before) {
			return nil
		}
		month = first
		var gone []kpi.Reading
		err := tx.SelectContext(ctx, &gone, `SELECT site, min(start_at) AS start_at, max(end_at) AS end_at FROM readings WHERE start_at < $1 GROUP BY site`, end)
		if err != nil {
			return err
		}
		var touched touchedSites
		for i := range gone {
			touched.add(&gone[i])
		}
		if err := tx.GetContext(ctx, &removed, `SELECT count(*) FROM readings WHERE start_at < $1`, end); err != nil {
			return err
		}
		for _, statement := range []string{`DELETE FROM reading_parts WHERE start_at < $1`, `DELETE FROM recommendations WHERE start_at < $1`, `UPDATE readings_position SET kept_from = $1`} {
			if _, err := tx.ExecContext(ctx, statement, end); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `SELECT readings_drop($1)`, first); err != nil {
			return err
		}
		return touched.count(ctx, tx)
	})
	return month, removed, err
}

func removeReadings(ctx context.Context, tx *sqlx.Tx, ids []int64, step *ProjectionStep, touched *touchedSites) error {
	if len(ids) == 0 {
		return nil
	}
	var gone []StoredReading
	err := tx.SelectContext(ctx, &gone, `
        DELETE FROM readings WHERE request_id = ANY ($1) RETURNING site, facility, cluster, zone, start_at, end_at, asset_state`, int64Array(ids))
	if err != nil || len(gone) == 0 {
		return err
	}
	step.Removed += len(gone)
	if _, err := tx.ExecContext(ctx, `DELETE FROM reading_parts WHERE request_id = ANY ($1)`, int64Array(ids)); err != nil {
		return err
	}
	for i := range gone {
		touched.add(&gone[i].Reading)
		if gone[i].AssetState == kpi.Replaced {
			continue
		}
		if err := reviveReading(ctx, tx, &gone[i].Reading); err != nil {
			return err
		}
	}
	return nil
}

// reviveReading lets the newest of the readings that r had replaced take part in
// the decision what counts.
func reviveReading(ctx context.Context, tx *sqlx.Tx, r *kpi.Reading) error {
	_, err := tx.ExecContext(ctx, `
        UPDATE readings SET asset_state = 'counts', site_state = 'counts'
        WHERE (request_id, start_at) = (
            SELECT request_id, start_at FROM readings
            WHERE site = $1 AND facility = $2 AND cluster = $3 AND zone = $4 AND start_at = $5 AND end_at = $6
            ORDER BY accepted_at DESC, request_id DESC LIMIT 1)`, r.Site, r.Facility, r.Cluster, r.Zone, r.From, r.To)
	return err
}

func storeReadings(ctx context.Context, tx *sqlx.Tx, list []kpi.Reading, step *ProjectionStep, touched *touchedSites) error {
	if len(list) == 0 {
		return nil
	}
	longest := map[string]time.Duration{}
	months := map[time.Time]bool{}
	for i := range list {
		r := &list[i]
		longest[r.Site] = max(longest[r.Site], r.To.Sub(r.From))
		months[time.Date(r.From.Year(), r.From.Month(), 1, 0, 0, 0, 0, time.UTC)] = true
	}
	for month := range months {
		if _, err := tx.ExecContext(ctx, `SELECT readings_partition($1)`, month); err != nil {
			return err
		}
	}
	var names textArray
	var seconds floatArray
	for site, d := range longest {
		names, seconds = append(names, site), append(seconds, d.Seconds())
	}
	_, err := tx.ExecContext(ctx, `
        INSERT INTO sites AS s (site_id, longest)
        SELECT site, make_interval(secs => longest) FROM unnest($1::text[], $2::float8[]) AS n(site, longest) ORDER BY site
        ON CONFLICT (site_id) DO UPDATE SET longest = EXCLUDED.longest WHERE s.longest < EXCLUDED.longest`, names, seconds)
	if err != nil {
		return err
	}
	var fresh []kpi.Reading
	columns := readingColumnsOf(list)
	err = tx.SelectContext(ctx, &fresh, insertReadings, columns...)
	for i := range fresh {
		touched.add(&fresh[i])
	}
	step.Stored += len(fresh)
	return err
}

// insertReadings has one array for each column. A reading that is there already
// stays as it is: a payload never changes.
const insertReadings = `
INSERT INTO readings (request_id, start_at, end_at, accepted_at, warnings, site, facility, cluster, zone, ` + valueColumns + `)
SELECT * FROM unnest(
    $1::bigint[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::integer[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::float8[], $11::float8[], $12::float8[], $13::float8[], $14::float8[], $15::float8[], $16::float8[],
    $17::float8[], $18::float8[], $19::float8[], $20::float8[], $21::float8[], $22::float8[], $23::float8[], $24::float8[],
    $25::float8[], $26::float8[], $27::float8[], $28::float8[], $29::float8[], $30::float8[], $31::float8[], $32::float8[],
    $33::float8[], $34::float8[])
ON CONFLICT (request_id, start_at) DO NOTHING RETURNING site, start_at, end_at`

// readingColumnsOf returns the arrays of insertReadings.
func readingColumnsOf(list []kpi.Reading) []any {
	var (
		ids                         int64Array
		warnings                    int32Array
		starts, ends, accepted      timeArray
		sites, facilities, clusters textArray
		zones                       textArray
		values                      [numberOfValues][]*float64 // in the order of valueColumns
	)
	for i := range list {
		r := &list[i]
		ids, warnings = append(ids, r.RequestID), append(warnings, int32(r.Warnings)) //nolint:gosec // there are at most some dozens
		starts, ends, accepted = append(starts, r.From), append(ends, r.To), append(accepted, r.Accepted)
		sites, facilities = append(sites, r.Site), append(facilities, r.Facility)
		clusters, zones = append(clusters, r.Cluster), append(zones, r.Zone)
		for k, x := range r.List() {
			values[k] = append(values[k], x)
		}
	}
	args := []any{ids, starts, ends, accepted, warnings, sites, facilities, clusters, zones}
	for _, column := range values {
		args = append(args, pq.Array(column))
	}
	return args
}

// touchedSites are the times of sites in which readings were stored or removed.
type touchedSites map[string][]kpi.Range

func (t *touchedSites) add(r *kpi.Reading) {
	if *t == nil {
		*t = touchedSites{}
	}
	(*t)[r.Site] = append((*t)[r.Site], kpi.Range{From: r.From.UTC(), To: r.To.UTC()})
}

// count decides again which readings count, in the times that were touched. What
// counts at other times does not change, so these are also the times whose
// rollups must be computed again.
func (t touchedSites) count(ctx context.Context, tx *sqlx.Tx) error {
	var dirty dirtyTimes
	for _, site := range slices.Sorted(maps.Keys(t)) {
		for _, r := range kpi.Union(t[site]) {
			if err := countReadings(ctx, tx, site, r); err != nil {
				return err
			}
			// A piece that begins where the time ends may now begin earlier.
			dirty.add(site, kpi.Range{From: r.From, To: r.To.Add(time.Microsecond)})
		}
	}
	return dirty.store(ctx, tx)
}

// overlapping finds the readings of the site $1 that overlap the time from $2 to
// $3 and are not replaced: those count at no instant, and there may be very many.
// A reading that began earlier than the longest window before cannot overlap.
const overlapping = ` FROM readings r
    WHERE r.site = $1 AND r.asset_state <> 'replaced' AND r.start_at < $3 AND r.end_at > $2
      AND r.start_at > $2 - (SELECT longest FROM sites WHERE site_id = $1)`

// StoredReading is a reading, and for what it counts.
type StoredReading struct {
	kpi.Reading
	AssetState kpi.State `db:"asset_state"`
	SiteState  kpi.State `db:"site_state"`
}

// countReadings decides which readings count that overlap a time. What they are
// up against are the readings that overlap one of them, so those are read, too.
func countReadings(ctx context.Context, tx *sqlx.Tx, site string, r kpi.Range) error {
	var wide struct {
		From *time.Time `db:"low"`
		To   *time.Time `db:"high"`
	}
	if err := tx.GetContext(ctx, &wide, `SELECT min(r.start_at) AS low, max(r.end_at) AS high`+overlapping, site, r.From, r.To); err != nil || wide.From == nil {
		return err
	}
	var list []StoredReading
	err := tx.SelectContext(ctx, &list, `
        SELECT r.request_id, r.site, r.facility, r.cluster, r.zone, r.start_at, r.end_at, r.accepted_at, r.asset_state, r.site_state`+
		overlapping, site, *wide.From, *wide.To)
	if err != nil {
		return err
	}
	readings := make([]kpi.Reading, len(list))
	for i := range list {
		readings[i] = inUTC(&list[i].Reading)
	}
	var change countedChange
	for i, c := range kpi.Count(readings) {
		if !readings[i].Window().Within(r).Empty() {
			change.add(&readings[i], &list[i], &c)
		}
	}
	return change.write(ctx, tx)
}

func inUTC(r *kpi.Reading) kpi.Reading {
	r.From, r.To, r.Accepted = r.From.UTC(), r.To.UTC(), r.Accepted.UTC()
	return *r
}

// countedChange collects what is written about the readings that were counted.
type countedChange struct {
	ids, anew    int64Array // whose state changed; whose parts are written again
	starts       timeArray
	assets, seen textArray
	parts        int64Array
	partStarts   timeArray
	from, to     timeArray
	forSite      boolArray
}

func (c *countedChange) add(r *kpi.Reading, before *StoredReading, now *kpi.Counted) {
	if before.AssetState != now.OfAsset || before.SiteState != now.Seen {
		c.ids, c.starts = append(c.ids, r.RequestID), append(c.starts, r.From)
		c.assets, c.seen = append(c.assets, string(now.OfAsset)), append(c.seen, string(now.Seen))
	}
	if before.AssetState == kpi.InPart || before.SiteState == kpi.InPart || now.OfAsset == kpi.InPart || now.Seen == kpi.InPart {
		c.anew = append(c.anew, r.RequestID)
	}
	for _, view := range []struct {
		forSite bool
		parts   []kpi.Range
	}{{false, inPart(now.OfAsset, now.Asset)}, {true, inPart(now.Seen, now.Site)}} {
		for _, part := range view.parts {
			c.parts, c.partStarts = append(c.parts, r.RequestID), append(c.partStarts, r.From)
			c.from, c.to, c.forSite = append(c.from, part.From), append(c.to, part.To), append(c.forSite, view.forSite)
		}
	}
}

func (c *countedChange) write(ctx context.Context, tx *sqlx.Tx) error {
	if len(c.ids) > 0 {
		_, err := tx.ExecContext(ctx, `
            UPDATE readings r SET asset_state = n.asset, site_state = n.site
            FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[]) AS n(id, start_at, asset, site)
            WHERE r.request_id = n.id AND r.start_at = n.start_at`, c.ids, c.starts, c.assets, c.seen)
		if err != nil {
			return err
		}
	}
	if len(c.anew) > 0 {
		if _, err := tx.ExecContext(ctx, `DELETE FROM reading_parts WHERE request_id = ANY ($1)`, c.anew); err != nil {
			return err
		}
	}
	if len(c.parts) == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, `
        INSERT INTO reading_parts (request_id, start_at, for_site, from_at, to_at)
        SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::boolean[], $4::timestamptz[], $5::timestamptz[])`,
		c.parts, c.partStarts, c.forSite, c.from, c.to)
	return err
}

// ReadingsReport is what VerifyReadings found.
type ReadingsReport struct {
	Readings   int
	Missing    []int64 // requests that ended done and have no reading
	Unfounded  []int64 // readings of requests that are not done
	Miscounted []int64 // readings whose state is not that of a new decision
}

// OK reports whether nothing is wrong.
func (r *ReadingsReport) OK() bool {
	return len(r.Missing) == 0 && len(r.Unfounded) == 0 && len(r.Miscounted) == 0
}

// reportedIDs bounds each list of a ReadingsReport.
const reportedIDs = 100

// VerifyReadings compares the readings with the requests, and what counts with a
// decision from all readings of each site. It reads everything, and expects that
// the projection has caught up and that nothing moves.
func (s *Store) VerifyReadings(ctx context.Context) (report ReadingsReport, err error) {
	const act = "verify the readings"
	report.Missing, err = s.missingReadings(ctx)
	if err == nil {
		err = s.db.SelectContext(ctx, &report.Unfounded, `
            SELECT request_id FROM readings r JOIN mass_requests q ON q.id = r.request_id WHERE q.status <> 'done' ORDER BY 1 LIMIT $1`, reportedIDs)
	}
	var sites []string
	if err == nil {
		err = s.db.SelectContext(ctx, &sites, `SELECT site_id FROM sites ORDER BY site_id`)
	}
	for _, site := range sites {
		if err != nil {
			break
		}
		err = s.verifySite(ctx, site, &report)
	}
	return report, wrap(act, err)
}

// missingReadings finds requests that ended done and have no reading although
// they should.
func (s *Store) missingReadings(ctx context.Context) (missing []int64, err error) {
	keptFrom, err := readingsKeptFrom(ctx, s.db)
	if err != nil {
		return nil, err
	}
	for behind := int64(0); len(missing) < reportedIDs; {
		var rows []struct {
			ID      int64  `db:"id"`
			Payload []byte `db:"payload"`
		}
		err := s.db.SelectContext(ctx, &rows, `
            SELECT id, payload FROM mass_requests q WHERE id > $3 AND status = 'done' AND schema_version = $1
              AND NOT EXISTS (SELECT FROM readings WHERE request_id = q.id) ORDER BY id LIMIT $2`, signals.Version, reportedIDs, behind)
		if err != nil || len(rows) == 0 {
			return missing, err
		}
		for _, row := range rows {
			behind = row.ID
			d, faults := signals.Decode(row.Payload)
			if len(faults) > 0 || len(signals.Validate(d)) > 0 {
				continue
			}
			if r := kpi.ReadingOf(row.ID, time.Time{}, d); r.Window().Askable() && !r.From.Before(keptFrom) {
				missing = append(missing, row.ID)
			}
		}
	}
	return missing, nil
}

func (s *Store) verifySite(ctx context.Context, site string, report *ReadingsReport) error {
	var list []StoredReading
	err := s.db.SelectContext(ctx, &list, `
        SELECT request_id, site, facility, cluster, zone, start_at, end_at, accepted_at, asset_state, site_state FROM readings WHERE site = $1`, site)
	if err != nil {
		return err
	}
	var parts []struct {
		Request int64     `db:"request_id"`
		ForSite bool      `db:"for_site"`
		From    time.Time `db:"from_at"`
		To      time.Time `db:"to_at"`
	}
	err = s.db.SelectContext(ctx, &parts, `
        SELECT p.request_id, p.for_site, p.from_at, p.to_at FROM reading_parts p JOIN readings r USING (request_id, start_at)
        WHERE r.site = $1 ORDER BY p.request_id, p.from_at`, site)
	if err != nil {
		return err
	}
	type view struct {
		request int64
		forSite bool
	}
	stored := map[view][]kpi.Range{}
	for _, p := range parts {
		v := view{p.Request, p.ForSite}
		stored[v] = append(stored[v], kpi.Range{From: p.From, To: p.To})
	}
	readings := make([]kpi.Reading, len(list))
	for i := range list {
		readings[i] = inUTC(&list[i].Reading)
	}
	report.Readings += len(list)
	for i, c := range kpi.Count(readings) {
		same := list[i].AssetState == c.OfAsset && list[i].SiteState == c.Seen
		for v, want := range map[view][]kpi.Range{
			{readings[i].RequestID, false}: inPart(c.OfAsset, c.Asset), {readings[i].RequestID, true}: inPart(c.Seen, c.Site),
		} {
			same = same && slices.EqualFunc(stored[v], want, kpi.Range.Equal)
		}
		if !same && len(report.Miscounted) < reportedIDs {
			report.Miscounted = append(report.Miscounted, readings[i].RequestID)
		}
	}
	return nil
}

func inPart(state kpi.State, parts []kpi.Range) []kpi.Range {
	if state != kpi.InPart {
		return nil
	}
	return parts
}

// ReadingKey is the place of a reading in the order of Readings.
type ReadingKey struct {
	Start   time.Time
	Request int64
}

// Readings lists up to limit readings whose windows overlap a time, those that do
// not count included, behind a key. The scope may name a cluster; a state limits
// the readings to those that have it for their asset or for their site.
func (s *Store) Readings(ctx context.Context, scope ReadingScope, r kpi.Range, state kpi.State, after ReadingKey, limit int) ([]StoredReading, error) {
	var list []StoredReading
	err := s.db.SelectContext(ctx, &list, `
        SELECT request_id, site, facility, cluster, zone, start_at, end_at, accepted_at, warnings, asset_state, site_state, `+valueColumns+`
        FROM readings r
        WHERE r.site = $1 AND r.start_at < $3 AND r.end_at > $2 AND r.start_at > $2 - (SELECT longest FROM sites WHERE site_id = $1)
          AND (r.start_at, r.request_id) > ($4, $5) AND $6 IN ('', r.cluster) AND $7 IN ('', r.asset_state, r.site_state)
        ORDER BY r.start_at, r.request_id LIMIT $8`,
		scope.Site, r.From, r.To, after.Start, after.Request, scope.Cluster, string(state), limit)
	return list, wrap("list readings", err)
}

// ReadingScope says which readings are added up.
type ReadingScope struct {
	Site    string
	Cluster string // "" for the site
}

// readPieces reads what counts of a cluster $4, or of the site when that is empty.
const readPieces = `
SELECT r.start_at AS from_at, r.end_at AS to_at, ` + valueColumns + overlapping + `
  AND CASE WHEN $4 = '' THEN r.site_state ELSE r.asset_state END = 'counts' AND $4 IN ('', r.cluster)
UNION ALL
SELECT p.from_at, p.to_at, ` + valueColumns + ` FROM reading_parts p JOIN (SELECT r.*` + overlapping + `
  AND CASE WHEN $4 = '' THEN r.site_state ELSE r.asset_state END = 'counts in part' AND $4 IN ('', r.cluster)) r
USING (request_id, start_at) WHERE p.for_site = ($4 = '') AND p.from_at < $3 AND p.to_at > $2
ORDER BY 1`

// Pieces passes the parts of readings that count in a time to f, in the order in
// which they begin. Each is cut to the time. The values are valid until f
// returns.
func (s *Store) Pieces(ctx context.Context, scope ReadingScope, r kpi.Range, f func(v *kpi.Values, piece kpi.Range)) error {
	return wrap("read readings", pieces(ctx, s.db, scope, r, func(v *kpi.Values, piece kpi.Range) { f(v, piece.Within(r)) }))
}

// pieces passes the parts of readings that count in a time to f, not cut to the
// time, in the order in which they begin.
func pieces(ctx context.Context, from sqlx.QueryerContext, scope ReadingScope, r kpi.Range, f func(v *kpi.Values, piece kpi.Range)) error {
	rows, err := from.QueryxContext(ctx, readPieces, scope.Site, r.From, r.To, scope.Cluster)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var row struct {
			From time.Time `db:"from_at"`
			To   time.Time `db:"to_at"`
			kpi.Values
		}
		if err := rows.StructScan(&row); err != nil {
			return err
		}
		f(&row.Values, kpi.Range{From: row.From.UTC(), To: row.To.UTC()})
	}
	return rows.Err()
}

// ReadingsStatus says how far the readings are.
type ReadingsStatus struct {
	Readings int64     `db:"readings"`
	Sites    int       `db:"sites"`
	Position int64     `db:"event_id"` // the readings follow the trail up to this event
	Newest   int64     `db:"newest"`   // the newest event
	MovedAt  time.Time `db:"moved_at"`

	Dirty      int64      `db:"dirty"`       // times whose rollups must be computed again
	DirtySince *time.Time `db:"dirty_since"` // when the oldest of them was recorded; nil for none
	KeptFrom   *time.Time `db:"kept_from"`   // readings that begin earlier were removed by retention; nil for none
}

// ReadingsStatus returns how far the readings are.
func (s *Store) ReadingsStatus(ctx context.Context) (ReadingsStatus, error) {
	var status ReadingsStatus
	err := s.db.GetContext(ctx, &status, `
        SELECT (SELECT count(*) FROM readings) AS readings, (SELECT count(*) FROM sites) AS sites, event_id, moved_at, kept_from,
               (SELECT coalesce(max(id), 0) FROM audit_events) AS newest,
               (SELECT count(*) FROM rollup_dirty) AS dirty, (SELECT min(at) FROM rollup_dirty) AS dirty_since
        FROM readings_position`)
	return status, wrap("look up the state of the readings", err)
}
