package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/leomutto/pilot-in-a-box/internal/mv"
)

// printFindings writes one line per finding.
func printFindings(out io.Writer, findings []mv.Finding) {
	for _, f := range findings {
		fmt.Fprintf(out, "%s  %-8s %s %s\n", f.Code, f.Severity, f.Meaning, f.Detail)
	}
}

// printResult writes the summary: first the claim, then the figures that
// support it.
func printResult(out io.Writer, r *mv.Result) {
	fmt.Fprintf(out, "%s\nVerdict: %s.\n\n", r.Claim, r.Verdict)
	printTests(out, r)
	if r.Savings != nil {
		printSavings(out, r)
	}
	if m := r.Model; m != nil {
		fmt.Fprintf(out, "Model %s for the %s (%s)\n  %s\n", m.Model, m.Target, m.Unit, m.Equation)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, c := range m.Coefficients[:min(8, len(m.Coefficients))] {
			fmt.Fprintf(w, "  %s\t%.6g ± %.2g\t%s\n", c.Name, c.Value, c.StdError, c.Unit)
		}
		for _, c := range m.ChangePoints {
			fmt.Fprintf(w, "  change point\t%.5g (%.5g to %.5g)\t%s\n", c.Value, c.Low, c.High, c.Unit)
		}
		_ = w.Flush() // an output that cannot be written is no reason to fail
		fmt.Fprintf(out, "  n %d of %d rows, p %d, R2 %s, CV(RMSE) %s, rho %.3f, n' %.0f\n\n", m.N, m.Supplied, m.P, optional(m.R2, 1, ""), optional(m.CVRMSE, 100, " %"), m.Rho.Pearson, m.NPrime)
	}
	printCandidates(out, r)
	printOutlook(out, r)
	if len(r.Findings) > 0 {
		fmt.Fprintln(out, "Findings")
		printFindings(out, r.Findings)
	}
	fmt.Fprintf(out, "\nplan %.12s  baseline data %.12s  reporting data %.12s  %s\n", r.PlanSHA256, r.BaselineSHA256, r.ReportingSHA256, r.Software)
}

func optional(v *float64, factor float64, unit string) string {
	if v == nil {
		return "not defined"
	}
	return fmt.Sprintf("%.4g%s", *v*factor, unit)
}

func printTests(out io.Writer, r *mv.Result) {
	if r.Placebo == nil {
		return
	}
	passed := func(ok bool) string {
		if ok {
			return "passed"
		}
		return "FAILED: the interval is not to be trusted"
	}
	fmt.Fprintf(out, "Placebo: %d of %d blocks without a measure have zero inside their interval: %s\n", r.Placebo.Hits, len(r.Placebo.Blocks), passed(r.Placebo.Passed))
	for _, t := range r.ResidualTests {
		fmt.Fprintf(out, "Residuals by %s: group means %.1f %% of the load, p %.2g: %s\n", t.By, 100*t.Effect, t.PValue, passed(t.Passed))
	}
	fmt.Fprintln(out)
}

func printSavings(out io.Writer, r *mv.Result) {
	s := r.Savings
	fmt.Fprintf(out, "Adjusted baseline %.8g %s, metered %.8g, avoided %.6g (%s of the baseline), rows %d of %d\n", s.Predicted, s.Unit, s.Metered, s.Avoided, optional(s.Fraction, 100, " %"), s.RowsUsed, s.RowsSupplied)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, u := range s.Uncertainty {
		l, ok := u.At(r.Plan.Confidence)
		if !ok {
			continue
		}
		mark := ""
		if u.Headline {
			mark = "headline"
		}
		fmt.Fprintf(w, "  %s\t± %.5g %s\tFSU %s\t%s\n", u.Formula, l.HalfWidth, s.Unit, optional(l.FSU, 100, " %"), mark)
	}
	_ = w.Flush() // an output that cannot be written is no reason to fail
	if p := r.Spread; p != nil {
		fmt.Fprintf(out, "Across models: %.6g to %.6g for %d close ones, %.6g to %.6g for all %d\n", p.LowClose, p.HighClose, p.Close, p.Low, p.High, p.Models)
	}
	if p := r.PUE; p != nil {
		fmt.Fprintf(out, "PUE %.4f, then %.4f: %+.4f by the IT load, %+.4f by the facility (%s); its change is not a saving\n", p.Baseline, p.Reporting, p.ByLoad, p.ByFacility, p.Edition)
	}
	if b := r.Boundaries; b != nil {
		fmt.Fprintf(out, "CV(RMSE) of %s: facility %s, overhead %s\n", b.Model, optional(b.CVRMSEFacility, 100, " %"), optional(b.CVRMSEOverhead, 100, " %"))
	}
	fmt.Fprintln(out)
}

func printCandidates(out io.Writer, r *mv.Result) {
	if len(r.Candidates) == 0 {
		return
	}
	fmt.Fprintln(out, "Candidates")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range r.Candidates {
		fmt.Fprintf(w, "  %s\tleft-out error %s\tavoided %s\t%s\n", c.Model, optional(c.OutCVRMSE, 100, " %"), optional(c.Avoided, 1, ""), c.Reason)
	}
	_ = w.Flush() // an output that cannot be written is no reason to fail
	fmt.Fprintln(out)
}

func printOutlook(out io.Writer, r *mv.Result) {
	o := r.Outlook
	if o == nil {
		return
	}
	fmt.Fprint(out, "Smallest saving that shows at 90 %:")
	for _, d := range o.MinimumDetectable {
		fmt.Fprintf(out, "  %.2g %% after %d days", 100*d.Fraction, d.Days)
	}
	fmt.Fprintln(out)
	if o.Fraction != nil {
		days := func(n *int) string {
			if n == nil {
				return fmt.Sprintf("not within %d days", o.LongestDaysSearched)
			}
			return fmt.Sprintf("after %d days", *n)
		}
		fmt.Fprintf(out, "A saving of %.3g %%: zero is excluded %s; FSU of Guideline 14 is at most 50 %% at 68 %% %s\n", 100**o.Fraction, days(o.DaysZeroExcluded), days(o.DaysGuideline14))
	}
	fmt.Fprintln(out)
}
