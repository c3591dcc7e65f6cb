package mv

import (
	"math"
	"sort"
)

// Outlook says what a pilot can show: from the scatter, the autocorrelation and
// the mean load of its baseline it derives how long it must report. It assumes
// that the reporting period resembles the baseline.
type Outlook struct {
	Fraction            *float64     `json:"assumed_fraction,omitempty"`   // saving as a share of the load
	DaysGuideline14     *int         `json:"days_fsu_50_at_68,omitempty"`  // until FSU is at most 50 % at 68 % (Guideline 14); absent if never
	DaysZeroExcluded    *int         `json:"days_zero_excluded,omitempty"` // until the 90 % interval of the assumed saving leaves out zero
	MinimumDetectable   []Detectable `json:"minimum_detectable"`
	MinimumEver         float64      `json:"minimum_ever"` // the fraction below which this baseline never suffices
	LongestDaysSearched int          `json:"longest_days_searched"`
}

// Detectable is the smallest saving whose 90 % interval leaves out zero after
// so many days of reporting.
type Detectable struct {
	Days     int     `json:"days"`
	Fraction float64 `json:"fraction"`
}

// longestReporting is ten years; a pilot that needs more is no pilot.
const longestReporting = 3650

// Outlook plans the reporting period for an assumed saving, a fraction of the
// load; nil asks for the detectable savings only. ok is false where the mean
// load is not positive.
func (f *Fitted) Outlook(fraction *float64) (*Outlook, bool) {
	if f.MeanLoad <= 0 || f.NPrime <= float64(f.P) {
		return nil, false
	}
	o := &Outlook{Fraction: fraction, LongestDaysSearched: longestReporting, MinimumEver: f.detectable(math.Inf(1), 0.90)}
	for _, days := range []int{7, 30, 90, 180, 365, 730} {
		if m := f.rowsIn(days); m >= 1 {
			o.MinimumDetectable = append(o.MinimumDetectable, Detectable{days, f.detectable(m, 0.90)})
		}
	}
	if fraction == nil || *fraction <= 0 {
		return o, true
	}
	o.DaysGuideline14 = f.days(func(m float64) bool {
		half := tQuantile(0.68, float64(f.DOF)) * 1.26 * f.ResidualSD * math.Sqrt(float64(f.N)/f.NPrime*(1+2/f.NPrime)/m)
		return half <= 0.5**fraction*f.MeanLoad
	})
	o.DaysZeroExcluded = f.days(func(m float64) bool { return f.detectable(m, 0.90) <= *fraction })
	return o, true
}

// rowsIn is the number of rows of so many days.
func (f *Fitted) rowsIn(days int) float64 {
	switch step := f.base.interval.step(); {
	case step > 0:
		return float64(days) * 24 / step.Hours()
	case f.base.interval == Month:
		return math.Floor(float64(days) * 12 / 365)
	}
	return float64(days)
}

// detectable is the fraction whose interval just leaves out zero after m rows:
// the noise of m rows and the error of a baseline mean, both under AR(1).
func (f *Fitted) detectable(m, confidence float64) float64 {
	inflation := float64(f.N) / f.NPrime
	per := f.ResidualSD * f.ResidualSD * inflation * (1/m + 1/float64(f.N))
	return tQuantile(confidence, f.NPrime-float64(f.P)) * math.Sqrt(per) / f.MeanLoad
}

// days is the smallest number of days for which enough holds, which stays true
// once it is; nil if it never is.
func (f *Fitted) days(enough func(m float64) bool) *int {
	n := 1 + sort.Search(longestReporting, func(i int) bool { m := f.rowsIn(i + 1); return m >= 1 && enough(m) })
	if n > longestReporting {
		return nil
	}
	return &n
}
