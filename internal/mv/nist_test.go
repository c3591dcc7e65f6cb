package mv

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// nistCase is a certified case of NIST's Statistical Reference Datasets.
type nistCase struct {
	File     string   `json:"file"`
	Kind     string   `json:"kind"`
	Model    string   `json:"model"`
	Estimate []string `json:"estimate"`
	StdError []string `json:"std_error"`
	Sigma    string   `json:"residual_sd"`
	R2       string   `json:"r_squared"`
	Mean     string   `json:"mean"`
	StdDev   string   `json:"std_dev"`
	Lag1     string   `json:"lag1_autocorrelation"`
}

func decimal(t *testing.T, text string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(text, 64)
	require.NoError(t, err)
	return v
}

// digits is the number of correct significant decimal digits, at most 15.
func digits(got, want float64) float64 {
	if got == want {
		return 15
	}
	if want == 0 {
		return -math.Log10(math.Abs(got))
	}
	return min(15, -math.Log10(math.Abs(got-want)/math.Abs(want)))
}

func nist(t *testing.T) map[string]nistCase {
	var all struct{ Cases map[string]nistCase }
	require.NoError(t, json.Unmarshal(shared(t, "nist/certified.json"), &all))
	return all.Cases
}

// columnsOfCSV reads numbers below a header line.
func columnsOfCSV(t *testing.T, data []byte) [][]float64 {
	rows, err := csv.NewReader(strings.NewReader(string(data))).ReadAll()
	require.NoError(t, err)
	cols := make([][]float64, len(rows[0]))
	for _, row := range rows[1:] {
		for k, v := range row {
			cols[k] = append(cols[k], decimal(t, v))
		}
	}
	return cols
}

// TestCertifiedRegressions asks for the digits that a Householder QR reaches;
// the worst coefficient counts.
func TestCertifiedRegressions(t *testing.T) {
	want := map[string]float64{"Norris": 12, "Pontius": 12, "Longley": 11, "Wampler1": 10, "Wampler2": 12.5, "Wampler3": 9, "Wampler4": 8, "Wampler5": 6}
	degree := map[string]int{"Pontius": 2, "Wampler1": 5, "Wampler2": 5, "Wampler3": 5, "Wampler4": 5, "Wampler5": 5}
	seen := 0
	for name, c := range nist(t) {
		if c.Kind != "linear regression" {
			continue
		}
		seen++
		t.Run(name, func(t *testing.T) {
			cols := columnsOfCSV(t, shared(t, "nist/"+c.File))
			y, x := cols[0], cols[1:]
			for d := 2; d <= degree[name]; d++ {
				power := make([]float64, len(y))
				for i, v := range x[0] {
					power[i] = math.Pow(v, float64(d))
				}
				x = append(x, power)
			}
			f, err := leastSquares(y, x, make([]int, len(y)), 1)
			require.NoError(t, err)
			require.Empty(t, f.dropped)
			sigma := math.Sqrt(f.sse / float64(len(y)-f.params()))
			worst, worstSE := 15.0, 15.0
			check := func(k int, v, variance float64) {
				worst = min(worst, digits(v, decimal(t, c.Estimate[k])))
				if se := decimal(t, c.StdError[k]); se != 0 {
					worstSE = min(worstSE, digits(sigma*math.Sqrt(variance), se))
				} else {
					require.InDelta(t, 0, sigma*math.Sqrt(variance), 1e-7*math.Abs(decimal(t, c.Estimate[k])))
				}
			}
			v, variance := f.intercept()
			check(0, v, variance)
			for k := range x {
				v, variance, ok := f.coefficient(k)
				require.True(t, ok)
				check(k+1, v, variance)
			}
			t.Logf("%s: %.1f digits, standard errors %.1f", name, worst, worstSE)
			require.GreaterOrEqual(t, worst, want[name])
			require.GreaterOrEqual(t, worstSE, 11.0)
		})
	}
	require.Equal(t, 8, seen)
}

func TestCertifiedSeries(t *testing.T) {
	seen := 0
	for name, c := range nist(t) {
		if c.Kind == "linear regression" {
			continue
		}
		seen++
		t.Run(name, func(t *testing.T) {
			y := columnsOfCSV(t, shared(t, "nist/"+c.File))[0]
			pos := make([]int, len(y))
			for i := range pos {
				pos[i] = i
			}
			_, ss := centered(y)
			mean, sd, acf := digits(meanOf(y), decimal(t, c.Mean)), digits(math.Sqrt(ss/float64(len(y)-1)), decimal(t, c.StdDev)), digits(Lag1(y, pos).ACF, decimal(t, c.Lag1))
			t.Logf("%s: mean %.1f, standard deviation %.1f, autocorrelation %.1f digits", name, mean, sd, acf)
			require.GreaterOrEqual(t, mean, 14.0)
			require.GreaterOrEqual(t, sd, 8.0)
			require.GreaterOrEqual(t, acf, 8.0)
		})
	}
	require.Equal(t, 8, seen)
}

// TestPolynomialOfDegreeTen is like Filip, the hardest linear set of the collection: a polynomial of degree
// ten, here regenerated from its certified coefficients without noise, so that
// nothing but the arithmetic decides.
func TestPolynomialOfDegreeTen(t *testing.T) {
	var y, x []float64
	truth := []float64{-1467.48961422980, -2772.17959193342, -2316.37108160893, -1127.97394098372, -354.478233703349, -75.1242017393757, -10.8753180355343, -1.06221498588947, -0.0670191154593408, -0.00246781078275479, -0.0000402962525080404}
	for i := range 82 {
		v := -8.8 + 5.7*float64(i)/81
		p := 0.0
		for k := len(truth) - 1; k >= 0; k-- {
			p = p*v + truth[k]
		}
		x, y = append(x, v), append(y, p)
	}
	cols := make([][]float64, 10)
	for d := range cols {
		for _, v := range x {
			cols[d] = append(cols[d], math.Pow(v, float64(d+1)))
		}
	}
	f, err := leastSquares(y, cols, make([]int, len(y)), 1)
	require.NoError(t, err)
	require.Empty(t, f.dropped, "a set of full rank was called singular")
	worst := 15.0
	for k := range cols {
		v, _, _ := f.coefficient(k)
		worst = min(worst, digits(v, truth[k+1]))
	}
	t.Logf("%.1f digits", worst)
	require.GreaterOrEqual(t, worst, 4.0)
}

func TestCollinearDriversAreDropped(t *testing.T) {
	var y, a, b, c []float64
	for i := range 50 {
		v := float64(i % 7)
		a, b = append(a, v), append(b, float64(i%3)*1e3)
		c = append(c, 2*v-5e-3*b[i]+40)
		y = append(y, 3*v+b[i]+math.Sin(float64(i)))
	}
	f, err := leastSquares(y, [][]float64{a, b, c}, make([]int, len(y)), 1)
	require.NoError(t, err)
	require.Equal(t, []int{2}, f.dropped)
	require.Equal(t, []int{0, 1}, f.kept)
}
