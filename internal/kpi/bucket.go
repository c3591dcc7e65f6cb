package kpi

import (
	"fmt"
	"time"
)

// Bucket is a way to divide time into intervals that begin on the clock and
// calendar of a zone. Buckets of minutes and hours end early or begin late only
// at a clock change that is no multiple of them; days, weeks and months have as
// many hours as the clocks say: a day of a clock change has 23 or 25.
type Bucket struct {
	name    string
	short   string
	minutes int // 0: a unit of the calendar, or raw
	next    func(y int, m time.Month, d int) (int, time.Month, int)
	first   func(at time.Time) (int, time.Month, int)
}

// The buckets. Raw is no division: each reading is a row of its own.
var (
	Raw     = Bucket{name: "raw", short: "raw"}
	Quarter = Bucket{name: "15m", short: "15m", minutes: 15}
	Hour    = Bucket{name: "hour", short: "1h", minutes: 60}
	Day     = Bucket{
		name: "day", short: "1d",
		first: func(at time.Time) (int, time.Month, int) { return at.Date() },
		next:  func(y int, m time.Month, d int) (int, time.Month, int) { return y, m, d + 1 },
	}
	Week = Bucket{ // begins on Monday: ISO 8601
		name: "week", short: "1w",
		first: func(at time.Time) (int, time.Month, int) {
			y, m, d := at.Date()
			return y, m, d - (int(at.Weekday())+6)%7
		},
		next: func(y int, m time.Month, d int) (int, time.Month, int) { return y, m, d + 7 },
	}
	Month = Bucket{
		name: "month", short: "1mo",
		first: func(at time.Time) (int, time.Month, int) { y, m, _ := at.Date(); return y, m, 1 },
		next:  func(y int, m time.Month, _ int) (int, time.Month, int) { return y, m + 1, 1 },
	}
)

// Buckets lists the buckets from fine to coarse.
func Buckets() []Bucket { return []Bucket{Raw, Quarter, Hour, Day, Week, Month} }

// Minutes is a bucket of n minutes, a divisor of 60.
func Minutes(n int) Bucket {
	return Bucket{name: fmt.Sprintf("%dm", n), short: fmt.Sprintf("%dm", n), minutes: n}
}

// BucketNamed returns the bucket with a name such as hour, or with its short
// name such as 1h.
func BucketNamed(name string) (Bucket, bool) {
	for _, b := range Buckets() {
		if name == b.name || name == b.short {
			return b, true
		}
	}
	return Bucket{}, false
}

// Name is the name in queries and answers, such as hour.
func (b Bucket) Name() string { return b.name }

// Short is the name in file names, such as 1h.
func (b Bucket) Short() string { return b.short }

// IsRaw reports whether each reading is a row of its own.
func (b Bucket) IsRaw() bool { return b.minutes == 0 && b.next == nil }

// Finer reports whether the bucket is finer than other.
func (b Bucket) Finer(other Bucket) bool {
	order := map[string]int{}
	for i, each := range Buckets() {
		order[each.name] = i
	}
	return order[b.name] < order[other.name]
}

// floor returns the beginning of the bucket that contains at, in at's zone.
func (b Bucket) floor(at time.Time) time.Time {
	if b.minutes == 0 {
		y, m, d := b.first(at)
		return StartOfDay(y, m, d, at.Location())
	}
	wall := wallOf(at)
	start := at.Add(wall.Truncate(time.Duration(b.minutes) * time.Minute).Sub(wall))
	return changeBetween(start, at, start)
}

// changeBetween returns the instant of a clock change after low and at or before
// high, or otherwise when there is none.
func changeBetween(low, high, otherwise time.Time) time.Time {
	zone := low.Location()
	offset := offsetOf(high, zone)
	if offsetOf(low, zone) == offset {
		return otherwise
	}
	low = low.Truncate(time.Second) // clocks change at whole seconds
	return firstInstant(low, high.Add(time.Second), func(at time.Time) bool { return offsetOf(at, zone) == offset }).In(zone)
}

// after returns the end of the bucket that begins at start.
func (b Bucket) after(start time.Time) time.Time {
	if b.minutes == 0 {
		// A day may begin late, but it has its own date.
		y, m, d := b.next(b.first(start))
		return StartOfDay(y, m, d, start.Location())
	}
	step := time.Duration(b.minutes) * time.Minute
	wall := wallOf(start)
	end := start.Add(wall.Truncate(step).Add(step).Sub(wall))
	return changeBetween(start, end.Add(-1), end)
}

// Containing returns the bucket that contains an instant.
func (b Bucket) Containing(at time.Time, zone *time.Location) Range {
	start := b.floor(at.In(zone))
	return Range{From: start, To: b.after(start)}
}

// Divide cuts a range into buckets of the zone, in order, without gaps. The
// first and the last bucket are cut to the range. The bucket must not be Raw.
func (b Bucket) Divide(r Range, zone *time.Location) []Range {
	var list []Range
	for at := b.floor(r.From.In(zone)); at.Before(r.To); {
		end := b.after(at)
		if part := (Range{From: at, To: end}).Within(r); !part.Empty() {
			list = append(list, part)
		}
		at = end
	}
	return list
}

// Aligned reports whether both ends of a range lie on boundaries of the bucket
// in the zone.
func (b Bucket) Aligned(r Range, zone *time.Location) bool {
	return b.begins(r.From, zone) && b.begins(r.To, zone)
}

func (b Bucket) begins(at time.Time, zone *time.Location) bool { return b.floor(at.In(zone)).Equal(at) }

// Inner returns the largest part of a range whose ends lie on boundaries of the
// bucket in the zone. It may be empty.
func (b Bucket) Inner(r Range, zone *time.Location) Range {
	inner := r
	if !b.begins(r.From, zone) {
		inner.From = b.after(b.floor(r.From.In(zone)))
	}
	inner.To = b.floor(r.To.In(zone))
	return inner
}

// AutoBucket returns the bucket for a chart of a range: raw up to 2 days, hours
// up to 62 days, days up to 3 years, and months above.
func AutoBucket(r Range) Bucket {
	const day = 24 * time.Hour
	switch length := r.To.Sub(r.From); {
	case length <= 2*day:
		return Raw
	case length <= 62*day:
		return Hour
	case length <= 3*366*day:
		return Day
	}
	return Month
}

// Count returns about how many buckets a range has, without making them.
func (b Bucket) Count(r Range) int {
	length := time.Duration(b.minutes) * time.Minute
	switch b.name {
	case Day.name:
		length = 24 * time.Hour
	case Week.name:
		length = 7 * 24 * time.Hour
	case Month.name:
		length = 30 * 24 * time.Hour
	}
	return int((r.To.Sub(r.From) + length - 1) / length)
}
