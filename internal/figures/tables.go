package figures

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/export"
	"github.com/leomutto/pilot-in-a-box/internal/kpi"
	"github.com/leomutto/pilot-in-a-box/store"
)

// assetColumns are the columns of a site and a cluster.
var assetColumns = []export.Column{{Name: "site_id", Title: "Site"}, {Name: "cluster_id", Title: "Cluster"}}

// titled is the title of a column with a unit.
func titled(title, unit string) string {
	if unit == "" {
		return title
	}
	return title + " [" + unit + "]"
}

// fileName names the file of an answer, such as
// mass_trends_oslo-1_20260301-20260401_day_Europe-Oslo.
func fileName(kind string, a *asked, more ...string) string {
	span := a.times.From.In(a.zone).Format(dateLayout(a.times.From, a.zone)) + "-" + a.times.To.In(a.zone).Format(dateLayout(a.times.To, a.zone))
	parts := append([]string{"mass", kind, sitesInFileName(a), a.scope().Cluster, span}, more...)
	return export.FileName(append(parts, a.zone.String())...)
}

// sitesInFileName names up to three sites.
func sitesInFileName(a *asked) string {
	if n := len(a.scopes); n > 3 {
		return strconv.Itoa(n) + "-sites"
	}
	return strings.Join(a.sites(), "+")
}

func dateLayout(at time.Time, zone *time.Location) string {
	if y, m, d := at.In(zone).Date(); at.Equal(kpi.StartOfDay(y, m, d, zone)) {
		return "20060102"
	}
	return "20060102T1504"
}

// site is how tables name the sites of a question.
func (a *asked) site() string { return strings.Join(a.sites(), ", ") }

// KPITable computes the key figures of a site or a cluster as KPIs does, as a
// table with one row for each figure.
func (f *Figures) KPITable(ctx context.Context, in *KPIInput) (*export.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	a, err := f.understandWide(ctx, &in.WideQuestion)
	if err != nil {
		return nil, err
	}
	answer, err := f.kpis(ctx, &a)
	if err != nil {
		return nil, err
	}
	columns := append(export.TimeColumns("start", "Start"), export.TimeColumns("end", "End")...)
	columns = append(append(columns, assetColumns...), []export.Column{
		{Name: "figure", Title: "Figure"}, {Name: "unit", Title: "Unit"}, {Name: "value", Title: "Value"},
		{Name: "quality", Title: "Quality"}, {Name: "completeness_pct", Title: "Completeness [%]"}, {Name: "formula", Title: "Formula"}, {Name: "standard", Title: "Standard"},
	}...)
	return &export.Table{Name: fileName("kpis", &a), Columns: columns, Zone: a.zone, Rows: func(_ context.Context, w *export.Writer) error {
		for _, figure := range answer.Figures {
			w.Times(a.times.From)
			w.Times(a.times.To)
			w.Text(a.site())
			w.Text(a.scope().Cluster)
			w.Text(figure.Name)
			w.Text(figure.Unit)
			w.Number(figure.Value)
			w.Text(figure.Quality)
			w.Float(figure.CompletenessPct)
			w.Text(figure.Formula)
			w.Text(figure.Standard)
			if err := w.EndRow(); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

// TrendTable computes key figures by intervals as Trends does, as a table with
// one row for each interval.
func (f *Figures) TrendTable(ctx context.Context, in *TrendInput) (*export.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	t, err := f.trend(ctx, in)
	if err != nil {
		return nil, err
	}
	columns := append(export.TimeColumns("start", "Start"), export.TimeColumns("end", "End")...)
	columns = append(columns, assetColumns...)
	for _, k := range t.metrics {
		columns = append(columns, export.Column{Name: k.Name, Title: titled(k.Title, k.Unit)})
	}
	columns = append(columns, export.Column{Name: "completeness_pct", Title: "Completeness [%]"})
	return &export.Table{Name: fileName("trends", &t.asked, t.bucket.Name()), Columns: columns, Zone: t.zone, Rows: func(_ context.Context, w *export.Writer) error {
		for i := range t.series.Len() {
			times, sums, covered := t.series.At(i)
			wanted := t.wanted(times)
			w.Times(times.From)
			w.Times(times.To)
			w.Text(t.site())
			w.Text(t.scope().Cluster)
			for _, k := range t.metrics {
				w.Number(k.Compute(sums, covered, wanted).Value)
			}
			w.Float(share(covered, wanted))
			if err := w.EndRow(); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

// CompareTable compares two periods as Compare does, as a table with one row for
// each figure.
func (f *Figures) CompareTable(ctx context.Context, in *CompareInput) (*export.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	a, before, answer, err := f.compare(ctx, in)
	if err != nil {
		return nil, err
	}
	var columns []export.Column
	for _, edge := range [][2]string{{"before_start", "Before, start"}, {"before_end", "Before, end"}, {"after_start", "After, start"}, {"after_end", "After, end"}} {
		columns = append(columns, export.TimeColumns(edge[0], edge[1])...)
	}
	columns = append(append(columns, assetColumns...), []export.Column{
		{Name: "method", Title: "Method"}, {Name: "figure", Title: "Figure"}, {Name: "unit", Title: "Unit"},
		{Name: "before", Title: "Before"}, {Name: "after", Title: "After"}, {Name: "difference", Title: "Difference"},
		{Name: "difference_pct", Title: "Difference [%]"}, {Name: "difference_per_hour", Title: "Difference per hour"}, {Name: "withheld", Title: "Withheld because"},
	}...)
	return &export.Table{Name: fileName("compare", &a, answer.Method), Columns: columns, Zone: a.zone, Rows: func(_ context.Context, w *export.Writer) error {
		for i := range answer.Figures {
			figure := &answer.Figures[i]
			for _, at := range []time.Time{before.From, before.To, a.times.From, a.times.To} {
				w.Times(at)
			}
			w.Text(a.site())
			w.Text(a.scope().Cluster)
			w.Text(answer.Method)
			w.Text(figure.Name)
			w.Text(figure.Unit)
			for _, x := range []*float64{figure.Before, figure.After, figure.Difference, figure.DifferencePct, figure.DifferencePerHour} {
				w.Number(x)
			}
			w.Text(figure.Withheld)
			if err := w.EndRow(); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

// readingStep is the number of readings that an export reads at once.
const readingStep = 2000

// ReadingTable lists all readings of a range, without pages: the limit and the
// key of the question do not matter.
func (f *Figures) ReadingTable(ctx context.Context, in *ReadingsInput) (*export.Table, error) {
	within, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	a, err := f.understand(within, in.question())
	if err != nil {
		return nil, err
	}
	columns := []export.Column{{Name: "request_id", Title: "MassRequest"}}
	columns = append(append(columns, export.TimeColumns("start", "Start")...), export.TimeColumns("end", "End")...)
	columns = append(columns, assetColumns...)
	columns = append(columns, []export.Column{
		{Name: "facility_id", Title: "Facility"}, {Name: "zone_id", Title: "Zone"}, {Name: "accepted_at", Title: "Accepted at (UTC)"},
		{Name: "state", Title: "State"}, {Name: "state_for_site", Title: "State for the site"}, {Name: "warnings", Title: "Warnings"},
	}...)
	for _, name := range kpi.ValueNames() {
		columns = append(columns, export.Column{Name: name, Title: name})
	}
	return &export.Table{Name: fileName("readings", &a, in.State), Columns: columns, Zone: a.zone, Rows: func(ctx context.Context, w *export.Writer) error {
		return f.writeReadings(ctx, w, &a, kpi.State(in.State))
	}}, nil
}

func (f *Figures) writeReadings(ctx context.Context, w *export.Writer, a *asked, state kpi.State) error {
	var after store.ReadingKey
	for {
		found, err := f.readingStep(ctx, a, state, after)
		if err != nil {
			return err
		}
		for i := range found {
			r := &found[i]
			w.Int(r.RequestID)
			w.Times(r.From)
			w.Times(r.To)
			for _, name := range []string{r.Site, r.Cluster, r.Facility, r.Zone} {
				w.Text(name)
			}
			w.Text(r.Accepted.UTC().Format(time.RFC3339Nano))
			w.Text(string(r.AssetState))
			w.Text(string(r.SiteState))
			w.Int(int64(r.Warnings))
			for _, x := range r.List() {
				w.Number(x)
			}
			if err := w.EndRow(); err != nil {
				return err
			}
		}
		if len(found) < readingStep {
			return nil
		}
		last := &found[len(found)-1]
		after = store.ReadingKey{Start: last.From, Request: last.RequestID}
	}
}

func (f *Figures) readingStep(ctx context.Context, a *asked, state kpi.State, after store.ReadingKey) ([]store.StoredReading, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	return f.store.Readings(ctx, a.scope(), a.times, state, after, readingStep)
}
