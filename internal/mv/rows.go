package mv

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Row is one complete row of the model: what was metered and what the model
// says. Plots and the CSV of intervals are made of rows.
type Row struct {
	Start     time.Time
	Period    string  // "baseline" or "reporting"
	Load      float64 // as modeled, in Fitted.Unit
	Predicted float64 // in Fitted.Unit; for the baseline, the fitted value
	Hours     float64 // factor from load to energy: hours for mean power, else 1
}

// Rows lists the rows of the chosen model in the order of time. It is empty for
// a Result that was read from JSON, which does not hold rows.
func (r *Result) Rows() []Row {
	var out []Row
	if r.Model == nil || r.Model.base == nil {
		return out
	}
	b := r.Model.base
	for i, at := range b.start {
		out = append(out, Row{at, "baseline", b.y[i], b.y[i] - r.Model.lin.resid[i], b.weight[i]})
	}
	if r.Savings != nil {
		s := r.Savings.rep
		for i, at := range s.start {
			out = append(out, Row{at, "reporting", s.y[i], r.Savings.pred[i], s.weight[i]})
		}
	}
	return out
}

// WriteRows writes Rows as CSV. The residual is metered less predicted.
func (r *Result) WriteRows(out io.Writer) error {
	w := csv.NewWriter(out)
	unit := ""
	if r.Model != nil {
		unit = r.Model.Unit
	}
	header := []string{"start", "period", "load_" + unit, "predicted_" + unit, "residual_" + unit, "weight"}
	if err := w.Write(header); err != nil {
		return fmt.Errorf("write the rows: %w", err)
	}
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', 12, 64) }
	for _, row := range r.Rows() {
		line := []string{row.Start.Format(time.RFC3339), row.Period, number(row.Load), number(row.Predicted), number(row.Load - row.Predicted), number(row.Hours)}
		if err := w.Write(line); err != nil {
			return fmt.Errorf("write the rows: %w", err)
		}
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return fmt.Errorf("write the rows: %w", err)
	}
	return nil
}
