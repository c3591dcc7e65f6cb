package report

import (
	"strings"

	"github.com/leomutto/pilot-in-a-box/internal/mv"
)

// modelSection shows the fitted model, its statistics, plots and tests.
func (s *sheet) modelSection() {
	s.heading(s.say("section.model"))
	m := s.r.Model
	if m == nil {
		s.paragraph(s.say("model.none"))
		return
	}
	s.facts([][2]string{
		{s.say("plan.model"), m.Model}, {s.say("plan.target"), s.known("target", string(m.Target))},
		{s.say("model.unit"), m.Unit}, {s.say("model.equation"), m.Equation},
	})
	s.coefficients(m)
	s.statistics(m)
	s.subheading(s.say("model.plots"))
	if len(s.r.Rows()) == 0 {
		s.paragraph(s.say("model.no_rows"))
	}
	s.picture(s.plots.load)
	s.picture(s.plots.residuals)
	s.picture(s.plots.months)
	for _, p := range s.plots.drivers {
		s.picture(p)
	}
	s.residualTests()
	s.boundaries()
}

func (s *sheet) coefficients(m *mv.Fitted) {
	var rows [][]string
	for _, c := range m.Coefficients {
		rows = append(rows, []string{c.Name, s.number(c.Value, 6), s.number(c.StdError, 4), s.maybe(c.T, func(v float64) string { return s.number(v, 4) }), c.Unit})
	}
	if len(rows) > 0 {
		s.subheading(s.say("model.coefficients"))
		s.table([]column{
			{title: s.say("term"), share: 4}, {title: s.say("value"), share: 3, right: true}, {title: s.say("std_error"), share: 3, right: true},
			{title: "t", share: 2, right: true}, {title: s.say("unit"), share: 2.5},
		}, rows)
		s.small(s.say("model.coefficients.note"))
	}
	rows = nil
	for _, c := range m.ChangePoints {
		rows = append(rows, []string{s.number(c.Value, 5) + " " + s.known("unit", c.Unit), s.say("from_to", s.number(c.Low, 5), s.number(c.High, 5)) + " " + s.known("unit", c.Unit)})
	}
	if len(rows) > 0 {
		s.subheading(s.say("model.change_points"))
		s.table([]column{{title: s.say("value"), share: 1}, {title: s.say("interval90"), share: 2}}, rows)
		s.small(s.say("model.change_points.note"))
	}
}

// statistics shows each figure of the fit with its definition.
func (s *sheet) statistics(m *mv.Fitted) {
	percent := func(v float64) string { return s.percent(v, 4) }
	plain := func(v float64) string { return s.number(v, 5) }
	rows := [][]string{}
	add := func(key, value string) { rows = append(rows, []string{s.say(key), value, s.say(key + ".is")}) }
	add("stat.n", s.whole(m.N))
	add("stat.p", s.whole(m.P))
	add("stat.dof", s.whole(m.DOF))
	add("stat.sse", s.number(m.SSE, 6))
	add("stat.sd", s.number(m.ResidualSD, 5)+" "+m.Unit)
	add("stat.mean", s.number(m.MeanLoad, 6)+" "+m.Unit)
	add("stat.r2", s.maybe(m.R2, plain))
	add("stat.adjusted_r2", s.maybe(m.AdjustedR2, plain))
	add("stat.cv", s.maybe(m.CVRMSE, percent))
	add("stat.cv_n", s.maybe(m.CVRMSEn, percent))
	add("stat.nmbe", s.maybe(m.NMBE, func(v float64) string { return s.fixed(100*v, 4) + "\u00a0%" }))
	add("stat.rho", s.fixed(m.Rho.Pearson, 4))
	add("stat.acf", s.fixed(m.Rho.ACF, 4))
	add("stat.n_prime", s.number(m.NPrime, 4))
	add("stat.dw", s.fixed(m.DurbinWatson, 3))
	s.subheading(s.say("model.statistics"))
	s.table([]column{{title: s.say("statistic"), share: 3}, {title: s.say("value"), share: 2.6, right: true}, {title: s.say("definition"), share: 8}}, rows)
}

// residualTests shows the tests that come before any interval, with all groups.
func (s *sheet) residualTests() {
	if len(s.r.ResidualTests) == 0 {
		return
	}
	s.subheading(s.say("tests"))
	s.intro(s.say("tests.text"))
	var rows [][]string
	for _, t := range s.r.ResidualTests {
		rows = append(rows, []string{s.known("by", t.By), s.number(t.ChiSquare, 4), s.whole(t.DOF), s.number(t.PValue, 2), s.percent(t.Effect, 3), s.either(t.Passed, "passed", "failed")})
	}
	s.table([]column{
		{title: s.say("tests.by"), share: 3}, {title: s.say("tests.chi"), share: 2.4, right: true}, {title: s.say("dof"), share: 2.4, right: true},
		{title: s.say("tests.p"), share: 2, right: true}, {title: s.say("tests.effect"), share: 3, right: true}, {title: s.say("tests.verdict"), share: 2.4},
	}, rows)
	for _, t := range s.r.ResidualTests {
		var means []float64
		for _, g := range t.Groups {
			means = append(means, g.Mean)
		}
		residuals := s.column(4, means)
		var groups [][]string
		for i, g := range t.Groups {
			name := g.Group
			if t.By == "month" {
				name = s.known("month", g.Group)
			} else if bound, ok := strings.CutPrefix(name, "up to "); ok {
				name = s.say("tests.up_to", s.separated(bound))
			}
			groups = append(groups, []string{name, s.whole(g.Rows), residuals[i], s.fixed(g.Z, 2)})
		}
		if len(groups) == 0 {
			continue
		}
		s.subheading(s.say("tests.groups", s.known("by", t.By), s.r.Model.Unit))
		s.table([]column{{title: s.say("tests.group"), share: 4}, {title: s.say("rows"), share: 2, right: true}, {title: s.say("tests.mean"), share: 3, right: true}, {title: "z", share: 2, right: true}}, groups)
	}
}

// boundaries shows that thresholds can be passed by moving the boundary.
func (s *sheet) boundaries() {
	b := s.r.Boundaries
	if b == nil {
		return
	}
	percent := func(v float64) string { return s.percent(v, 4) }
	plain := func(v float64) string { return s.number(v, 4) }
	s.subheading(s.say("boundaries"))
	s.intro(s.say("boundaries.text"))
	s.table([]column{{title: s.say("plan.target"), share: 3}, {title: "CV(RMSE)", share: 2, right: true}, {title: "R²", share: 2, right: true}, {title: s.say("stat.sd"), share: 3, right: true}}, [][]string{
		{s.known("target", "facility"), s.maybe(b.CVRMSEFacility, percent), s.maybe(b.R2Facility, plain), s.number(b.ResidualSDFacility, 5)},
		{s.known("target", "overhead"), s.maybe(b.CVRMSEOverhead, percent), s.maybe(b.R2Overhead, plain), s.number(b.ResidualSDOverhead, 5)},
	})
	s.paragraph(s.either(b.SameResiduals, "boundaries.same", "boundaries.different"))
}

// candidatesSection lists every model and why it was chosen or not.
func (s *sheet) candidatesSection() {
	s.heading(s.say("section.candidates"))
	if len(s.r.Candidates) == 0 {
		s.paragraph(s.say("not_computed"))
		return
	}
	s.intro(s.say("candidates.text"))
	percent := func(v float64) string { return s.percent(v, 3) }
	var rows [][]string
	for _, c := range s.r.Candidates {
		name := c.Model
		if c.Chosen {
			name += " ✓"
		}
		p, hits := "", ""
		if c.P > 0 {
			p = s.whole(c.P)
		}
		if c.Blocks > 0 {
			hits = s.say("of", s.whole(c.Hits), s.whole(c.Blocks))
		}
		saving := ""
		if c.Avoided != nil && c.HalfWidth != nil {
			saving = s.number(*c.Avoided, 4) + " ± " + s.number(*c.HalfWidth, 3)
		}
		rows = append(rows, []string{name, p, s.maybe(c.CVRMSE, percent), s.maybe(c.OutCVRMSE, percent), hits, saving, s.reason(c)})
	}
	s.table([]column{
		{title: s.say("plan.model"), share: 2}, {title: "p", share: 0.8, right: true}, {title: "CV(RMSE)", share: 1.7, right: true}, {title: s.say("candidates.out"), share: 1.8, right: true},
		{title: s.say("candidates.hits"), share: 1.6, right: true}, {title: s.say("avoided"), share: 3, right: true}, {title: s.say("candidates.reason"), share: 5.6},
	}, rows)
	if s.language != "en" {
		s.small(s.say("quoted"))
	}
}

// reason is why a candidate was chosen or not; the words of the result where
// the language has none of its own.
func (s *sheet) reason(c mv.Candidate) string {
	if c.Chosen {
		return s.either(s.r.Plan.Model == mv.Auto, "candidates.chosen", "candidates.named")
	}
	return c.Reason
}
