package mv

import (
	"errors"
	"fmt"
	"math"
)

// analysis is one run of Analyze.
type analysis struct {
	plan      Plan
	table     *Table
	base, rep *Table // rep is nil where there is no reporting period
	r         *Result
}

// Analyze computes the Result of a plan. inFile holds what ReadCSV found.
// software names the program and its version. A Result is returned in every
// case but a plan that cannot be read at all; data that must be refused give a
// Result with the verdict refused and no savings.
func Analyze(t *Table, inFile []Finding, plan Plan, software string) (*Result, error) {
	if plan.Daily {
		t = t.Daily()
	}
	if err := plan.Check(t); err != nil {
		return nil, err
	}
	a := &analysis{plan: plan, table: t, r: &Result{
		Schema: ResultSchema, Software: software, Plan: plan, PlanSHA256: plan.SHA256(), Interval: t.Interval,
		BaselineSHA256: t.SHA256(plan.Baseline), Findings: append([]Finding{}, inFile...),
		Candidates: []Candidate{}, Events: []Event{}, ResidualTests: []ResidualTest{},
	}}
	a.check()
	if refuse(a.r.Findings) == nil {
		a.fit()
	}
	a.r.conclude()
	return a.r, nil
}

// RefuseInput is the Result of a file that cannot be read at all: the findings
// of ReadCSV and no figure.
func RefuseInput(findings []Finding, plan Plan, software string) *Result {
	if plan.Schema == "" {
		plan.Schema = PlanSchema
	}
	r := &Result{
		Schema: ResultSchema, Software: software, Plan: plan, PlanSHA256: plan.SHA256(), Findings: append([]Finding{}, findings...),
		Candidates: []Candidate{}, Events: []Event{}, ResidualTests: []ResidualTest{},
	}
	r.conclude()
	return r
}

func (a *analysis) find(f ...Finding) { a.r.Findings = append(a.r.Findings, f...) }

// check looks at the data before any model.
func (a *analysis) check() {
	p, t := a.plan, a.table
	a.base = t.within(p.Baseline)
	a.r.Baseline = a.base.coverage(p.Baseline)
	if p.BaselineSHA256 != "" && p.BaselineSHA256 != a.r.BaselineSHA256 {
		a.find(found("MV316", 1, fmt.Sprintf("The plan holds %.12s…, the data has %.12s….", p.BaselineSHA256, a.r.BaselineSHA256)))
	}
	a.find(a.base.FillTemperatures()...)
	a.find(quality(a.base, p.Baseline, "baseline")...)
	if p.Reporting.From.IsZero() {
		return
	}
	a.rep = t.within(p.Reporting)
	a.r.ReportingSHA256 = t.SHA256(p.Reporting)
	c := a.rep.coverage(p.Reporting)
	a.r.Reporting = &c
	if p.Reporting.From.Before(p.Baseline.To) && p.Baseline.From.Before(p.Reporting.To) {
		a.find(found("MV206", 1, ""))
	}
	a.find(a.rep.FillTemperatures()...)
	a.find(quality(a.rep, p.Reporting, "reporting period")...)
}

// fit fits all candidates, chooses, and describes what was chosen.
func (a *analysis) fit() {
	chosen := a.choose()
	if chosen == nil {
		if refuse(a.r.Findings) == nil {
			a.find(found("MV314", 1, ""))
		}
		return
	}
	a.r.Model, a.r.Placebo = chosen.fitted, chosen.placebo
	a.modelTests(chosen)
	a.savings(chosen)
	a.boundaries(chosen)
	if o, ok := chosen.fitted.Outlook(a.plan.ExpectedFraction); ok {
		a.r.Outlook = o
	}
}

// choose evaluates the candidates. The plan's own model is chosen if it has one;
// the others are listed for the spread.
func (a *analysis) choose() *Candidate {
	names := candidateNames(a.base)
	if a.plan.Model != Auto && !contains(names, a.plan.Model) {
		names = append(names, a.plan.Model)
	}
	if !a.withoutITAllowed(a.plan.Model) {
		a.find(found("MV306", 1, fmt.Sprintf("The plan names the model %s.", a.plan.Model)))
		return nil
	}
	for _, name := range names {
		a.r.Candidates = append(a.r.Candidates, a.candidate(name))
	}
	best := -1
	for i := range a.r.Candidates {
		c := &a.r.Candidates[i]
		if a.plan.Model == c.Model {
			best = i
		}
		if a.plan.Model != Auto || c.Reason != "" {
			continue
		}
		if best < 0 || better(c, &a.r.Candidates[best]) {
			best = i
		}
	}
	if best < 0 || a.r.Candidates[best].Reason != "" {
		a.few()
		if best >= 0 && a.r.Candidates[best].P > 0 {
			a.find(found("MV301", 1, fmt.Sprintf("Model %s: %s.", a.plan.Model, a.r.Candidates[best].Reason)))
		}
		return nil
	}
	chosen := &a.r.Candidates[best]
	a.reasons(chosen)
	return chosen
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// withoutITAllowed applies the rule that a facility with an IT meter is not
// judged by a model that leaves IT out, unless the plan says why: a change of the
// IT load alone would look like a saving.
func (a *analysis) withoutITAllowed(name string) bool {
	if name == Auto || a.base.driver("IT") == nil || a.plan.WithoutITReason != "" {
		return true
	}
	m, err := parseModel(name)
	return err != nil || !m.withoutIT()
}

// few says that there are too few rows if that is why every model failed.
func (a *analysis) few() {
	if a.r.Baseline.Rows < 5 {
		a.find(found("MV221", a.r.Baseline.Rows, fmt.Sprintf("The baseline has %d rows.", a.r.Baseline.Rows)))
	}
}

// candidate fits one model; Reason is set where it cannot be chosen.
func (a *analysis) candidate(name string) Candidate {
	c := Candidate{Model: name}
	if !a.withoutITAllowed(name) {
		c.Reason = "refused: it leaves the IT load out although an IT meter exists (MV306)"
		return c
	}
	f, err := Fit(a.base, name, a.plan.Target)
	if err != nil {
		c.Reason = "not fitted: " + err.Error()
		return c
	}
	c.P, c.CVRMSE, c.Rho = f.P, f.CVRMSE, defined(f.Rho.Pearson)
	if f.SSE > 0 {
		n := float64(f.N)
		c.BIC = defined(n*math.Log(f.SSE/n) + float64(f.P)*math.Log(n))
	}
	if f.wrong != "" {
		c.Reason = "refused: " + f.wrong + " (MV301)"
		return c
	}
	p, err := placebo(f.base, f.shape)
	if err != nil {
		c.Reason = "not cross-validated: " + err.Error()
		return c
	}
	c.fitted, c.placebo = f, p
	c.OutCVRMSE, c.Hits, c.Blocks = p.CVRMSE, p.Hits, len(p.Blocks)
	if a.rep != nil {
		a.candidateSavings(&c)
	}
	return c
}

// candidateSavings adds the saving by this candidate, for the spread.
func (a *analysis) candidateSavings(c *Candidate) {
	s, err := a.rep.sample(c.fitted.shape, a.plan.Target)
	if err != nil || len(s.y) == 0 {
		c.Reason = "no row of the reporting period has all of its drivers"
		return
	}
	r, err := c.fitted.savings(s, energyUnit(a.table.Load.Unit))
	if err != nil {
		c.Reason = "no saving: " + err.Error()
		return
	}
	level, _ := r.Headline().At(a.plan.Confidence)
	c.savings, c.Avoided, c.HalfWidth = r, defined(r.Avoided), defined(level.HalfWidth)
}

// better tells whether c replaces best: a smaller out-of-sample error, by more
// than the parsimony margin if it takes more parameters.
func better(c, best *Candidate) bool {
	ratio := math.Sqrt(c.placebo.mse) / math.Max(math.Sqrt(best.placebo.mse), math.SmallestNonzeroFloat64)
	if c.P > best.P {
		return ratio < 1-parsimony
	}
	if c.P < best.P {
		return ratio <= 1/(1-parsimony)
	}
	return ratio < 1
}

// reasons writes why each candidate won or lost.
func (a *analysis) reasons(chosen *Candidate) {
	chosen.Chosen = true
	for i := range a.r.Candidates {
		c := &a.r.Candidates[i]
		if c.Reason != "" {
			continue
		}
		ratio := math.Sqrt(c.placebo.mse)/math.Max(math.Sqrt(chosen.placebo.mse), math.SmallestNonzeroFloat64) - 1
		switch {
		case c.Chosen && a.plan.Model != Auto:
			c.Reason = "chosen: the plan names it"
		case c.Chosen:
			c.Reason = "chosen: the smallest error on blocks that were left out, or within 1 % of it with fewer parameters"
		case a.plan.Model != Auto:
			c.Reason = fmt.Sprintf("not considered: the plan names %s; its error on left-out blocks is %+.1f %%", chosen.Model, 100*ratio)
		case ratio <= parsimony:
			c.Reason = fmt.Sprintf("lost: its error on left-out blocks is %+.1f %% of the chosen one's, which has %d instead of %d parameters", 100*ratio, chosen.P, c.P)
		default:
			c.Reason = fmt.Sprintf("lost: its error on left-out blocks is %.1f %% larger", 100*ratio)
		}
	}
}

// fewDOF is the number of degrees of freedom below which a reader is warned.
const fewDOF = 5

// modelTests runs the tests that come before any interval.
func (a *analysis) modelTests(c *Candidate) {
	f := c.fitted
	drivers := []string{"T", "IT", "WetBulb"}
	for i := range a.base.Drivers {
		if a.base.Drivers[i].Role == Other {
			drivers = append(drivers, a.base.Drivers[i].Name)
		}
	}
	a.r.ResidualTests = append(a.r.ResidualTests, f.residualTests(a.base, drivers)...)
	for _, test := range a.r.ResidualTests {
		if test.Passed {
			continue
		}
		code := "MV304"
		if test.By == "month" {
			code = "MV303"
		}
		a.find(found(code, 1, fmt.Sprintf("By %s: chi-square %.1f with %d degrees of freedom, group means %.1f %% of the load.", test.By, test.ChiSquare, test.DOF, 100*test.Effect)))
	}
	if !c.placebo.Passed {
		a.find(found("MV305", 1, fmt.Sprintf("%d of %d blocks had zero inside their 90 %% interval.", c.placebo.Hits, len(c.placebo.Blocks))))
	}
	if len(f.Dropped) > 0 {
		a.find(found("MV222", len(f.Dropped), fmt.Sprintf("%v.", f.Dropped)))
	}
	if f.NPrime <= float64(f.P) && f.base.interval != Month {
		a.find(found("MV302", 1, fmt.Sprintf("n' is %.1f and p is %d.", f.NPrime, f.P)))
	}
	if f.DOF < fewDOF {
		a.find(found("MV227", f.DOF, fmt.Sprintf("n is %d and p is %d.", f.N, f.P)))
	}
	if f.NPrimeCapped {
		a.find(found("MV309", 1, fmt.Sprintf("rho is %.3f.", f.Rho.Pearson)))
	}
	limitCV, limitBias := 0.30, 0.10
	if f.base.interval == Month {
		limitCV, limitBias = 0.15, 0.05
	}
	if f.base.interval != Day && (f.CVRMSE != nil && *f.CVRMSE > limitCV || f.NMBE != nil && math.Abs(*f.NMBE) > limitBias) {
		a.find(found("MV313", 1, fmt.Sprintf("CV(RMSE) is %.1f %%; the threshold is %.0f %%.", 100**f.CVRMSE, 100*limitCV)))
	}
}

// savings computes the saving of the chosen model and what it says.
func (a *analysis) savings(c *Candidate) {
	if a.rep == nil {
		return
	}
	s, err := c.fitted.Avoided(a.rep, a.plan.Seed)
	if err != nil {
		var refused *Refused
		if errors.As(err, &refused) {
			a.find(refused.Findings...)
		} else {
			a.find(found("MV225", 1, err.Error()))
		}
		return
	}
	a.r.Savings = s
	if s.RowsUnknownSlot > 0 {
		a.find(found("MV223", s.RowsUnknownSlot, fmt.Sprintf("%d rows.", s.RowsUnknownSlot)))
	}
	if s.NegativePredictions > 0 {
		a.find(found("MV224", s.NegativePredictions, fmt.Sprintf("%d rows.", s.NegativePredictions)))
	}
	if float64(s.RowsOutside) > outsideShare*float64(s.RowsUsed) {
		a.find(found("MV217", s.RowsOutside, fmt.Sprintf("%d of %d rows.", s.RowsOutside, s.RowsUsed)))
	}
	level, _ := s.Headline().At(a.plan.Confidence)
	if level.ZeroInside {
		a.find(found("MV307", 1, ""))
	}
	if s.zero() {
		a.find(found("MV308", 1, ""))
	}
	if l, ok := s.by(FormulaG14N).At(0.68); ok && l.FSU != nil && *l.FSU > 0.5 {
		a.find(found("MV315", 1, fmt.Sprintf("It is %.0f %%.", 100**l.FSU)))
	}
	a.spread(c, level)
	p, findings := pue(a.base, a.rep, c.fitted, s)
	a.r.PUE = p
	a.find(findings...)
	a.r.Events = append(a.r.Events, events(c.fitted, s)...)
	for _, e := range a.r.Events {
		if !e.AtStart {
			a.find(found("MV312", 1, fmt.Sprintf("%s: the load changes by %.4g %s (± %.2g).", e.At.Format("2006-01-02"), e.Shift, c.fitted.Unit, 1.645*e.StdError)))
		}
	}
}

// closeError is how much larger the out-of-sample error of a candidate may be
// for its saving to be as believable as the chosen one's.
const closeError = 0.10

// spread is the range over the candidates that keep their signs.
func (a *analysis) spread(chosen *Candidate, level Level) {
	v := *chosen.Avoided
	s := &Spread{Low: v, High: v, LowClose: v, HighClose: v}
	for i := range a.r.Candidates {
		c := &a.r.Candidates[i]
		if c.Avoided == nil || c.Model == shapeMean && !c.Chosen {
			continue
		}
		s.Low, s.High, s.Models = min(s.Low, *c.Avoided), max(s.High, *c.Avoided), s.Models+1
		if c.placebo.mse <= chosen.placebo.mse*(1+closeError)*(1+closeError) {
			s.LowClose, s.HighClose, s.Close = min(s.LowClose, *c.Avoided), max(s.HighClose, *c.Avoided), s.Close+1
		}
	}
	a.r.Spread = s
	if s.LowClose < level.Low || s.HighClose > level.High {
		a.find(found("MV310", s.Close, fmt.Sprintf("They run from %s to %s %s.", figure(s.LowClose), figure(s.HighClose), a.r.Savings.Unit)))
	}
}

// boundaries fits the chosen model to both loads.
func (a *analysis) boundaries(c *Candidate) {
	if a.base.driver("IT") == nil {
		return
	}
	other := Facility
	if a.plan.Target == Facility {
		other = Overhead
	}
	twin, err := Fit(a.base, c.Model, other)
	if err != nil {
		return
	}
	facility, overhead := c.fitted, twin
	if a.plan.Target == Overhead {
		facility, overhead = twin, c.fitted
	}
	b := &Boundaries{
		Model: c.Model, CVRMSEFacility: facility.CVRMSE, CVRMSEOverhead: overhead.CVRMSE, R2Facility: facility.R2, R2Overhead: overhead.R2,
		ResidualSDFacility: facility.ResidualSD, ResidualSDOverhead: overhead.ResidualSD,
	}
	b.SameResiduals = math.Abs(facility.SSE-overhead.SSE) <= 1e-9*math.Max(facility.SSE, overhead.SSE)
	a.r.Boundaries = b
}
