package report

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/mv"
)

// write writes the whole report, in the order in which an auditor reads it.
func (s *sheet) write() {
	s.cover()
	s.page()
	s.planSection()
	s.boundarySection()
	s.periodsSection()
	s.qualitySection()
	s.modelSection()
	s.candidatesSection()
	s.energySection()
	s.uncertaintySection()
	s.placeboSection()
	s.adjustmentsSection()
	s.pueSection()
	s.outlookSection()
	s.moneySection()
	s.limitsSection()
	s.appendixSection()
	s.footers()
}

// headline is the interval that the claim rests on; ok is false without a
// saving.
func (s *sheet) headline() (mv.Level, bool) {
	if s.r.Savings == nil || s.r.Verdict == mv.VerdictRefused {
		return mv.Level{}, false
	}
	return s.r.Savings.Headline().At(s.r.Plan.Confidence)
}

// energy writes an amount of energy with its unit, and with as many decimals as
// three significant digits of the half-width have: more would pretend to a
// knowledge that the interval denies.
func (s *sheet) energy(v float64) string {
	level, ok := s.headline()
	if !ok || level.HalfWidth <= 0 {
		return s.number(v, 6) + "\u00a0" + s.r.Savings.Unit
	}
	behind := max(0, min(9, 2-int(math.Floor(math.Log10(level.HalfWidth)))))
	return s.fixed(v, behind) + "\u00a0" + s.r.Savings.Unit
}

// claim is the result in one sentence.
func (s *sheet) claim() string {
	level, ok := s.headline()
	switch {
	case s.r.Verdict == mv.VerdictRefused:
		return s.say("claim.refused")
	case !ok && s.r.Model == nil:
		return s.say("claim.no_model")
	case !ok:
		return s.say("claim.no_reporting", s.r.Model.Model)
	}
	avoided, half, confidence := s.energy(s.r.Savings.Avoided), s.energy(level.HalfWidth), s.percent(level.Confidence, 2)
	switch {
	case level.ZeroInside:
		return s.say("claim.zero", avoided, half, confidence)
	case s.r.Savings.Avoided < 0:
		return s.say("claim.negative", avoided, half, confidence)
	}
	return s.say("claim.saved", avoided, half, confidence)
}

// cover is the first page: a reader without any knowledge of statistics must
// understand it.
func (s *sheet) cover() {
	s.page()
	s.f.Bookmark(printable(s.say("summary")), 0, 0)
	s.paragraphIn("B", 18, 8.5, blue, s.say("title"))
	if s.r.Plan.Title != "" {
		s.paragraphIn("B", 12, 6, ink, s.r.Plan.Title)
	}
	if s.r.Plan.Measure != "" {
		s.paragraph(s.say("measure") + ": " + s.r.Plan.Measure)
	}
	s.space(1)
	s.verdictBox()
	s.space(2)
	if level, ok := s.headline(); ok {
		s.facts([][2]string{
			{s.say("avoided"), s.energy(s.r.Savings.Avoided) + " ± " + s.energy(level.HalfWidth) + " (" + s.percent(level.Confidence, 2) + ")"},
			{s.say("interval"), s.say("from_to", s.energy(level.Low), s.energy(level.High))},
			{s.say("share"), s.maybe(s.r.Savings.Fraction, func(v float64) string { return s.percent(v, 3) })},
			{s.say("zero_question"), s.either(level.ZeroInside, "zero_yes", "zero_no")},
			{s.say("trust_question"), s.trust()},
		})
	}
	s.refusals()
	s.coverFacts()
	s.picture(s.plots.cumulative)
	s.facts([][2]string{
		{s.say("hash.plan"), orWord(s.r.PlanSHA256, s.say("none"))}, {s.say("hash.baseline"), orWord(s.r.BaselineSHA256, s.say("none"))},
		{s.say("hash.reporting"), orWord(s.r.ReportingSHA256, s.say("none"))}, {s.say("hash.result"), s.r.SHA256()},
		{s.say("software"), s.r.Software},
	})
	s.small(s.say("adherence"))
	s.strong(s.say("shadow"))
}

func (s *sheet) coverFacts() {
	p := &s.r.Plan
	s.facts([][2]string{
		{s.say("boundary"), orWord(p.Boundary, s.say("not_stated"))},
		{s.say("option"), orWord(p.Option, s.say("not_stated"))},
		{s.say("baseline"), s.period(p.Baseline)},
		{s.say("reporting"), s.period(p.Reporting)},
		{s.say("findings"), s.codes()},
	})
}

// verdictBox shows the verdict and the claim on a colored ground.
func (s *sheet) verdictBox() {
	s.font("B", 12)
	claim := s.lines(s.claim(), s.width-10)
	s.font("", bodySize)
	reason := s.lines(s.say("verdict."+string(s.r.Verdict)+".why"), s.width-10)
	height := 10 + float64(len(claim))*5.8 + float64(len(reason))*lineStep + 4
	x, y := margin, s.f.GetY()
	mark := map[mv.Verdict]color{mv.VerdictFine: {0, 110, 70}, mv.VerdictWarned: {190, 110, 0}, mv.VerdictRefused: {170, 30, 40}}[s.r.Verdict]
	s.fillColor(paleSheet)
	s.f.Rect(x, y, s.width, height, "F")
	s.fillColor(mark)
	s.f.Rect(x, y, 2, height, "F")
	s.textColor(mark)
	s.font("B", 10)
	s.f.SetXY(x+5, y+2)
	s.f.CellFormat(s.width-10, 6, s.say("verdict")+": "+s.known("verdict", string(s.r.Verdict)), "", 2, "L", false, 0, "")
	s.font("B", 12)
	s.textColor(ink)
	for _, line := range claim {
		s.f.CellFormat(s.width-10, 5.8, line, "", 2, "L", false, 0, "")
	}
	s.font("", bodySize)
	for _, line := range reason {
		s.f.CellFormat(s.width-10, lineStep, line, "", 2, "L", false, 0, "")
	}
	s.f.SetXY(margin, y+height)
}

// trusted tells whether the result has none of the codes that say that its
// interval is not to be trusted.
func (s *sheet) trusted() bool {
	for _, f := range s.r.Findings {
		switch f.Code {
		case "MV302", "MV303", "MV304", "MV305":
			return false
		}
	}
	return true
}

// trust says whether the tests of the model passed, and which of them were run.
func (s *sheet) trust() string {
	switch {
	case !s.trusted():
		return s.say("trust_no")
	case s.r.Placebo == nil:
		return s.say("trust_none")
	case len(s.r.ResidualTests) == 0:
		return s.say("trust_placebo")
	}
	return s.say("trust_yes")
}

// refusals writes on the first page why nothing may be claimed.
func (s *sheet) refusals() {
	for _, f := range s.r.Findings {
		if f.Severity == mv.Refusal {
			s.paragraph(strings.TrimSpace(f.Code + ": " + s.meaning(f) + " " + f.Detail))
		}
	}
}

// codes lists the codes of the findings, each once.
func (s *sheet) codes() string {
	var out []string
	for _, f := range s.r.Findings {
		if !slices.Contains(out, f.Code) {
			out = append(out, f.Code)
		}
	}
	return orWord(strings.Join(out, ", "), s.say("none"))
}

func orWord(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// period writes a period; its end is not included.
func (s *sheet) period(p mv.Period) string {
	if p.From.IsZero() {
		return s.say("none")
	}
	return s.say("until", moment(p.From), moment(p.To))
}

// moment writes a time as briefly as it allows.
func moment(t time.Time) string {
	if t.Hour() == 0 && t.Minute() == 0 {
		return t.Format("2006-01-02")
	}
	return t.Format("2006-01-02 15:04 -07:00")
}
