package mv

import (
	"math"
	"time"
)

// Event is a lasting change of the residuals that a non-routine adjustment may
// be about. It is a proposal: only a person who knows the site can say what it
// was, and nothing is adjusted here.
type Event struct {
	At           time.Time `json:"at"`
	Until        time.Time `json:"until"`    // the next change, or the end of the data
	Period       string    `json:"period"`   // "baseline" or "reporting"
	AtStart      bool      `json:"at_start"` // near the start of reporting, where the measure itself shows
	Shift        float64   `json:"shift"`    // metered less predicted: mean after less mean before, in units of the load
	StdError     float64   `json:"std_error"`
	Significance float64   `json:"z"`
}

// maxEventRows bounds the search, whose time grows with the square of the rows.
const maxEventRows = 1500

// events searches the residuals (metered less predicted) of both periods for
// changes of the mean, by optimal partitioning of prewhitened residuals with
// the penalty 3 log n (a modified BIC, Zhang and Siegmund 2007). Shorter rows
// are averaged to days first.
func events(f *Fitted, s *Savings) []Event {
	at, e := dailyResiduals(f, s)
	boundary := s.rep.start[0]
	n := len(e)
	if n < 8 || n > maxEventRows {
		return nil
	}
	nb := 0
	for nb < n && at[nb].Before(boundary) {
		nb++
	}
	pos := make([]int, n)
	for i := range pos {
		pos[i] = i
	}
	rho := 0.0
	if nb > 3 && f.base.interval != Month {
		rho = math.Max(0, math.Min(0.9, Lag1(e[:nb], pos[:nb]).Pearson))
	}
	white := make([]float64, n)
	white[0] = e[0] * math.Sqrt(1-rho*rho)
	for i := 1; i < n; i++ {
		white[i] = e[i] - rho*e[i-1]
	}
	sigma := 0.0
	if nb > 3 {
		_, ss := centered(white[:nb])
		sigma = math.Sqrt(ss / float64(nb-1))
	}
	if sigma == 0 {
		return nil
	}
	cuts := partition(white, sigma, 2)
	var out []Event
	for k := 1; k+1 < len(cuts); k++ {
		before, after := white[cuts[k-1]:cuts[k]], white[cuts[k]:cuts[k+1]]
		ev := Event{At: at[cuts[k]], Period: "reporting"}
		ev.Until = at[cuts[k+1]-1]
		ev.Shift = (meanOf(after) - meanOf(before)) / (1 - rho)
		ev.StdError = sigma / (1 - rho) * math.Sqrt(1/float64(len(before))+1/float64(len(after)))
		ev.Significance = ev.Shift / ev.StdError
		if cuts[k] < nb {
			ev.Period = "baseline"
		}
		ev.AtStart = nearStart(f.base.interval, ev.At, boundary)
		out = append(out, ev)
	}
	return out
}

// nearStart tells whether a change belongs to the start of reporting: within two
// weeks, or in the first month.
func nearStart(i Interval, at, boundary time.Time) bool {
	if i == Month {
		return Month.position(at) == Month.position(boundary)
	}
	return math.Abs(at.Sub(boundary).Hours()) <= 14*24
}

// dailyResiduals is metered less predicted of both periods, by day or by month.
func dailyResiduals(f *Fitted, s *Savings) (at []time.Time, e []float64) {
	count := 0
	add := func(when time.Time, v float64) {
		if f.base.interval.step() == 0 {
			at, e, count = append(at, when), append(e, v), 1
			return
		}
		if len(at) > 0 && Day.position(at[len(at)-1]) == Day.position(when) {
			count++
			e[len(e)-1] += (v - e[len(e)-1]) / float64(count)
			return
		}
		at, e, count = append(at, when), append(e, v), 1
	}
	for i, r := range f.lin.resid {
		add(f.base.start[i], r)
	}
	for i, p := range s.pred {
		add(s.rep.start[i], s.rep.y[i]-p)
	}
	return at, e
}

// partition minimizes the sum of squares about the means of the parts plus a
// penalty for each part. It returns the starts of the parts and len(v).
func partition(v []float64, sigma float64, least int) []int {
	n := len(v)
	sum, sq := make([]float64, n+1), make([]float64, n+1)
	for i, x := range v {
		sum[i+1], sq[i+1] = sum[i]+x, sq[i]+x*x
	}
	penalty := 3 * math.Log(float64(n)) * sigma * sigma
	cost, from := make([]float64, n+1), make([]int, n+1)
	cost[0] = -penalty
	for j := 1; j <= n; j++ {
		cost[j] = math.Inf(1)
		for i := 0; i <= j-least || i == 0 && j < least; i++ {
			if i > 0 && i < least {
				continue
			}
			d := sum[j] - sum[i]
			c := cost[i] + sq[j] - sq[i] - d*d/float64(j-i) + penalty
			if c < cost[j] {
				cost[j], from[j] = c, i
			}
			if j < least {
				break
			}
		}
	}
	cuts := []int{n}
	for j := n; j > 0; j = from[j] {
		cuts = append([]int{from[j]}, cuts...)
	}
	return cuts
}
