package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/mv"
)

// meterFile writes two years of daily values of a building that saves 12 % in
// the second year.
func meterFile(t *testing.T) string {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	text := "day,kwh,temp\n"
	for i := range 731 {
		temp := 12 - 11*math.Cos(2*math.Pi*float64(i)/365) + 3*random.NormFloat64()
		load := 2000 + 60*max(14-temp, 0) + 40*random.NormFloat64()
		if i >= 365 {
			load *= 0.88
		}
		text += fmt.Sprintf("%s,%.3f,%.2f\n", time.Date(2023, 1, 1+i, 0, 0, 0, 0, time.UTC).Format("2006-01-02"), load, temp)
	}
	path := filepath.Join(t.TempDir(), "meter.csv")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// runMVCommand runs mass mv and returns what it printed and its exit code.
func runMVCommand(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), append([]string{"mv"}, args...), func(string) string { return "" }, &out, &out)
	if err == nil {
		return out.String(), 0
	}
	var outcome *mvOutcome
	if errors.As(err, &outcome) {
		return out.String(), outcome.ExitCode()
	}
	return out.String() + err.Error(), 1
}

func TestMVFromPlanToVerification(t *testing.T) {
	data := meterFile(t)
	dir := filepath.Dir(data)
	plan, report := filepath.Join(dir, "plan.json"), filepath.Join(dir, "report.json")
	columns := []string{"--data", data, "--time", "day", "--load", "kwh", "--load-unit", "kWh", "--temperature", "temp", "--temp-unit", "C", "--baseline", "2023-01-01/2024-01-01"}

	text, code := runMVCommand(t, append([]string{"fit"}, columns...)...)
	require.Contains(t, text, "there is no reporting period yet")
	require.Contains(t, text, "Smallest saving that shows")
	require.Contains(t, []int{0, exitWarned}, code)

	text, code = runMVCommand(t, append(append([]string{"plan"}, columns...), "--reporting", "2024-01-01/2025-01-01", "--measure", "night setback", "--expected", "0.1", "--out", plan)...)
	require.Zero(t, code, text)

	text, code = runMVCommand(t, "report", "--data", data, "--plan", plan, "--out", report, "--rows", filepath.Join(dir, "rows.csv"))
	require.Contains(t, []int{0, exitWarned}, code, text)
	require.Contains(t, text, "zero lies outside the interval")
	require.Contains(t, text, "Placebo")
	require.Less(t, strings.Index(text, "Placebo"), strings.Index(text, "headline"), "the tests come before the interval")

	var r mv.Result
	b, err := os.ReadFile(report)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &r))
	require.Equal(t, mv.ResultSchema, r.Schema)
	require.InDelta(t, 0.12, *r.Savings.Fraction, 0.01)
	require.NotContains(t, b, []byte("NaN"))

	rows, err := os.ReadFile(filepath.Join(dir, "rows.csv"))
	require.NoError(t, err)
	require.Equal(t, 1+731, bytes.Count(rows, []byte("\n")))
	require.Contains(t, string(rows), "start,period,load_kWh,predicted_kWh,residual_kWh,weight\n2023-01-01T00:00:00Z,baseline,")

	text, code = runMVCommand(t, "verify", "--data", data, "--report", report)
	require.Equal(t, exitWarned, code, "the report is equal, and it carries warnings")
	require.Contains(t, text, "equal")
	require.Contains(t, text, "sha256     "+r.SHA256())

	require.NoError(t, os.WriteFile(report, bytes.Replace(b, []byte(`"rows_used": 366`), []byte(`"rows_used": 365`), 1), 0o600))
	text, code = runMVCommand(t, "verify", "--data", data, "--report", report)
	require.Equal(t, exitDiffers, code)
	require.Contains(t, text, "/savings/rows_used: reported 365, recomputed 366")

	raw, err := os.ReadFile(data)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(data, bytes.Replace(raw, []byte("2023-03-01,"), []byte("2023-03-01,1"), 1), 0o600))
	text, code = runMVCommand(t, "report", "--data", data, "--plan", plan)
	require.Equal(t, exitWarned, code)
	require.Contains(t, text, "MV316", "the baseline was changed after the plan was frozen")
}

func TestMVRefusesWhatIsNotDeclared(t *testing.T) {
	data := meterFile(t)
	text, code := runMVCommand(t, "fit", "--data", data, "--time", "day", "--load", "kwh", "--baseline", "2023-01-01/2024-01-01")
	require.Equal(t, exitRefused, code)
	require.Contains(t, text, "MV105")
	text, code = runMVCommand(t, "fit", "--json", "--data", data, "--time", "day", "--load", "energy", "--load-unit", "kWh", "--baseline", "2023-01-01/2024-01-01")
	require.Equal(t, exitRefused, code)
	var answer struct {
		Verdict  mv.Verdict
		Findings []mv.Finding
	}
	require.NoError(t, json.Unmarshal([]byte(text), &answer))
	require.Equal(t, mv.VerdictRefused, answer.Verdict)
	require.Equal(t, "MV106", answer.Findings[0].Code)
	for _, args := range [][]string{
		{}, {"sing"}, {"fit"}, {"fit", "--data", data}, {"report", "--data", data, "--baseline", "2023-01-01/2024-01-01"}, {"verify", "--data", data},
		{"fit", "--data", data, "--baseline", "tomorrow"}, {"fit", "--data", data, "--zone", "Atlantis"}, {"fit", "--data", data, "extra"},
		{"report", "--data", data, "--plan", "x.json", "--model", "4P"},
	} {
		_, code := runMVCommand(t, args...)
		require.Equal(t, 1, code, "%v", args)
	}
	text, code = runMVCommand(t, "fit", "--help")
	require.Zero(t, code)
	require.Contains(t, text, "-baseline from/to")
}

func TestMVPrintsTheReport(t *testing.T) {
	data := meterFile(t)
	dir := filepath.Dir(data)
	pdf, plots := filepath.Join(dir, "report.pdf"), filepath.Join(dir, "plots")
	columns := []string{"--data", data, "--time", "day", "--load", "kwh", "--temperature", "temp", "--temp-unit", "C", "--baseline", "2023-01-01/2024-01-01", "--reporting", "2024-01-01/2025-01-01"}
	args := append([]string{"report", "--load-unit", "kWh", "--pdf", pdf, "--plots", plots, "--lang", "es", "--paper", "letter"}, columns...)
	text, code := runMVCommand(t, args...)
	require.Equal(t, exitWarned, code, text)
	first, err := os.ReadFile(pdf)
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(first, []byte("%PDF-")))
	require.Contains(t, string(first), "/Lang (es)")
	_, code = runMVCommand(t, args...)
	require.Equal(t, exitWarned, code)
	second, err := os.ReadFile(pdf)
	require.NoError(t, err)
	require.Equal(t, first, second)
	for _, name := range []string{"load.svg", "residuals.svg", "residuals-by-month.svg", "load-by-t.svg", "cumulative.svg"} {
		picture, err := os.ReadFile(filepath.Join(plots, name))
		require.NoError(t, err)
		require.Contains(t, string(picture), "</svg>")
	}

	text, code = runMVCommand(t, append([]string{"report", "--load-unit", "kWh", "--pdf", pdf, "--lang", "de"}, columns...)...)
	require.Equal(t, 1, code)
	require.Contains(t, text, "use one of en, es")
}

func TestMVPrintsAndVerifiesARefusedFile(t *testing.T) {
	data := meterFile(t)
	dir := filepath.Dir(data)
	pdf, report := filepath.Join(dir, "refused.pdf"), filepath.Join(dir, "refused.json")
	_, code := runMVCommand(t, "report", "--data", data, "--time", "day", "--load", "kwh", "--baseline", "2023-01-01/2024-01-01", "--reporting", "2024-01-01/2025-01-01", "--pdf", pdf, "--out", report)
	require.Equal(t, exitRefused, code)
	require.FileExists(t, pdf)
	text, code := runMVCommand(t, "verify", "--data", data, "--report", report)
	require.Equal(t, exitRefused, code, "an equal report that was refused is not fine")
	require.Contains(t, text, "equal")

	plan := filepath.Join(dir, "plan.json")
	_, code = runMVCommand(t, "plan", "--data", data, "--time", "day", "--load", "kwh", "--baseline", "2023-01-01/2024-01-01", "--out", plan)
	require.Equal(t, exitRefused, code)
	require.NoFileExists(t, plan, "there is no plan to write")
}
