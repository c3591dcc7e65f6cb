package kpi_test

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := kpi.LoadZone(name)
	require.NoError(t, err)
	return loc
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return when
}

func TestTimesOfARange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, zone, want string }{
		{"now", "UTC", "2026-05-15T10:20:30Z"},
		{"now-90m", "UTC", "2026-05-15T08:50:30Z"},
		{"now-7d", "UTC", "2026-05-08T10:20:30Z"},
		{"now+1d", "UTC", "2026-05-16T10:20:30Z"},
		{"now-2w-12h", "UTC", "2026-04-30T22:20:30Z"},
		{"now-7d", "Europe/Madrid", "2026-05-08T10:20:30Z"},
		{"now-60d", "Europe/Madrid", "2026-03-16T11:20:30Z"}, // the same local time, before the clocks went forward
		{"now-1mo/mo", "Europe/Madrid", "2026-03-31T22:00:00Z"},
		{"now/mo", "Europe/Madrid", "2026-04-30T22:00:00Z"},
		{"now/d", "Asia/Kolkata", "2026-05-14T18:30:00Z"},
		{"now/h", "Asia/Kolkata", "2026-05-15T09:30:00Z"},
		{"now/w", "UTC", "2026-05-11T00:00:00Z"}, // a Monday
		{"now/y", "UTC", "2026-01-01T00:00:00Z"},
		{"now-1y/y", "UTC", "2025-01-01T00:00:00Z"},
		{"now/m", "UTC", "2026-05-15T10:20:00Z"},
		{"2026-03-01", "Europe/Madrid", "2026-02-28T23:00:00Z"},
		{"2026-03-01T14:00", "Europe/Madrid", "2026-03-01T13:00:00Z"},
		{"2026-03-01T14:00:05", "America/New_York", "2026-03-01T19:00:05Z"},
		{"2026-03-01T14:00:00Z", "Europe/Madrid", "2026-03-01T14:00:00Z"},
		{"2026-10-25T02:30:00+01:00", "Europe/Madrid", "2026-10-25T01:30:00Z"},
		{"2026-09-06", "America/Santiago", "2026-09-06T04:00:00Z"}, // begins at 01:00: the clocks skip midnight
	} {
		got, err := kpi.ParseTime(c.text, at(t, "2026-05-15T10:20:30Z"), zone(t, c.zone))
		if assert.NoError(t, err, c.text) {
			assert.Equal(t, c.want, got.Format(time.RFC3339), "%s in %s", c.text, c.zone)
		}
	}
}

func TestTimesThatAreRefused(t *testing.T) {
	t.Parallel()
	for text, reason := range map[string]string{
		"":                                "must be now",
		"yesterday":                       "must be now",
		"now-":                            "must be now",
		"now-d":                           "must be now",
		"now-7":                           "must be now",
		"now-7x":                          "must be now",
		"now/q":                           "must be now",
		"now/d/d":                         "must be now",
		"now-99999999999999999999d":       "must be now",
		"2026-02-30":                      "must be now",
		"2026-3-1":                        "must be now",
		"2026-03-01 14:00":                "must be now",
		"2026-03-01T25:00":                "must be now",
		"2026-03-01T14:00:00+24:00":       "must be now",
		"2026-03-01T14:00:00,5Z":          "must be now",
		"1969-12-31":                      "1970 to 9998",
		"9999-01-02":                      "1970 to 9998",
		"2026-03-29T02:30":                "skipped",
		"2026-10-25T02:30":                "2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00",
		strings.Repeat("1", 1_000):        "must be now",
		"now-99999y/d":                    "1970 to 9998",
		"now+99999mo/y":                   "1970 to 9998",
		"now" + strings.Repeat("-1d", 99): "must be now",
	} {
		_, err := kpi.ParseTime(text, at(t, "2026-05-15T10:20:30Z"), zone(t, "Europe/Madrid"))
		assert.ErrorContains(t, err, reason, text)
	}
}

// Years after 2037 follow the rule of the zone, for which time.Time.ZoneBounds
// ends a leap year a day early. Looking for the start of a day must still end.
func TestLeapYearsAfterTheTableOfClockChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, zone, want string }{
		{"2088-12-31", "Europe/Madrid", "2088-12-30T23:00:00Z"},
		{"2089-01-01", "Europe/Madrid", "2088-12-31T23:00:00Z"},
		{"2088-12-31T12:00", "Europe/Madrid", "2088-12-31T11:00:00Z"},
		{"2088-12-31", "America/New_York", "2088-12-31T05:00:00Z"},
		{"2044-12-31", "Australia/Lord_Howe", "2044-12-30T13:00:00Z"},
	} {
		got, err := kpi.ParseTime(c.text, at(t, "2026-05-15T10:20:30Z"), zone(t, c.zone))
		if assert.NoError(t, err, c.text) {
			assert.Equal(t, c.want, got.Format(time.RFC3339), "%s in %s", c.text, c.zone)
		}
	}
	loc := zone(t, "America/St_Johns") // three and a half hours behind
	hour := kpi.Hour.Containing(at(t, "2088-01-01T00:10:00Z"), loc)
	assert.Equal(t, "2087-12-31T20:00:00-03:30", hour.From.In(loc).Format(time.RFC3339))
	assert.Equal(t, time.Hour, hour.To.Sub(hour.From))
	assert.Len(t, kpi.Day.Divide(kpi.Range{From: at(t, "2088-12-25T00:00:00Z"), To: at(t, "2089-01-05T00:00:00Z")}, loc), 12)
}

func TestTheLastDayOfAShortMonth(t *testing.T) {
	t.Parallel()
	got, err := kpi.ParseTime("now-1mo", at(t, "2026-03-31T12:00:00Z"), time.UTC)
	require.NoError(t, err)
	assert.Equal(t, "2026-02-28T12:00:00Z", got.Format(time.RFC3339))
}

func TestRanges(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-05-15T10:20:30Z")
	_, err := kpi.ParseRange("now-5y", "now", now, time.UTC)
	require.NoError(t, err, "the longest range")
	for _, c := range []struct{ from, to, end, reason string }{
		{"now", "now", "from", "before to"},
		{"now", "now-1h", "from", "before to"},
		{"2026-01-01", "2025-01-01", "from", "before to"},
		{"now-6y", "now", "to", "at most 5 years"},
		{"now-5y-1m", "now", "to", "at most 5 years"},
		{"x", "now", "from", "must be now"},
		{"now", "x", "to", "must be now"},
	} {
		_, err := kpi.ParseRange(c.from, c.to, now, time.UTC)
		var fault *kpi.RangeError
		require.ErrorAs(t, err, &fault, c.from)
		assert.Equal(t, c.end, fault.End, "%s to %s", c.from, c.to)
		assert.Contains(t, fault.Reason, c.reason)
	}
}

func TestZones(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Local", "local", "", "Mars/Olympus", "../etc/passwd", strings.Repeat("a", 100)} {
		_, err := kpi.LoadZone(name)
		assert.Error(t, err, name)
	}
}

func TestDaysAndHoursOfClockChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		zone, day string
		hours     int
		length    time.Duration
	}{
		{"Europe/Madrid", "2026-03-29", 23, 23 * time.Hour},
		{"Europe/Madrid", "2026-10-25", 25, 25 * time.Hour},
		{"Europe/Madrid", "2026-10-26", 24, 24 * time.Hour},
		{"America/New_York", "2026-03-08", 23, 23 * time.Hour},
		{"Asia/Kolkata", "2026-03-29", 24, 24 * time.Hour},
		{"Australia/Lord_Howe", "2026-10-04", 24, 23*time.Hour + 30*time.Minute}, // its summer time is half an hour
		{"Australia/Lord_Howe", "2026-04-05", 25, 24*time.Hour + 30*time.Minute},
		{"America/Santiago", "2026-09-06", 23, 23 * time.Hour}, // the clocks skip midnight
	} {
		loc := zone(t, c.zone)
		start, err := kpi.ParseTime(c.day, time.Now(), loc)
		require.NoError(t, err)
		day := kpi.Day.Containing(start, loc)
		assert.Equal(t, start, day.From.UTC())
		assert.Equal(t, c.length, day.To.Sub(day.From), "%s %s", c.zone, c.day)
		hours := kpi.Hour.Divide(day, loc)
		assert.Len(t, hours, c.hours, "%s %s", c.zone, c.day)
		for _, h := range hours[1:] {
			minute := h.From.In(loc).Minute()
			assert.True(t, minute == 0 || c.zone == "Australia/Lord_Howe" && minute == 30, h.From.In(loc))
		}
	}
}

func TestHoursOfHalfHourZonesBeginOnTheirClock(t *testing.T) {
	t.Parallel()
	loc := zone(t, "Asia/Kolkata")
	hour := kpi.Hour.Containing(at(t, "2026-03-29T10:40:00Z"), loc)
	assert.Equal(t, "2026-03-29T16:00:00+05:30", hour.From.In(loc).Format(time.RFC3339))
}

// The two hours of 2 o'clock in the night when the clocks go back are two
// buckets.
func TestTheRepeatedHourIsTwoHours(t *testing.T) {
	t.Parallel()
	loc := zone(t, "Europe/Madrid")
	first, second := kpi.Hour.Containing(at(t, "2026-10-25T00:30:00Z"), loc), kpi.Hour.Containing(at(t, "2026-10-25T01:30:00Z"), loc)
	assert.Equal(t, "2026-10-25T02:00:00+02:00", first.From.In(loc).Format(time.RFC3339))
	assert.Equal(t, "2026-10-25T02:00:00+01:00", second.From.In(loc).Format(time.RFC3339))
	assert.Equal(t, first.To, second.From)
}

func TestWeeksAndMonths(t *testing.T) {
	t.Parallel()
	loc := zone(t, "Europe/Madrid")
	r := kpi.Range{From: at(t, "2026-03-11T12:00:00Z"), To: at(t, "2026-05-03T12:00:00Z")}
	months := kpi.Month.Divide(r, loc)
	require.Len(t, months, 3)
	assert.Equal(t, r.From, months[0].From, "the first bucket is cut to the range")
	assert.Equal(t, r.To, months[2].To, "the last bucket is cut to the range")
	assert.Equal(t, "2026-04-01T00:00:00+02:00", months[1].From.In(loc).Format(time.RFC3339))
	week := kpi.Week.Containing(r.From, loc)
	assert.Equal(t, time.Monday, week.From.In(loc).Weekday())
	assert.Equal(t, "2026-03-09T00:00:00+01:00", week.From.In(loc).Format(time.RFC3339))
}

func TestInner(t *testing.T) {
	t.Parallel()
	loc := zone(t, "Asia/Kolkata")
	inner := kpi.Hour.Inner(kpi.Range{From: at(t, "2026-03-01T10:20:00Z"), To: at(t, "2026-03-01T16:50:00Z")}, loc)
	assert.Equal(t, at(t, "2026-03-01T10:30:00Z"), inner.From.UTC())
	assert.Equal(t, at(t, "2026-03-01T16:30:00Z"), inner.To.UTC())
	assert.True(t, kpi.Hour.Aligned(inner, loc))
	assert.False(t, kpi.Hour.Aligned(inner, time.UTC))
	assert.True(t, kpi.Day.Inner(inner, loc).Empty())
}

// Whatever text arrives, a time is refused or lies in the years that PostgreSQL
// and RFC 3339 share, and RFC 3339 gives it back.
func FuzzTimes(f *testing.F) {
	for _, text := range []string{"now-7d", "now-1mo/mo", "now/w", "2026-03-01", "2026-03-29T02:30", "2026-03-01T14:00:00.5+05:30", "now+1y-3d/h", "2011-12-30"} {
		for i := range 4 {
			f.Add(text, uint8(i), int64(1_790_000_000))
		}
	}
	names := []string{"UTC", "Europe/Madrid", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "America/Santiago", "Africa/Casablanca"}
	f.Fuzz(func(t *testing.T, text string, which uint8, now int64) {
		loc := zone(t, names[int(which)%len(names)])
		present := time.Unix(now%4_000_000_000, 0)
		got, err := kpi.ParseTime(text, present, loc)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		require.GreaterOrEqual(t, got.Unix(), int64(0))
		require.LessOrEqual(t, got.Year(), 9998)
		again, err := kpi.ParseTime(got.Format(time.RFC3339Nano), present, time.UTC)
		require.NoError(t, err)
		require.True(t, got.Equal(again), "%s and %s", got, again)
	})
}

// The buckets of any range follow one another without a gap, cover the range
// exactly, and each lies in one bucket of the clock.
func FuzzBuckets(f *testing.F) {
	f.Add(int64(1_774_740_000), int64(200_000), uint8(1), uint8(2))
	f.Add(int64(1_325_236_000), int64(400_000), uint8(4), uint8(3)) // the date that Samoa skipped
	f.Add(int64(1_790_000_000), int64(30_000_000), uint8(5), uint8(4))
	f.Add(int64(3_755_000_000), int64(900_000), uint8(1), uint8(2)) // the end of 2088
	names := []string{"UTC", "Europe/Madrid", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "America/Santiago", "Africa/Casablanca"}
	f.Fuzz(func(t *testing.T, from, length int64, where, which uint8) {
		if from < 0 || from > 4_000_000_000 || length <= 0 || length > 40_000_000 {
			t.Skip()
		}
		loc := zone(t, names[int(where)%len(names)])
		b := kpi.Buckets()[1+int(which)%(len(kpi.Buckets())-1)]
		r := kpi.Range{From: time.Unix(from, 0), To: time.Unix(from+length, 0)}
		edge := r.From
		for _, part := range b.Divide(r, loc) {
			require.True(t, part.From.Equal(edge), "gap at %s", edge)
			require.False(t, part.Empty())
			whole := b.Containing(part.From, loc)
			require.False(t, part.From.Before(whole.From))
			require.False(t, part.To.After(whole.To))
			require.Equal(t, whole, b.Containing(part.To.Add(-1), loc))
			edge = part.To
		}
		require.True(t, edge.Equal(r.To))
	})
}
