package report

import (
	"strings"

	"github.com/leomutto/pilot-in-a-box/internal/mv"
)

// planSection shows the plan as it was frozen, and what differs from it.
func (s *sheet) planSection() {
	p := &s.r.Plan
	s.heading(s.say("section.plan"))
	model := p.Model
	if p.Model == mv.Auto {
		model = s.say("plan.auto")
	}
	s.facts([][2]string{
		{s.say("plan.title"), orWord(p.Title, s.say("not_stated"))},
		{s.say("measure"), orWord(p.Measure, s.say("not_stated"))},
		{s.say("boundary"), orWord(p.Boundary, s.say("not_stated"))},
		{s.say("option"), orWord(p.Option, s.say("not_stated"))},
		{s.say("baseline"), s.period(p.Baseline)},
		{s.say("reporting"), s.period(p.Reporting)},
		{s.say("plan.basis"), s.say("plan.basis.avoided")},
		{s.say("plan.target"), orWord(s.known("target", string(p.Target)), s.say("not_stated"))},
		{s.say("plan.model"), model},
		{s.say("plan.confidence"), s.percent(p.Confidence, 2)},
		{s.say("plan.expected"), s.maybe(p.ExpectedFraction, func(v float64) string { return s.percent(v, 3) })},
		{s.say("plan.without_it"), orWord(p.WithoutITReason, s.say("none"))},
		{s.say("plan.seed"), s.whole(int(p.Seed % (1 << 53)))},
		{s.say("plan.schema"), p.Schema},
		{s.say("hash.plan"), s.r.PlanSHA256},
		{s.say("plan.frozen_baseline"), orWord(p.BaselineSHA256, s.say("plan.not_frozen"))},
	})
	s.subheading(s.say("plan.deviations"))
	switch {
	case p.BaselineSHA256 == "":
		s.paragraph(s.say("plan.deviations.unknown"))
	case p.BaselineSHA256 != s.r.BaselineSHA256:
		s.paragraph(s.say("plan.deviations.baseline", p.BaselineSHA256, s.r.BaselineSHA256))
	default:
		s.paragraph(s.say("plan.deviations.none"))
	}
}

// boundarySection shows where the data comes from.
func (s *sheet) boundarySection() {
	l := &s.r.Plan.Layout
	s.heading(s.say("section.boundary"))
	var rows [][]string
	add := func(quantity, name, unit string) {
		if name != "" {
			rows = append(rows, []string{s.say(quantity), name, orWord(unit, s.say("not_stated"))})
		}
	}
	add("data.load", l.Load, l.LoadUnit)
	add("data.it", l.IT, orWord(l.ITUnit, l.LoadUnit))
	add("data.temperature", l.Temperature, s.known("unit", l.TempUnit))
	add("data.wet_bulb", l.WetBulb, s.known("unit", l.TempUnit))
	add("data.humidity", l.Humidity, "%")
	for _, d := range l.Drivers {
		add("data.driver", d, "")
	}
	add("data.hours", l.Hours, "h")
	s.table([]column{{title: s.say("quantity"), share: 4}, {title: s.say("column"), share: 4}, {title: s.say("unit"), share: 2}}, rows)
	s.facts([][2]string{
		{s.say("data.interval"), orWord(s.known("interval", string(s.r.Interval)), s.say("not_defined"))},
		{s.say("data.zone"), orWord(l.Zone, s.say("data.no_zone"))},
		{s.say("data.stamp"), s.known("stamp", orWord(l.Stamp, "date"))},
		{s.say("data.daily"), s.either(s.r.Plan.Daily, "yes", "no")},
		{s.say("data.zero_missing"), s.either(l.ZeroMissing, "yes", "no")},
		{s.say("data.meters"), s.say("not_in_plan")},
	})
}

// periodsSection compares both periods.
func (s *sheet) periodsSection() {
	s.heading(s.say("section.periods"))
	row := func(name string, c *mv.Coverage) []string {
		missing := max(c.Expected-c.Rows, 0)
		share := s.say("not_defined")
		if c.Expected > 0 {
			share = s.percent(float64(c.Rows)/float64(c.Expected), 4)
		}
		return []string{name, moment(c.From), moment(c.To), s.whole(c.Expected), s.whole(c.Rows), s.whole(missing), share}
	}
	if s.r.Baseline.Expected == 0 {
		s.paragraph(s.say("periods.none"))
		return
	}
	rows := [][]string{row(s.say("baseline"), &s.r.Baseline)}
	if s.r.Reporting != nil {
		rows = append(rows, row(s.say("reporting"), s.r.Reporting))
	}
	s.table([]column{
		{title: s.say("period"), share: 3}, {title: s.say("from"), share: 2.6}, {title: s.say("to"), share: 2.6},
		{title: s.say("expected"), share: 2, right: true}, {title: s.say("present"), share: 2, right: true},
		{title: s.say("missing"), share: 2, right: true}, {title: s.say("coverage"), share: 2, right: true},
	}, rows)
	if v := s.r.Savings; v != nil && s.r.Model != nil {
		s.facts([][2]string{
			{s.say("rows_used.baseline"), s.say("of", s.whole(s.r.Model.N), s.whole(s.r.Model.Supplied))},
			{s.say("rows_used.reporting"), s.say("of", s.whole(v.RowsUsed), s.whole(v.RowsSupplied))},
			{s.say("rows_unknown_slot"), s.whole(v.RowsUnknownSlot)},
			{s.say("rows_outside"), s.say("of", s.whole(v.RowsOutside), s.whole(v.RowsUsed))},
			{s.say("negative_predictions"), s.whole(v.NegativePredictions)},
		})
	}
	s.paragraph(s.say("missing_rule"))
	s.facts([][2]string{{s.say("static_factors"), s.say("not_in_plan")}})
}

// qualitySection lists every finding with its code.
func (s *sheet) qualitySection() {
	s.heading(s.say("section.quality"))
	if len(s.r.Findings) == 0 {
		s.paragraph(s.say("quality.none"))
		return
	}
	s.intro(s.say("quality.text"))
	var rows [][]string
	for _, f := range s.r.Findings {
		count := ""
		if f.Count > 0 {
			count = s.whole(f.Count)
		}
		rows = append(rows, []string{f.Code, s.known("severity", string(f.Severity)), strings.TrimSpace(s.meaning(f) + " " + f.Detail), count})
	}
	s.table([]column{
		{title: s.say("code"), share: 1.3}, {title: s.say("severity"), share: 1.8}, {title: s.say("finding"), share: 12}, {title: s.say("count"), share: 1.4, right: true},
	}, rows)
}

// energySection shows the energy and the saving, in sum and by month.
func (s *sheet) energySection() {
	s.heading(s.say("section.energy"))
	v := s.r.Savings
	if v == nil {
		s.paragraph(s.say("energy.none"))
		return
	}
	s.facts([][2]string{
		{s.say("energy.predicted"), s.energy(v.Predicted)},
		{s.say("energy.metered"), s.energy(v.Metered)},
		{s.say("energy.adjustments"), s.say("energy.no_adjustments")},
		{s.say("avoided"), s.energy(v.Avoided)},
		{s.say("share"), s.maybe(v.Fraction, func(f float64) string { return s.percent(f, 4) })},
	})
	s.paragraph(s.say("energy.text"))
	var figures [4][]float64
	for _, m := range v.ByMonth {
		for i, f := range []float64{m.Predicted, m.Metered, m.Avoided, m.HalfWidth} {
			figures[i] = append(figures[i], f)
		}
	}
	predicted, metered, avoided, half := s.column(6, figures[0]), s.column(6, figures[1]), s.column(5, figures[2]), s.column(4, figures[3])
	var rows [][]string
	for i, m := range v.ByMonth {
		rows = append(rows, []string{m.Month, predicted[i], metered[i], avoided[i], "± " + half[i], s.whole(m.Rows)})
	}
	s.subheading(s.say("energy.by_month", v.Unit))
	s.table([]column{
		{title: s.say("month"), share: 2}, {title: s.say("predicted"), share: 3, right: true}, {title: s.say("metered"), share: 3, right: true},
		{title: s.say("avoided"), share: 3, right: true}, {title: s.say("half_width90"), share: 3, right: true}, {title: s.say("rows"), share: 2, right: true},
	}, rows)
	s.small(s.say("energy.by_month.note"))
}

// uncertaintySection shows every formula at every confidence.
func (s *sheet) uncertaintySection() {
	s.heading(s.say("section.uncertainty"))
	v := s.r.Savings
	if v == nil {
		s.paragraph(s.say("not_computed"))
		return
	}
	s.intro(s.say("uncertainty.text"))
	var rows, fsu [][]string
	for _, u := range v.Uncertainty {
		name := u.Formula
		if u.Headline {
			name += " (" + s.say("headline") + ")"
		}
		row, shares := []string{name}, []string{name}
		for _, l := range u.Levels {
			row = append(row, "± "+s.number(l.HalfWidth, 4))
			shares = append(shares, s.maybe(l.FSU, func(f float64) string { return s.percent(f, 3) }))
		}
		rows, fsu = append(rows, row), append(fsu, shares)
	}
	columns := []column{{title: s.say("formula"), share: 4}}
	if len(v.Uncertainty) > 0 {
		for _, l := range v.Uncertainty[0].Levels {
			columns = append(columns, column{title: s.percent(l.Confidence, 2), share: 2, right: true})
		}
	}
	s.subheading(s.say("uncertainty.half", v.Unit))
	s.table(columns, rows)
	s.subheading(s.say("uncertainty.fsu"))
	s.table(columns, fsu)
	s.subheading(s.say("uncertainty.formulas"))
	var meanings [][]string
	for _, u := range v.Uncertainty {
		dof := s.say("uncertainty.quantiles")
		if u.DOF > 0 {
			dof = s.number(u.DOF, 4)
		}
		meanings = append(meanings, []string{u.Formula, s.known("formula", u.Formula), dof})
	}
	s.table([]column{{title: s.say("formula"), share: 3}, {title: s.say("definition"), share: 9}, {title: s.say("dof"), share: 2, right: true}}, meanings)
	if p := s.r.Spread; p != nil {
		s.subheading(s.say("uncertainty.spread"))
		s.paragraph(s.say("uncertainty.spread.text", s.whole(p.Close), s.energy(p.LowClose), s.energy(p.HighClose), s.whole(p.Models), s.energy(p.Low), s.energy(p.High)))
	}
	s.subheading(s.say("uncertainty.extrapolation"))
	s.paragraph(s.say("uncertainty.extrapolation.text", s.whole(v.RowsOutside), s.whole(v.RowsUsed)))
}

// placeboSection shows the stretches of the baseline that were left out.
func (s *sheet) placeboSection() {
	s.heading(s.say("section.placebo"))
	p := s.r.Placebo
	if p == nil {
		s.paragraph(s.say("not_computed"))
		return
	}
	s.paragraph(s.say("placebo.text"))
	s.strong(s.say("placebo.result", s.whole(p.Hits), s.whole(len(p.Blocks)), s.number(p.PValue, 2), s.either(p.Passed, "passed", "failed")))
	var avoided, half []float64
	for _, b := range p.Blocks {
		avoided, half = append(avoided, b.Avoided), append(half, b.HalfWidth)
	}
	left, right := s.column(4, avoided), s.column(4, half)
	var rows [][]string
	for i, b := range p.Blocks {
		rows = append(rows, []string{b.From, b.To, s.whole(b.Rows), left[i], "± " + right[i], s.either(b.Hit, "yes", "no")})
	}
	s.table([]column{
		{title: s.say("from"), share: 2}, {title: s.say("to"), share: 2}, {title: s.say("rows"), share: 1.4, right: true},
		{title: s.say("placebo.avoided"), share: 3, right: true}, {title: s.say("half_width90"), share: 3, right: true}, {title: s.say("placebo.hit"), share: 2.4},
	}, rows)
	s.facts([][2]string{
		{s.say("placebo.cv"), s.maybe(p.CVRMSE, func(v float64) string { return s.percent(v, 3) })},
		{s.say("placebo.bias"), s.maybe(p.Bias, func(v float64) string { return s.percent(v, 3) })},
	})
}
