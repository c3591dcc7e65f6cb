package mv

import (
	"time"
)

// localLayouts are the stamps without an offset; the last two name a whole day
// or month.
var localLayouts = []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02", "2006-01"}

// stamp reads a time stamp. A local time that occurs twice is the second one
// if the first is the stamp of the row before.
func (r *csvReader) stamp(text string, before []csvRow) (time.Time, string) {
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02 15:04Z07:00"} {
		if t, err := time.Parse(layout, text); err == nil {
			r.dateOnly = false
			if !plausibleYear(t) {
				return t, "MV102"
			}
			if r.layout.Location == nil {
				// An offset is no zone: the hour of the week needs the site's clock.
				return t, "MV103"
			}
			return t.In(r.layout.Location), ""
		}
	}
	for i, layout := range localLayouts {
		t, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		if !plausibleYear(t) {
			return t, "MV102"
		}
		r.dateOnly = r.dateOnly && i >= 4
		location := r.layout.Location
		if location == nil {
			if i < 4 {
				return t, "MV103"
			}
			location = time.UTC
		}
		local := time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, location)
		if i < 4 && (local.Hour() != t.Hour() || local.Minute() != t.Minute()) {
			return t, "MV111"
		}
		return r.later(local, before), ""
	}
	return time.Time{}, "MV102"
}

func plausibleYear(t time.Time) bool { return t.Year() >= 1900 && t.Year() <= 2200 }

// later gives the second occurrence of a local time that occurs twice, if the
// first one has been read already.
func (r *csvReader) later(t time.Time, before []csvRow) time.Time {
	if len(before) == 0 || before[len(before)-1].stamp.Before(t) {
		return t
	}
	for _, shift := range []time.Duration{30 * time.Minute, time.Hour} {
		second := t.Add(shift)
		if second.Hour() == t.Hour() && second.Minute() == t.Minute() && second.After(before[len(before)-1].stamp) {
			r.doubled++
			return second
		}
	}
	return t
}
