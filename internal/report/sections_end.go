package report

import "fmt"

// adjustmentsSection shows the ledger and the proposed events.
func (s *sheet) adjustmentsSection() {
	s.heading(s.say("section.adjustments"))
	s.paragraph(s.say("adjustments.none"))
	s.subheading(s.say("events"))
	if len(s.r.Events) == 0 {
		s.paragraph(s.say("events.none"))
		return
	}
	s.intro(s.say("events.text"))
	var rows [][]string
	for _, e := range s.r.Events {
		note := ""
		if e.AtStart {
			note = s.say("events.at_start")
		}
		rows = append(rows, []string{moment(e.At), moment(e.Until), s.say(e.Period), s.number(e.Shift, 4) + " ± " + s.number(e.StdError, 2), s.fixed(e.Significance, 1), note})
	}
	s.table([]column{
		{title: s.say("from"), share: 2}, {title: s.say("to"), share: 2}, {title: s.say("period"), share: 2.4},
		{title: s.say("events.shift", s.r.Model.Unit), share: 3.4, right: true}, {title: "z", share: 1.2, right: true}, {title: s.say("note"), share: 4},
	}, rows)
}

// pueSection shows PUE and why its change is not a saving.
func (s *sheet) pueSection() {
	s.heading(s.say("section.pue"))
	p := s.r.PUE
	if p == nil {
		s.paragraph(s.say("pue.none"))
		return
	}
	s.intro(s.say("pue.text"))
	rows := [][2]string{
		{s.say("pue.edition"), p.Edition},
		{s.say("pue.baseline"), s.fixed(p.Baseline, 4)},
		{s.say("pue.reporting"), s.fixed(p.Reporting, 4)},
		{s.say("pue.interim"), s.either(p.Interim, "pue.interim.yes", "pue.interim.no")},
		{s.say("pue.it"), s.say("pue.it.values", s.number(p.ITBaseline, 6), s.number(p.ITReporting, 6))},
	}
	if p.ExplainedByModel {
		rows = append(rows, [2]string{s.say("pue.by_load"), s.fixed(p.ByLoad, 4)}, [2]string{s.say("pue.by_facility"), s.fixed(p.ByFacility, 4)})
	}
	s.facts(append(rows, [2]string{s.say("pue.naive"), s.energy(p.NaiveSaving)}, [2]string{s.say("avoided"), s.energy(s.r.Savings.Avoided)}))
}

// outlookSection shows what a reporting period of some length can show.
func (s *sheet) outlookSection() {
	s.heading(s.say("section.outlook"))
	o := s.r.Outlook
	if o == nil {
		s.paragraph(s.say("outlook.none"))
		return
	}
	s.intro(s.say("outlook.text"))
	var rows [][]string
	for _, d := range o.MinimumDetectable {
		rows = append(rows, []string{s.whole(d.Days), s.percent(d.Fraction, 3)})
	}
	s.table([]column{{title: s.say("outlook.days"), share: 1, right: true}, {title: s.say("outlook.fraction"), share: 2, right: true}}, rows)
	s.paragraph(s.say("outlook.ever", s.percent(o.MinimumEver, 3)))
	if o.Fraction == nil {
		return
	}
	days := func(n *int) string {
		if n == nil {
			return s.say("outlook.never", s.whole(o.LongestDaysSearched))
		}
		if *n == 1 {
			return s.say("outlook.after_one")
		}
		return s.say("outlook.after", s.whole(*n))
	}
	s.facts([][2]string{
		{s.say("plan.expected"), s.percent(*o.Fraction, 3)}, {s.say("outlook.zero"), days(o.DaysZeroExcluded)}, {s.say("outlook.g14"), days(o.DaysGuideline14)},
	})
}

func (s *sheet) moneySection() {
	s.heading(s.say("section.money"))
	s.paragraph(s.say("money.none"))
}

// limitsSection says what the figures do not cover.
func (s *sheet) limitsSection() {
	s.heading(s.say("section.limits"))
	s.list("limits", 7)
}

// list writes the numbered texts of a theme.
func (s *sheet) list(theme string, n int) {
	for i := range n {
		s.paragraph(fmt.Sprintf("%d. %s", i+1, s.say(fmt.Sprintf("%s.%d", theme, i+1))))
	}
}

// appendixSection says how to recompute the report, and explains its words.
func (s *sheet) appendixSection() {
	s.heading(s.say("section.appendix"))
	s.subheading(s.say("appendix.recompute"))
	s.list("recompute", 4)
	s.subheading(s.say("appendix.raw"))
	rows := [][2]string{
		{s.say("appendix.schema"), s.r.Schema}, {s.say("software"), s.r.Software}, {s.say("hash.plan"), orWord(s.r.PlanSHA256, s.say("none"))},
		{s.say("hash.baseline"), orWord(s.r.BaselineSHA256, s.say("none"))}, {s.say("hash.reporting"), orWord(s.r.ReportingSHA256, s.say("none"))}, {s.say("hash.result"), s.r.SHA256()},
	}
	if v := s.r.Savings; v != nil {
		for _, f := range []struct {
			key   string
			value float64
		}{{"energy.predicted", v.Predicted}, {"energy.metered", v.Metered}, {"avoided", v.Avoided}} {
			rows = append(rows, [2]string{s.say(f.key), s.exact(f.value) + " " + v.Unit})
		}
	}
	s.facts(rows)
	s.subheading(s.say("appendix.glossary"))
	var terms [][2]string
	for i := range 9 {
		terms = append(terms, [2]string{s.say(fmt.Sprintf("glossary.%d", i+1)), s.say(fmt.Sprintf("glossary.%d.is", i+1))})
	}
	s.facts(terms)
}
