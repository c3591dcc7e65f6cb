package figures

import (
	"context"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

// The methods of a comparison.
const (
	hourOfWeek = "hour_of_week"
	maxDays    = 366 // of a period
)

type (
	// CompareInput is the query of Compare.
	CompareInput struct {
		Question
		BeforeFrom string `query:"cfrom" maxLength:"40" doc:"Beginning of the period before, in the forms of from; without cfrom and cto, the period before ends where the other begins, and is as long" example:"2026-02-01"`
		BeforeTo   string `query:"cto" maxLength:"40" doc:"End of the period before, which is not included" example:"2026-03-01"`
		Method     string `query:"method" enum:"hour_of_week,plain" default:"hour_of_week" doc:"hour_of_week compares Mondays at 10 o'clock with Mondays at 10 o'clock; plain compares whole periods" example:"hour_of_week"`
	}
)

// Period is one of the two periods of a comparison.
type Period struct {
	From            string   `json:"from" format:"date-time" doc:"Beginning" example:"2026-02-01T00:00:00+01:00"`
	To              string   `json:"to" format:"date-time" doc:"End, which is not included" example:"2026-03-01T00:00:00+01:00"`
	CompletenessPct float64  `json:"completeness_pct" doc:"Share of the period, up to now, that at least one reading covers, in %" example:"99.5"`
	ITLoadKW        *float64 `json:"it_load_kw" doc:"Mean IT power of the hours that the figures rest on, in kW; null without figures" example:"812.5"`
	PricePerKWh     *float64 `json:"price_per_kwh" doc:"Mean price, weighted with energy; null without prices" example:"0.11"`
	CarbonGPerKWh   *float64 `json:"carbon_g_per_kwh" doc:"Mean carbon intensity in g/kWh, weighted with energy; null without it" example:"210"`
	SetpointC       *float64 `json:"cooling_setpoint_c" doc:"Mean cooling setpoint in °C; null without it" example:"22"`
	DryBulbC        *float64 `json:"outdoor_dry_bulb_c" doc:"Mean outdoor temperature in °C; null without it" example:"8.2"`
	WetBulbC        *float64 `json:"outdoor_wet_bulb_c" doc:"Mean outdoor wet-bulb temperature in °C, as given or derived; null without it" example:"5.9"`
}

// ComparedFigure is a key figure of two periods.
type ComparedFigure struct {
	Name              string   `json:"name" doc:"Name of the figure" example:"pue"`
	Title             string   `json:"title" doc:"What people call it" example:"PUE"`
	Unit              string   `json:"unit" doc:"Unit; empty for a ratio" example:""`
	Better            string   `json:"better" enum:"lower,higher,neutral" doc:"Which way it should move" example:"lower"`
	Before            *float64 `json:"before" doc:"The figure before; null when there are not enough readings" example:"1.41"`
	After             *float64 `json:"after" doc:"The figure after; null when there are not enough readings" example:"1.37"`
	Difference        *float64 `json:"difference" doc:"After minus before; null when it is withheld" example:"-0.04"`
	DifferencePct     *float64 `json:"difference_pct" doc:"Difference in % of the figure before" example:"-2.8"`
	DifferencePerHour *float64 `json:"difference_per_hour" doc:"Of energies, cost and CO2e: difference of the means of an hour" example:"-12.5"`
	Withheld          string   `json:"withheld" doc:"Why there is no difference; empty when there is one" example:""`
}

// PUETrap says how much of a difference of PUE the IT load alone explains.
type PUETrap struct {
	Text         string  `json:"text" doc:"The finding in a sentence" example:"PUE fell by 0.041; the change of the IT load alone would have changed it by -0.033. A difference of PUE is not a saving."`
	Before       float64 `json:"pue_before" doc:"PUE before" example:"1.412"`
	After        float64 `json:"pue_after" doc:"PUE after" example:"1.371"`
	Expected     float64 `json:"pue_expected_from_load" doc:"PUE that an unchanged facility would have at the IT load after: 1 + beta + alpha / IT load" example:"1.379"`
	ByLoad       float64 `json:"change_by_it_load" doc:"Expected minus before" example:"-0.033"`
	Rest         float64 `json:"change_by_the_rest" doc:"After minus expected" example:"-0.008"`
	AlphaKW      float64 `json:"alpha_kw" doc:"Overhead without IT load, in kW, fitted by least squares to the hours before" example:"180"`
	Beta         float64 `json:"beta" doc:"Overhead in kW for each kW of IT load, from the same fit" example:"0.19"`
	RSquared     float64 `json:"r_squared" doc:"Share of the variance of the overhead that the fit explains" example:"0.93"`
	Hours        int     `json:"hours" doc:"Hours in the fit" example:"672"`
	Extrapolated bool    `json:"extrapolated" doc:"true: the IT load after lies outside of that of the hours in the fit" example:"false"`
}

// CompareAnswer is a comparison of two periods.
type CompareAnswer struct {
	Site          string           `json:"site" doc:"Site" example:"oslo-1"`
	Cluster       *string          `json:"cluster" doc:"Cluster; null for the site as a whole" example:"gpu-a"`
	Zone          string           `json:"zone" doc:"IANA time zone of the periods and of the hours of the week" example:"Europe/Oslo"`
	Method        string           `json:"method" enum:"hour_of_week,plain" doc:"How the periods were compared" example:"hour_of_week"`
	Before        Period           `json:"before" doc:"The period before"`
	After         Period           `json:"after" doc:"The period after"`
	MatchedCells  *int             `json:"matched_cells" doc:"Hours of the week, of 168, that both periods have; null for plain" example:"168"`
	MatchedHours  float64          `json:"matched_hours" doc:"Hours of the period after on which the figures rest" example:"672"`
	Refusals      []string         `json:"refusals" nullable:"false" doc:"Why there are no figures; empty when there are"`
	Figures       []ComparedFigure `json:"figures" nullable:"false" doc:"The key figures of both periods"`
	ITLoadDiffPct *float64         `json:"it_load_difference_pct" doc:"Difference of the mean IT load in %" example:"8.1"`
	ITLoadChanged bool             `json:"it_load_changed" doc:"true: the IT load differs by more than 2 %, so a difference of PUE says little" example:"true"`
	Weather       string           `json:"weather" doc:"What is known of the weather of the periods" example:"the mean outdoor temperature was 8.2 °C before and 8.6 °C after (+0.4 K)"`
	PUETrap       *PUETrap         `json:"pue_trap,omitempty" doc:"How much of the difference of PUE the IT load alone explains; absent when the hours before do not tell"`
}

// Compare compares a period with one before it.
func (f *Figures) Compare(ctx context.Context, in *CompareInput) (*CompareAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	_, _, answer, err := f.compare(ctx, in)
	if err != nil {
		return nil, err
	}
	return &answer, nil
}

func (f *Figures) compare(ctx context.Context, in *CompareInput) (a asked, before kpi.Range, answer CompareAnswer, err error) {
	if a, err = f.understand(ctx, &in.Question); err != nil {
		return a, before, answer, err
	}
	if before, err = in.before(&a); err != nil {
		return a, before, answer, err
	}
	hoursBefore, err := f.hours(ctx, a.scope(), before, a.zone)
	if err != nil {
		return a, before, answer, err
	}
	hoursAfter, err := f.hours(ctx, a.scope(), a.times, a.zone)
	if err != nil {
		return a, before, answer, err
	}
	c := kpi.CompareHours(before, a.times, hoursBefore, hoursAfter, a.zone, a.now, in.Method == hourOfWeek)
	answer = compareAnswer(&c, before, &a)
	answer.Method = in.Method
	if in.Cluster != "" {
		answer.Cluster = &in.Cluster
	}
	return a, before, answer, nil
}

// before returns the period before. Its error is a *web.Problem.
func (in *CompareInput) before(a *asked) (kpi.Range, error) {
	longest := maxDays * 24 * time.Hour
	if a.times.To.Sub(a.times.From) > longest {
		return kpi.Range{}, web.InvalidParameter("from", "must be at most 366 days before to in a comparison")
	}
	switch {
	case in.BeforeFrom == "" && in.BeforeTo == "":
		return previousPeriod(a.times, a.zone), nil
	case in.BeforeFrom == "":
		return kpi.Range{}, web.InvalidParameter("cfrom", "must be given together with cto")
	case in.BeforeTo == "":
		return kpi.Range{}, web.InvalidParameter("cto", "must be given together with cfrom")
	}
	r, err := kpi.ParseRange(in.BeforeFrom, in.BeforeTo, a.now, a.zone)
	var wrong *kpi.RangeError
	switch {
	case asRangeError(err, &wrong):
		return r, web.InvalidParameter("c"+wrong.End, wrong.Reason)
	case err != nil:
		return r, err
	case r.To.Sub(r.From) > longest:
		return r, web.InvalidParameter("cfrom", "must be at most 366 days before cto")
	case !r.Within(a.times).Empty():
		return r, web.InvalidParameter("cfrom", "must not make the periods overlap")
	}
	return r, nil
}

// previousPeriod is as long as r and ends where it begins. Whole days stay whole
// days of the zone, also when a clock change makes one shorter.
func previousPeriod(r kpi.Range, zone *time.Location) kpi.Range {
	if kpi.Day.Aligned(r, zone) {
		y, m, d := r.From.In(zone).Date()
		return kpi.Range{From: kpi.StartOfDay(y, m, d-len(kpi.Day.Divide(r, zone)), zone), To: r.From}
	}
	return kpi.Range{From: r.From.Add(-r.To.Sub(r.From)), To: r.From}
}

func (f *Figures) hours(ctx context.Context, scope store.ReadingScope, r kpi.Range, zone *time.Location) (*kpi.Series, error) {
	hours := kpi.NewSeries(kpi.Hour.Divide(r, zone))
	err := f.store.FillSeries(ctx, scope, hours)
	return hours, err
}

func compareAnswer(c *kpi.Comparison, before kpi.Range, a *asked) CompareAnswer {
	answer := CompareAnswer{
		Site: a.scope().Site, Zone: a.zone.String(), MatchedHours: c.MatchedHours, Refusals: append([]string{}, c.Refusals...), Figures: []ComparedFigure{},
		ITLoadDiffPct: c.ITLoadDiffPct, ITLoadChanged: c.ITLoadChanged, Weather: c.Weather,
	}
	if c.Matched {
		answer.MatchedCells = &c.Cells
	}
	for i, side := range []struct {
		into  *Period
		times kpi.Range
	}{{&answer.Before, before}, {&answer.After, a.times}} {
		*side.into = Period{
			From: stamp(side.times.From, a.zone), To: stamp(side.times.To, a.zone), CompletenessPct: c.CompletePct[i],
			ITLoadKW: c.ITLoadKW[i], PricePerKWh: c.PricePerKWh[i], CarbonGPerKWh: c.CarbonGPerKWh[i], SetpointC: c.SetpointC[i],
			DryBulbC: c.DryBulbC[i], WetBulbC: c.WetBulbC[i],
		}
	}
	for _, f := range c.Figures {
		answer.Figures = append(answer.Figures, ComparedFigure{
			Name: f.Name, Title: f.Title, Unit: f.Unit, Better: string(f.Better), Before: f.Before.Value, After: f.After.Value,
			Difference: f.Difference, DifferencePct: f.DifferencePct, DifferencePerHour: f.PerHour, Withheld: f.Withheld,
		})
	}
	if t := c.Trap; t != nil {
		answer.PUETrap = &PUETrap{
			Text: t.Text(), Before: t.PUEBefore, After: t.PUEAfter, Expected: t.Expected, ByLoad: t.ByLoad, Rest: t.Rest,
			AlphaKW: t.AlphaKW, Beta: t.Beta, RSquared: t.RSquared, Hours: t.Hours, Extrapolated: t.Extrapolated,
		}
	}
	return answer
}
