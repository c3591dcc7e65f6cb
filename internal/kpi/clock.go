package kpi

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Range is the half-open interval [From, To).
type Range struct{ From, To time.Time }

// Empty reports whether no instant lies in the range.
func (r Range) Empty() bool { return !r.From.Before(r.To) }

// Seconds is the length of the range; an empty range has 0.
func (r Range) Seconds() float64 {
	if r.Empty() {
		return 0
	}
	return r.To.Sub(r.From).Seconds()
}

// Within returns the part of the range that lies in other.
func (r Range) Within(other Range) Range {
	if other.From.After(r.From) {
		r.From = other.From
	}
	if other.To.Before(r.To) {
		r.To = other.To
	}
	return r
}

// MaxYears is the longest range that may be asked for, in calendar years.
const MaxYears = 5

// ParseRange reads both ends of a range with ParseTime. Its error is a
// *RangeError that says which end is wrong.
func ParseRange(from, to string, now time.Time, zone *time.Location) (Range, error) {
	var r Range
	var err error
	if r.From, err = ParseTime(from, now, zone); err != nil {
		return r, &RangeError{End: "from", Reason: err.Error()}
	}
	if r.To, err = ParseTime(to, now, zone); err != nil {
		return r, &RangeError{End: "to", Reason: err.Error()}
	}
	if r.Empty() {
		return r, &RangeError{End: "from", Reason: fmt.Sprintf("must be before to; the range would be from %s to %s",
			r.From.In(zone).Format(time.RFC3339), r.To.In(zone).Format(time.RFC3339))}
	}
	if latest := r.From.In(zone).AddDate(MaxYears, 0, 0); r.To.After(latest) {
		return r, &RangeError{End: "to", Reason: fmt.Sprintf("must be at most %d years after from, which is %s",
			MaxYears, latest.Format(time.RFC3339))}
	}
	return r, nil
}

// RangeError is a fault of one end of a range.
type RangeError struct {
	End    string // from or to
	Reason string // for the caller
}

// Error implements error.
func (e *RangeError) Error() string { return e.End + " " + e.Reason }

const timeForms = "must be now, such as now-7d or now-1mo/mo, a date such as 2026-03-01, a local time such as 2026-03-01T14:00, " +
	"or an RFC 3339 time such as 2026-03-01T14:00:00Z"

var (
	errTimeForm = errors.New(timeForms)
	errTimeYear = errors.New("must be in the years 1970 to 9998")
)

// ParseTime reads one end of a range:
//
//	now              the present
//	now-7d           7 days ago; units m, h, d, w, mo and y
//	now-1mo/mo       the beginning of the month before this one
//	2026-03-01       the beginning of that date in the zone
//	2026-03-01T14:00 that time of the zone, with or without seconds
//	RFC 3339         that instant
//
// Minutes and hours are durations; days, weeks, months and years go by the
// calendar of the zone. A local time that a clock change skips or repeats is
// refused, because it does not name one instant. The text of an error is meant
// for the caller.
func ParseTime(text string, now time.Time, zone *time.Location) (time.Time, error) {
	at, err := parseTime(text, now, zone)
	if err != nil {
		return time.Time{}, err
	}
	if !askable(at) {
		return time.Time{}, errTimeYear
	}
	return at.Truncate(time.Microsecond).UTC(), nil // what PostgreSQL keeps
}

// askable bounds the arithmetic of zones, too: far outside of these years it is
// not right, and may not end.
func askable(at time.Time) bool { return !at.Before(time.Unix(0, 0)) && at.UTC().Year() <= 9998 }

// Askable reports whether both ends of a range lie in the years of ParseTime, so
// that figures of the range can be asked for. PostgreSQL, for example, knows no
// year 0, which RFC 3339 allows.
func (r Range) Askable() bool { return askable(r.From) && askable(r.To) }

func parseTime(text string, now time.Time, zone *time.Location) (time.Time, error) {
	if len(text) > 40 {
		return time.Time{}, errTimeForm
	}
	if rest, relative := strings.CutPrefix(text, "now"); relative {
		return shift(now.In(zone), rest)
	}
	if len(text) < len(time.DateOnly) {
		return time.Time{}, errTimeForm
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return StartOfDay(day.Year(), day.Month(), day.Day(), zone), nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if wall, err := time.Parse(layout, text); err == nil {
			return localTime(wall, zone)
		}
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil && strictOffset(text) {
		return at, nil
	}
	return time.Time{}, errTimeForm
}

// strictOffset refuses what time.Parse takes and RFC 3339 does not: an offset
// of 24 hours or more, and a comma before the fraction of a second.
func strictOffset(text string) bool {
	if strings.Contains(text, ",") {
		return false
	}
	if strings.HasSuffix(text, "Z") {
		return true
	}
	hours, err := strconv.Atoi(text[len(text)-5 : len(text)-3])
	return err == nil && hours < 24
}

// maxShift bounds the number before a unit.
const maxShift = 100_000

// shift applies what follows "now": any number of steps such as -7d, and then
// at most one /unit that goes back to the beginning of that unit.
func shift(at time.Time, rest string) (time.Time, error) {
	for rest != "" && rest[0] != '/' {
		sign := 1
		switch rest[0] {
		case '-':
			sign = -1
		case '+', ' ': // a plus sign in a query that was not escaped arrives as a space
		default:
			return at, errTimeForm
		}
		rest = rest[1:]
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.Atoi(rest[:digits])
		if err != nil || n > maxShift {
			return at, errTimeForm
		}
		rest = rest[digits:]
		unit := rest[:len(rest)-len(strings.TrimLeft(rest, "mhdwoy"))]
		rest = rest[len(unit):]
		if at, err = move(at, sign*n, unit); err != nil {
			return at, err
		}
		if !askable(at) {
			return at, errTimeYear
		}
	}
	if rest == "" {
		return at, nil
	}
	return startOf(at, rest[1:])
}

// move adds n units. Units of the calendar keep the local time of day; where a
// clock change skips that time, the result is as much later.
func move(at time.Time, n int, unit string) (time.Time, error) {
	switch unit {
	case "m":
		return at.Add(time.Duration(n) * time.Minute), nil
	case "h":
		return at.Add(time.Duration(n) * time.Hour), nil
	case "d":
		return at.AddDate(0, 0, n), nil
	case "w":
		return at.AddDate(0, 0, 7*n), nil
	case "mo":
		return addMonths(at, n), nil
	case "y":
		return addMonths(at, 12*n), nil
	}
	return at, errTimeForm
}

// addMonths adds months and keeps the day, or takes the last day of a month
// that is too short for it: a month before 31 March is 28 February.
func addMonths(at time.Time, n int) time.Time {
	y, m, d := at.Date()
	last := time.Date(y, m+time.Month(n)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	hh, mm, ss := at.Clock()
	return time.Date(y, m+time.Month(n), min(d, last), hh, mm, ss, at.Nanosecond(), at.Location())
}

func startOf(at time.Time, unit string) (time.Time, error) {
	switch unit {
	case "m":
		return Minutes(1).floor(at), nil
	case "h":
		return Hour.floor(at), nil
	case "d":
		return Day.floor(at), nil
	case "w":
		return Week.floor(at), nil
	case "mo":
		return Month.floor(at), nil
	case "y":
		return StartOfDay(at.Year(), time.January, 1, at.Location()), nil
	}
	return at, errTimeForm
}

// reach bounds the offsets of all zones from UTC, which are below 16 hours.
const reach = 16 * time.Hour

func offsetOf(at time.Time, zone *time.Location) time.Duration {
	_, seconds := at.In(zone).Zone()
	return time.Duration(seconds) * time.Second
}

// instants lists the instants at which the clocks of a zone show the wall time,
// earliest first: one as a rule, none when a clock change skips it, and two when
// a clock change repeats it. The location of wall is ignored.
//
// It compares offsets, and does not ask time.Time.ZoneBounds: from 2038 on, that
// method ends a leap year on 31 December, before the instant that it was asked
// about.
func instants(wall time.Time, zone *time.Location) []time.Time {
	utc := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), time.UTC)
	var found []time.Time
	tried := make([]time.Duration, 0, 3)
	for at := utc.Add(-reach); !at.After(utc.Add(reach)); at = at.Add(time.Hour) { // no offset holds for less than an hour
		offset := offsetOf(at, zone)
		if slices.Contains(tried, offset) {
			continue
		}
		tried = append(tried, offset)
		if candidate := utc.Add(-offset); offsetOf(candidate, zone) == offset {
			found = append(found, candidate.In(zone))
		}
	}
	slices.SortFunc(found, time.Time.Compare)
	return found
}

// firstInstant returns the first whole second after low, at or before high, at
// which a condition holds. The condition must hold at high, and from its first
// second on.
func firstInstant(low, high time.Time, holds func(time.Time) bool) time.Time {
	n := sort.Search(int(high.Sub(low)/time.Second), func(i int) bool { return holds(low.Add(time.Duration(i) * time.Second)) })
	return low.Add(time.Duration(n) * time.Second)
}

func localTime(wall time.Time, zone *time.Location) (time.Time, error) {
	found := instants(wall, zone)
	switch len(found) {
	case 0:
		return time.Time{}, fmt.Errorf("is a time that the clocks of %s skipped", zone)
	case 1:
		return found[0], nil
	}
	return time.Time{}, fmt.Errorf("is a time that the clocks of %s showed twice; give it with its offset: %s or %s",
		zone, found[0].Format(time.RFC3339), found[1].Format(time.RFC3339))
}

// StartOfDay returns the first instant of a date in a zone. Where a clock change
// skips midnight, the day begins with the change.
func StartOfDay(year int, month time.Month, day int, zone *time.Location) time.Time {
	midnight := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	if found := instants(midnight, zone); len(found) > 0 {
		return found[0]
	}
	return firstInstant(midnight.Add(-reach), midnight.Add(reach), func(at time.Time) bool {
		return !wallOf(at.In(zone)).Before(midnight)
	}).In(zone)
}

// wallOf returns what the clock shows, as an instant of UTC.
func wallOf(at time.Time) time.Time {
	_, offset := at.Zone()
	return at.UTC().Add(time.Duration(offset) * time.Second)
}

// LoadZone returns the zone with a name of the IANA time zone database. The text
// of its error is meant for the caller.
func LoadZone(name string) (*time.Location, error) {
	if strings.EqualFold(name, "utc") {
		return time.UTC, nil
	}
	if name == "" || len(name) > 64 || strings.EqualFold(name, "local") { // Local is the zone of this machine
		return nil, errZone
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, errZone
	}
	return zone, nil
}

var errZone = errors.New("must be site, utc or a name of the IANA time zone database such as Europe/Madrid")
