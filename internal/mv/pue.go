package mv

import (
	"fmt"
	"math"
)

// PUE is the power usage effectiveness of both periods by ISO/IEC 30134-2: the
// ratio of the sums of facility and IT over the same rows. Its difference is
// not a saving, and this type says what moved it.
type PUE struct {
	Edition          string  `json:"edition"`
	Baseline         float64 `json:"baseline"`
	Reporting        float64 `json:"reporting"`
	Interim          bool    `json:"interim"`            // under twelve months
	ByLoad           float64 `json:"change_by_it_load"`  // what the unchanged facility would have done at the new IT load
	ByFacility       float64 `json:"change_by_facility"` // the rest
	NaiveSaving      float64 `json:"naive_saving"`       // (baseline - reporting) * IT of the reporting period: not a saving
	ITBaseline       float64 `json:"it_mean_baseline"`
	ITReporting      float64 `json:"it_mean_reporting"`
	ExplainedByModel bool    `json:"explained_by_model"` // false where the model does not hold IT, so that ByLoad is not computed
}

// ratio sums facility and IT over the rows that have both.
func (t *Table) ratio() (facility, it float64, rows int) {
	c := t.driver("IT")
	var fs, is []float64
	for i := range t.Start {
		f, v := t.loadAt(i, Facility), t.perHour(i, c.Values[i], c.Unit)
		if math.IsNaN(f) || math.IsNaN(v) {
			continue
		}
		w := 1.0
		if t.meanPower() {
			w = t.Hours[i]
		}
		fs, is = append(fs, f*w), append(is, v*w)
	}
	return sumOf(fs), sumOf(is), len(fs)
}

// pue computes both ratios and splits their difference with the model. It is
// nil without an IT column or without IT energy.
func pue(base, rep *Table, f *Fitted, s *Savings) (*PUE, []Finding) {
	if base.driver("IT") == nil {
		return nil, nil
	}
	bf, bi, bn := base.ratio()
	rf, ri, rn := rep.ratio()
	if bi <= 0 || ri <= 0 || bn == 0 || rn == 0 {
		return nil, nil
	}
	p := &PUE{
		Edition: "ISO/IEC 30134-2:2016, ratio of sums", Baseline: bf / bi, Reporting: rf / ri,
		ITBaseline: bi / float64(bn), ITReporting: ri / float64(rn),
	}
	p.NaiveSaving = (p.Baseline - p.Reporting) * ri
	span := rep.Interval.end(rep.Start[rep.Len()-1]).Sub(rep.Start[0])
	p.Interim = span.Hours()/24 < 364.5
	if f == nil || s == nil || f.shape.withoutIT() {
		return p, nil
	}
	// The model's facility at the IT of the reporting period.
	predicted := s.Predicted
	if f.Target == Overhead {
		predicted += ri
	}
	if s.RowsUsed == rn {
		p.ExplainedByModel = true
		p.ByLoad = predicted/ri - p.Baseline
		p.ByFacility = p.Reporting - predicted/ri
	}
	level, _ := s.Headline().At(0.90)
	if p.NaiveSaving < level.Low || p.NaiveSaving > level.High {
		return p, []Finding{found("MV311", 1, fmt.Sprintf(
			"The change of PUE from %.4f to %.4f suggests %.6g %s; the model finds %.6g %s.", p.Baseline, p.Reporting, p.NaiveSaving, s.Unit, s.Avoided, s.Unit))}
	}
	return p, nil
}
