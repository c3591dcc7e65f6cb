package mv

import (
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"strings"
)

// Verdict is the answer in one word, and the exit code of the command.
type Verdict string

// The verdicts.
const (
	VerdictFine    Verdict = "fine"
	VerdictWarned  Verdict = "warned"
	VerdictRefused Verdict = "refused"
)

// Result holds everything that a summary, an answer of the API and a printed
// report show. No figure in it is NaN or infinite.
type Result struct {
	Schema          string         `json:"schema"`
	Software        string         `json:"software"`
	Verdict         Verdict        `json:"verdict"`
	Claim           string         `json:"claim"` // the result in one sentence
	Plan            Plan           `json:"plan"`
	PlanSHA256      string         `json:"plan_sha256"`
	BaselineSHA256  string         `json:"baseline_sha256"`
	ReportingSHA256 string         `json:"reporting_sha256,omitempty"`
	Interval        Interval       `json:"interval"`
	Baseline        Coverage       `json:"baseline_coverage"`
	Reporting       *Coverage      `json:"reporting_coverage,omitempty"`
	Findings        []Finding      `json:"findings"`
	ResidualTests   []ResidualTest `json:"residual_tests"`
	Placebo         *Placebo       `json:"placebo,omitempty"`
	Model           *Fitted        `json:"model,omitempty"`
	Savings         *Savings       `json:"savings,omitempty"`
	Candidates      []Candidate    `json:"candidates"`
	Spread          *Spread        `json:"spread,omitempty"`
	Boundaries      *Boundaries    `json:"boundaries,omitempty"`
	PUE             *PUE           `json:"pue,omitempty"`
	Events          []Event        `json:"events"`
	Outlook         *Outlook       `json:"outlook,omitempty"`
}

// Spread is the range of the savings over candidates: the error of choosing a
// model, which no interval of one model contains. Close are the candidates whose
// error on left-out blocks is within 10 % of the chosen one's.
type Spread struct {
	Low       float64 `json:"low"`
	High      float64 `json:"high"`
	Models    int     `json:"models"`
	LowClose  float64 `json:"low_close"`
	HighClose float64 `json:"high_close"`
	Close     int     `json:"close"`
}

// Boundaries shows the same model for the facility and for the overhead. With
// IT as a linear driver both have the same residuals and the same saving, but
// different CV(RMSE) and R2, so neither threshold decides.
type Boundaries struct {
	Model              string   `json:"model"`
	CVRMSEFacility     *float64 `json:"cv_rmse_facility,omitempty"`
	CVRMSEOverhead     *float64 `json:"cv_rmse_overhead,omitempty"`
	R2Facility         *float64 `json:"r2_facility,omitempty"`
	R2Overhead         *float64 `json:"r2_overhead,omitempty"`
	SameResiduals      bool     `json:"same_residuals"`
	ResidualSDFacility float64  `json:"residual_sd_facility"`
	ResidualSDOverhead float64  `json:"residual_sd_overhead"`
}

// conclude sets the verdict from the findings and writes the claim.
func (r *Result) conclude() {
	r.Verdict = VerdictFine
	for _, f := range r.Findings {
		if f.Severity == Refusal {
			r.Verdict = VerdictRefused
		} else if f.Severity == Warning && r.Verdict == VerdictFine {
			r.Verdict = VerdictWarned
		}
	}
	r.Claim = r.claim()
}

func (r *Result) claim() string {
	if r.Verdict == VerdictRefused {
		return "No saving may be claimed: the data or the plan was refused."
	}
	if r.Savings == nil {
		if r.Model == nil {
			return "No model was fitted."
		}
		return fmt.Sprintf("The baseline was fitted with the model %s; there is no reporting period yet.", r.Model.Model)
	}
	s := r.Savings
	level, _ := s.Headline().At(r.Plan.Confidence)
	text := fmt.Sprintf("Avoided energy: %s %s ± %s %s at %.0f %% confidence (%s to %s)", figure(s.Avoided), s.Unit,
		figure(level.HalfWidth), s.Unit, 100*level.Confidence, figure(level.Low), figure(level.High))
	switch {
	case level.ZeroInside:
		text += "; zero lies inside the interval, so no saving has been shown."
	case s.Avoided < 0:
		text += "; the facility used more than the adjusted baseline."
	default:
		text += "; zero lies outside the interval."
	}
	if !r.trusted() {
		text += " A test of the model failed, so the interval is not to be trusted."
	}
	return text
}

// trusted tells whether every test passed that comes before the interval.
func (r *Result) trusted() bool {
	for _, f := range r.Findings {
		switch f.Code {
		case "MV302", "MV303", "MV304", "MV305":
			return false
		}
	}
	return true
}

// figure writes a number with at most four significant digits behind the
// point, and with separators in front of it.
func figure(v float64) string {
	digits := 0
	if a := math.Abs(v); a < 1000 && a > 0 {
		digits = max(0, min(6, 3-int(math.Floor(math.Log10(a)))))
	}
	text := fmt.Sprintf("%.*f", digits, v)
	whole, rest, _ := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		whole += "." + rest
	}
	return sign + whole
}

// Difference is one member of a Result that a recomputation did not reproduce.
type Difference struct {
	Path       string `json:"path"`
	Reported   string `json:"reported"`
	Recomputed string `json:"recomputed"`
}

// verifyTolerance is the relative difference that two processors may have.
const verifyTolerance = 1e-9

// Compare lists where two results differ. The version of the software is
// compared too, but numbers are equal within a relative 1e-9.
func Compare(reported, recomputed *Result) ([]Difference, error) {
	var trees [2]any
	for i, r := range []*Result{reported, recomputed} {
		b, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("encode a result: %w", err)
		}
		if err := json.Unmarshal(b, &trees[i]); err != nil {
			return nil, fmt.Errorf("decode a result: %w", err)
		}
	}
	var out []Difference
	compareTrees("", trees[0], trees[1], &out)
	return out, nil
}

func compareTrees(path string, a, b any, out *[]Difference) {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			break
		}
		keys := map[string]bool{}
		for k := range x {
			keys[k] = true
		}
		for k := range y {
			keys[k] = true
		}
		sorted := make([]string, 0, len(keys))
		for k := range keys {
			sorted = append(sorted, k)
		}
		sort.Strings(sorted)
		for _, k := range sorted {
			compareTrees(path+"/"+k, x[k], y[k], out)
		}
		return
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			break
		}
		for i := range x {
			compareTrees(fmt.Sprintf("%s/%d", path, i), x[i], y[i], out)
		}
		return
	case float64:
		if y, ok := b.(float64); ok && math.Abs(x-y) <= verifyTolerance*math.Max(math.Abs(x), math.Abs(y)) {
			return
		}
	default:
		if a == b {
			return
		}
	}
	*out = append(*out, Difference{path, brief(a), brief(b)})
}

func brief(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	if len(b) > 80 {
		return string(b[:77]) + "..."
	}
	return string(b)
}
