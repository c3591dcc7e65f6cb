package mv

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// Block is one stretch of the baseline that was left out of the fit and then
// "saved" by a model fitted to the rest. No measure happened in it, so its true
// saving is zero.
type Block struct {
	From      string  `json:"from"`
	To        string  `json:"to"`
	Rows      int     `json:"rows"`
	Avoided   float64 `json:"avoided"`
	HalfWidth float64 `json:"half_width_90"`
	Hit       bool    `json:"hit"` // zero lies inside the 90 % interval
}

// Placebo is the placebo test of a model, and its cross-validation: both leave
// the same blocks out.
type Placebo struct {
	Blocks []Block  `json:"blocks"`
	Hits   int      `json:"hits"`
	PValue float64  `json:"p_value"` // probability of so few hits if intervals held
	Passed bool     `json:"passed"`
	CVRMSE *float64 `json:"cv_rmse_out_of_sample,omitempty"`
	Bias   *float64 `json:"bias_out_of_sample,omitempty"` // of the mean, as a share of the mean load

	mse float64
}

const (
	placeboBlocks = 12
	placeboAlpha  = 0.05
)

// blocks divides the baseline by time into at most placeboBlocks stretches.
// Twelve rows of months are left out in pairs, so that a line keeps ten.
func blocks(n int, interval Interval) [][2]int {
	k := placeboBlocks
	if interval == Month {
		k = max(3, min(k, n/2))
	}
	k = min(k, n)
	out := make([][2]int, k)
	for i := range out {
		out[i] = [2]int{i * n / k, (i + 1) * n / k}
	}
	return out
}

// placebo fits the model without each block and predicts the block.
func placebo(s *sample, m modelShape) (*Placebo, error) {
	p := &Placebo{}
	var squares, errs []float64
	for _, b := range blocks(len(s.y), s.interval) {
		rest := s.part(func(i int) bool { return i < b[0] || i >= b[1] })
		left := s.part(func(i int) bool { return i >= b[0] && i < b[1] })
		f, err := fitSample(rest, m, quickEffort)
		if err != nil {
			return nil, fmt.Errorf("without the rows from %s: %w", left.start[0].Format("2006-01-02"), err)
		}
		r, err := f.savings(left, "")
		if err != nil {
			continue
		}
		level, _ := r.Headline().At(0.90)
		p.Blocks = append(p.Blocks, Block{
			From: left.start[0].Format("2006-01-02"), To: left.start[len(left.start)-1].Format("2006-01-02"),
			Rows: r.RowsUsed, Avoided: r.Avoided, HalfWidth: level.HalfWidth, Hit: level.ZeroInside,
		})
		if level.ZeroInside {
			p.Hits++
		}
		for i, v := range r.pred {
			squares, errs = append(squares, (v-r.rep.y[i])*(v-r.rep.y[i])), append(errs, v-r.rep.y[i])
		}
	}
	if len(p.Blocks) == 0 {
		return nil, fmt.Errorf("no block could be left out")
	}
	p.PValue = distuv.Binomial{N: float64(len(p.Blocks)), P: 0.90}.CDF(float64(p.Hits))
	p.Passed = p.PValue >= placeboAlpha
	p.mse = sumOf(squares) / float64(len(squares))
	if mean := meanOf(s.y); mean > 0 {
		p.CVRMSE, p.Bias = defined(math.Sqrt(p.mse)/mean), defined(meanOf(errs)/mean)
	}
	return p, nil
}

// ResidualTest compares the mean residual of groups of rows with what AR(1)
// errors allow. It fails where the groups differ significantly and by an amount
// that matters.
type ResidualTest struct {
	Name      string      `json:"name"` // "chi-square of group means under AR(1)"
	By        string      `json:"by"`   // "month", or the name of a driver
	ChiSquare float64     `json:"chi_square"`
	DOF       int         `json:"dof"`
	PValue    float64     `json:"p_value"`
	Effect    float64     `json:"effect"` // root mean square of the group means over the mean load
	Passed    bool        `json:"passed"`
	Groups    []GroupMean `json:"groups"`
}

// GroupMean is the mean residual of one month or decile, in units of the load.
type GroupMean struct {
	Group string  `json:"group"`
	Rows  int     `json:"rows"`
	Mean  float64 `json:"mean"`
	Z     float64 `json:"z"`
}

const (
	residualAlpha  = 0.01
	residualEffect = 0.05 // the NMBE that Guideline 14 allows for months
)

// residualTests tests the residuals of the fit by calendar month and by the
// deciles of each driver. Rows of months are too few for either.
func (f *Fitted) residualTests(t *Table, drivers []string) []ResidualTest {
	if f.base.interval == Month {
		return nil
	}
	month := make([]int, f.N)
	names := make([]string, 12)
	for i, at := range f.base.start {
		month[i] = int(at.Month()) - 1
		names[month[i]] = at.Format("01")
	}
	tests := []ResidualTest{f.residualTest("month", month, names)}
	for _, token := range drivers {
		c := t.driver(token)
		if c == nil {
			continue
		}
		if group, labels := f.deciles(t, c); group != nil {
			tests = append(tests, f.residualTest(c.Name, group, labels))
		}
	}
	return tests
}

// deciles puts the rows of the fit into ten groups by a driver; -1 is a row
// without it.
func (f *Fitted) deciles(t *Table, c *Column) ([]int, []string) {
	byPos := map[int]float64{}
	for i, at := range t.Start {
		byPos[t.Interval.position(at)] = t.perHour(i, c.Values[i], c.Unit)
	}
	values := make([]float64, f.N)
	for i, p := range f.base.pos {
		values[i] = byPos[p]
	}
	sorted := present(values)
	if len(sorted) < 50 || sorted[0] == sorted[len(sorted)-1] {
		return nil, nil
	}
	labels, bounds := make([]string, 10), make([]float64, 10)
	for k := range bounds {
		bounds[k] = quantileSorted(sorted, float64(k+1)/10)
		labels[k] = fmt.Sprintf("up to %.4g", bounds[k])
	}
	group := make([]int, f.N)
	for i, v := range values {
		group[i] = -1
		for k := range bounds {
			if v <= bounds[k] {
				group[i] = k
				break
			}
		}
	}
	return group, labels
}

// residualTest sums the residuals of each group and compares the sums with
// their standard deviations under AR(1) errors.
func (f *Fitted) residualTest(by string, group []int, names []string) ResidualTest {
	test := ResidualTest{Name: "chi-square of group means under AR(1)", By: by, Passed: true}
	var effect, rows float64
	for g, name := range names {
		var e, ones []float64
		var pos []int
		for i, at := range group {
			if at == g {
				e, ones, pos = append(e, f.lin.resid[i]), append(ones, 1), append(pos, f.base.pos[i])
			}
		}
		if len(e) < 3 {
			continue
		}
		sd := f.ResidualSD * math.Sqrt(math.Max(quadraticAR1(ones, pos, f.rho()), 1e-12))
		m := GroupMean{Group: name, Rows: len(e), Mean: meanOf(e)}
		if sd > 0 {
			m.Z = sumOf(e) / sd
		}
		test.Groups = append(test.Groups, m)
		test.ChiSquare += m.Z * m.Z
		effect += m.Mean * m.Mean * float64(len(e))
		rows += float64(len(e))
	}
	test.DOF = max(len(test.Groups)-1, 1)
	test.PValue = chiSquareTail(test.ChiSquare, test.DOF)
	if f.MeanLoad > 0 && rows > 0 {
		test.Effect = math.Sqrt(effect/rows) / f.MeanLoad
	}
	test.Passed = test.PValue >= residualAlpha || test.Effect < residualEffect
	return test
}

// Candidate is one model that auto considered, and why it won or lost.
type Candidate struct {
	Model     string   `json:"model"`
	Chosen    bool     `json:"chosen"`
	Reason    string   `json:"reason"`
	P         int      `json:"p,omitempty"`
	CVRMSE    *float64 `json:"cv_rmse_n_minus_p,omitempty"`
	OutCVRMSE *float64 `json:"cv_rmse_out_of_sample,omitempty"`
	BIC       *float64 `json:"bic,omitempty"`
	Rho       *float64 `json:"rho,omitempty"`
	Hits      int      `json:"placebo_hits"`
	Blocks    int      `json:"placebo_blocks"`
	Avoided   *float64 `json:"avoided,omitempty"` // absent where no saving may be computed
	HalfWidth *float64 `json:"half_width,omitempty"`

	fitted  *Fitted
	placebo *Placebo
	savings *Savings
}

// parsimony is how much a model with more parameters must lower the
// out-of-sample error to be chosen.
const parsimony = 0.01

// candidateNames lists the models that the columns of a table allow.
func candidateNames(t *Table) []string {
	hasIT, hasT, hasWB := t.driver("IT") != nil, t.driver("T") != nil, t.driver("WetBulb") != nil
	names := []string{shapeMean}
	suffix := ""
	for i := range t.Drivers {
		if t.Drivers[i].Role == Other {
			names = append(names, t.Drivers[i].Name)
			suffix += "+" + t.Drivers[i].Name
		}
	}
	if hasIT {
		names = append(names, "IT"+suffix)
		if hasWB {
			names = append(names, "IT+WetBulb"+suffix)
		}
	}
	if hasT {
		list := []string{"T", shape3PC, shape3PH, shape4P, shape5P}
		if t.Interval != Month {
			list = append(list, shapeTOWT)
		}
		for _, s := range list {
			names = append(names, s+suffix)
			if hasIT {
				names = append(names, s+"+IT"+suffix)
			}
		}
	}
	slices.Sort(names[1:])
	return slices.Compact(names)
}
