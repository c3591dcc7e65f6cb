// Package figures answers questions about sites: their key figures, and how
// those moved. Every answer is computed from the readings that count, by the
// definitions of internal/kpi.
package figures

import (
	"context"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Figures answers questions about sites.
type Figures struct {
	store   *store.Store
	timeout time.Duration // of one answer
}

// New returns a Figures that gives up on an answer after the timeout.
func New(s *store.Store, timeout time.Duration) *Figures { return &Figures{store: s, timeout: timeout} }

// Question is what KPIs and Trends have in common: whose figures, and of which
// time.
type Question struct {
	Site    string `query:"site" required:"true" minLength:"1" maxLength:"200" doc:"Site, as the payloads name it" example:"oslo-1"`
	Cluster string `query:"cluster" maxLength:"200" doc:"Only this cluster of the site; without it, the site as a whole" example:"gpu-a"`
	From    string `query:"from" default:"now-7d" maxLength:"40" doc:"Beginning: now-7d, now-1mo/mo, a date, a local time or an RFC 3339 time" example:"2026-03-01"`
	To      string `query:"to" default:"now" maxLength:"40" doc:"End, which is not included; the same forms" example:"2026-03-08"`
	Zone    string `query:"tz" maxLength:"64" doc:"IANA time zone of dates, local times and buckets; the site's own by default" example:"Europe/Oslo"`
}

// WideQuestion is a question about one or more sites.
type WideQuestion struct {
	Sites   []string `query:"site,explode" maxItems:"50" doc:"Sites, as the payloads name them; may be repeated. Without it, all sites, of which there may be 50" example:"[\"oslo-1\"]"`
	Cluster string   `query:"cluster" maxLength:"200" doc:"Only this cluster, of one site; without it, sites as a whole" example:"gpu-a"`
	From    string   `query:"from" default:"now-7d" maxLength:"40" doc:"Beginning: now-7d, now-1mo/mo, a date, a local time or an RFC 3339 time" example:"2026-03-01"`
	To      string   `query:"to" default:"now" maxLength:"40" doc:"End, which is not included; the same forms" example:"2026-03-08"`
	Zone    string   `query:"tz" maxLength:"64" doc:"IANA time zone of dates, local times and buckets; that of the sites by default, or UTC when they have several" example:"Europe/Oslo"`
}

// asked is a question that was understood.
type asked struct {
	scopes []store.ReadingScope // at least one
	times  kpi.Range
	zone   *time.Location
	now    time.Time
}

// scope is that of a question about one site.
func (a *asked) scope() store.ReadingScope { return a.scopes[0] }

// sites are the names of the sites.
func (a *asked) sites() []string {
	list := make([]string, len(a.scopes))
	for i, scope := range a.scopes {
		list[i] = scope.Site
	}
	return list
}

// cluster is the cluster of the question; nil for none.
func (a *asked) cluster() *string {
	if a.scopes[0].Cluster == "" {
		return nil
	}
	return &a.scopes[0].Cluster
}

// wanted is the time in seconds that readings of all sites should cover in a
// range.
func (a *asked) wanted(r kpi.Range) float64 { return kpi.Wanted(r, a.now) * float64(len(a.scopes)) }

// understand reads a question about one site. Its error is a *web.Problem that
// names the parameter, or that the site is not known.
func (f *Figures) understand(ctx context.Context, q *Question) (asked, error) {
	return f.understandWide(ctx, &WideQuestion{Sites: []string{q.Site}, Cluster: q.Cluster, From: q.From, To: q.To, Zone: q.Zone})
}

// maxSites bounds the sites of one question.
const maxSites = 50

// understandWide reads a question, as understand does.
func (f *Figures) understandWide(ctx context.Context, q *WideQuestion) (asked, error) {
	sites, err := f.sitesOf(ctx, q.Sites)
	if err != nil {
		return asked{}, err
	}
	if q.Cluster != "" && len(sites) > 1 {
		return asked{}, web.InvalidParameter("cluster", "needs exactly one site")
	}
	a, name := asked{now: time.Now()}, q.Zone
	for i := range sites {
		a.scopes = append(a.scopes, store.ReadingScope{Site: sites[i].ID, Cluster: q.Cluster})
		if q.Zone == "" && i > 0 && sites[i].Zone != name {
			name = time.UTC.String()
			continue
		}
		if q.Zone == "" && i == 0 {
			name = sites[i].Zone
		}
	}
	if a.zone, err = LoadZone(name); err != nil {
		return asked{}, web.InvalidParameter("tz", err.Error())
	}
	a.times, err = kpi.ParseRange(q.From, q.To, a.now, a.zone)
	var wrong *kpi.RangeError
	if asRangeError(err, &wrong) {
		return asked{}, web.InvalidParameter(wrong.End, wrong.Reason)
	}
	return a, err
}

// sitesOf returns the sites with the given names, each once, or all sites for no
// name.
func (f *Figures) sitesOf(ctx context.Context, names []string) ([]store.Site, error) {
	if len(names) == 0 {
		sites, err := f.store.Sites(ctx, "", maxSites+1)
		switch {
		case err != nil:
			return nil, err
		case len(sites) == 0:
			return nil, &store.NotFoundError{Noun: store.NounSite}
		case len(sites) > maxSites:
			return nil, web.InvalidParameter("site", fmt.Sprintf("must name the sites, because there are more than %d", maxSites))
		}
		return sites, nil
	}
	if len(names) > maxSites {
		return nil, web.InvalidParameter("site", fmt.Sprintf("must be given at most %d times", maxSites))
	}
	var sites []store.Site
	for _, name := range names {
		if slices.ContainsFunc(sites, func(s store.Site) bool { return s.ID == name }) {
			continue
		}
		if name == "" || utf8.RuneCountInString(name) > 200 {
			return nil, web.InvalidParameter("site", "must have 1 to 200 characters")
		}
		site, err := f.store.Site(ctx, name)
		if err != nil {
			return nil, err
		}
		sites = append(sites, site)
	}
	return sites, nil
}

// fill adds up what counts of all sites of a question by buckets.
func (f *Figures) fill(ctx context.Context, a *asked, buckets []kpi.Range) (*kpi.Series, error) {
	total := kpi.NewSeries(buckets)
	for _, scope := range a.scopes {
		one := kpi.NewSeries(buckets)
		if err := f.store.FillSeries(ctx, scope, one); err != nil {
			return nil, err
		}
		for i := range buckets {
			_, sums, covered := one.At(i)
			total.AddSums(i, sums, covered)
		}
	}
	return total, nil
}

// Site is a site of which there are readings.
type Site struct {
	ID                 string   `json:"site_id" doc:"Name of the site in payloads" example:"oslo-1"`
	Zone               string   `json:"zone" doc:"IANA time zone of the site" example:"Europe/Oslo"`
	ZoneAssumed        bool     `json:"zone_assumed" doc:"true: nobody has said in which zone the site is, so UTC is assumed" example:"false"`
	FirstSeenAt        string   `json:"first_seen_at" format:"date-time" doc:"When the first reading of the site was stored" example:"2026-03-01T11:00:00Z"`
	Country            *string  `json:"country" doc:"Country, by its code of ISO 3166-1" example:"NO"`
	Currency           *string  `json:"currency" doc:"Currency of prices, by its code of ISO 4217" example:"EUR"`
	PUECategory        *int     `json:"pue_category" doc:"Category 1, 2 or 3 of ISO/IEC 30134-2, by where the IT energy is metered; null: not stated" example:"2"`
	MaxPUE             *float64 `json:"max_pue" doc:"Limit of PUE" example:"1.5"`
	MaxP95InletC       *float64 `json:"max_p95_rack_inlet_c" doc:"Limit of the 95th percentile of the rack inlet temperatures, in °C" example:"27"`
	MinCompletenessPct *float64 `json:"min_completeness_pct" doc:"Share of the time that readings should cover at least, in %" example:"95"`
	StaleAfterSeconds  *int     `json:"stale_after_seconds" doc:"Age of the newest reading from which on the site is stale, in seconds" example:"900"`
}

// SiteView returns a site as clients see it.
func SiteView(s *store.Site) Site {
	return Site{
		ID: s.ID, Zone: s.Zone, ZoneAssumed: s.ZoneAssumed, FirstSeenAt: stamp(s.FirstSeenAt, time.UTC),
		Country: s.Country, Currency: s.Currency, PUECategory: s.PUECategory,
		MaxPUE: s.MaxPUE, MaxP95InletC: s.MaxP95InletC, MinCompletenessPct: s.MinCompletenessPct, StaleAfterSeconds: s.StaleAfterSeconds,
	}
}

// SiteList is one page of sites.
type SiteList struct {
	Items []Site  `json:"items" nullable:"false" doc:"Sites in the order of their names"`
	Next  *string `json:"next" doc:"Path and query of the next page; null on the last one" example:"/sites?after=oslo-1&limit=50"`
}

type (
	// SitesInput is the query of Sites.
	SitesInput struct {
		Limit int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"Maximum number of sites on a page" example:"50"`
		After string `query:"after" maxLength:"200" doc:"Only sites whose name comes after this one" example:"oslo-1"`
	}
	// SitesOutput is the answer of Sites.
	SitesOutput struct{ Body SiteList }
)

// Sites lists the sites of which there are readings.
func (f *Figures) Sites(ctx context.Context, in *SitesInput) (*SitesOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	found, err := f.store.Sites(ctx, in.After, in.Limit+1) // one extra row shows whether there is a next page
	if err != nil {
		return nil, err
	}
	page := SiteList{Items: make([]Site, 0, len(found))}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		next := nextSites(in.Limit, found[in.Limit-1].ID)
		page.Next = &next
	}
	for i := range found {
		page.Items = append(page.Items, SiteView(&found[i]))
	}
	return &SitesOutput{page}, nil
}

// Figure is one key figure of a time.
type Figure struct {
	Name            string   `json:"name" doc:"Name of the figure" example:"pue"`
	Title           string   `json:"title" doc:"What people call it" example:"PUE"`
	Unit            string   `json:"unit" doc:"Unit; empty for a ratio" example:""`
	Value           *float64 `json:"value" doc:"The figure, not rounded; null when less than half of the time has readings with what it needs" example:"1.31"`
	Quality         string   `json:"quality" enum:"complete,partial,not enough" doc:"complete from 90 % of the time on, partial from 50 %" example:"complete"`
	CompletenessPct float64  `json:"completeness_pct" doc:"Share of the time, up to now, that readings with what it needs cover, in %" example:"99.5"`
	Better          string   `json:"better" enum:"lower,higher,neutral" doc:"Which way it should move; neutral when it moves with the load" example:"lower"`
	Formula         string   `json:"formula" doc:"How it is computed" example:"facility energy / IT energy"`
	Standard        string   `json:"standard" doc:"Standard that defines it; empty for none" example:"ISO/IEC 30134-2:2016"`
	Needs           string   `json:"needs" doc:"Optional fields without which a reading is left out; empty for none" example:""`
}

// KPIAnswer holds the key figures of a time.
type KPIAnswer struct {
	Sites           []string `json:"sites" nullable:"false" doc:"Sites. Energies are their sum, ratios are ratios of sums, and other means are weighted with the time of each site" example:"[\"oslo-1\"]"`
	Cluster         *string  `json:"cluster" doc:"Cluster; null for sites as a whole" example:"gpu-a"`
	From            string   `json:"from" format:"date-time" doc:"Beginning" example:"2026-03-01T00:00:00+01:00"`
	To              string   `json:"to" format:"date-time" doc:"End, which is not included" example:"2026-03-08T00:00:00+01:00"`
	Zone            string   `json:"zone" doc:"IANA time zone in which the question was read" example:"Europe/Oslo"`
	InterimPUE      bool     `json:"interim_pue" doc:"true: the time is shorter than the twelve months of ISO/IEC 30134-2, so its PUE is an interim PUE" example:"true"`
	CompletenessPct float64  `json:"completeness_pct" doc:"Share of the time, up to now, that at least one reading covers, in %" example:"99.5"`
	Readings        int      `json:"readings" doc:"Readings, or parts of them, that count and begin in the time" example:"168"`
	Figures         []Figure `json:"figures" nullable:"false" doc:"The key figures"`
}

type (
	// KPIInput is the query of KPIs.
	KPIInput struct{ WideQuestion }
)

// KPIs computes the key figures of a site or a cluster.
func (f *Figures) KPIs(ctx context.Context, in *KPIInput) (*KPIAnswer, error) {
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
	return &answer, nil
}

func (f *Figures) kpis(ctx context.Context, a *asked) (KPIAnswer, error) {
	series, err := f.fill(ctx, a, []kpi.Range{a.times})
	if err != nil {
		return KPIAnswer{}, err
	}
	_, sums, covered := series.At(0)
	wanted := a.wanted(a.times)
	answer := KPIAnswer{
		Sites: a.sites(), Cluster: a.cluster(), From: stamp(a.times.From, a.zone), To: stamp(a.times.To, a.zone), Zone: a.zone.String(),
		InterimPUE: a.times.From.AddDate(1, 0, 0).After(a.times.To), CompletenessPct: share(covered, wanted), Readings: sums.Readings,
	}
	for _, k := range kpi.Definitions() {
		figure := k.Compute(sums, covered, wanted)
		answer.Figures = append(answer.Figures, Figure{
			Name: k.Name, Title: k.Title, Unit: k.Unit, Value: figure.Value, Quality: string(figure.Quality), CompletenessPct: figure.CompletenessPct,
			Better: string(k.Better), Formula: k.Formula, Standard: k.Standard, Needs: k.Needs,
		})
	}
	return answer, nil
}

// Bucket is one interval of a trend.
type Bucket struct {
	From            string              `json:"from" format:"date-time" doc:"Beginning" example:"2026-03-01T00:00:00+01:00"`
	To              string              `json:"to" format:"date-time" doc:"End, which is not included" example:"2026-03-02T00:00:00+01:00"`
	CompletenessPct float64             `json:"completeness_pct" doc:"Share of the interval, up to now, that at least one reading covers, in %" example:"100"`
	Values          map[string]*float64 `json:"values" doc:"The figures by their names; null where there are not enough readings" example:"{\"pue\":1.31}"`
}

// TrendAnswer holds figures by intervals.
type TrendAnswer struct {
	Sites   []string `json:"sites" nullable:"false" doc:"Sites" example:"[\"oslo-1\"]"`
	Cluster *string  `json:"cluster" doc:"Cluster; null for sites as a whole" example:"gpu-a"`
	Zone    string   `json:"zone" doc:"IANA time zone of the intervals" example:"Europe/Oslo"`
	Bucket  string   `json:"bucket" enum:"raw,15m,hour,day,week,month" doc:"Length of the intervals; raw: they begin and end where readings do" example:"day"`
	Items   []Bucket `json:"items" nullable:"false" doc:"Intervals in the order of time, without gaps; the first and the last end with the range"`
}

type (
	// TrendInput is the query of Trends.
	TrendInput struct {
		WideQuestion
		Bucket  string   `query:"bucket" enum:"auto,raw,15m,hour,day,week,month" default:"auto" doc:"Length of the intervals on the clock of the zone; days of a clock change have 23 or 25 hours. raw, for one site: intervals begin and end where its readings do" example:"day"`
		Metrics []string `query:"metric" maxItems:"30" doc:"Names of the figures, as /kpis has them, separated by commas; pue, facility_energy_kwh and it_energy_kwh by default" example:"[\"pue\"]"`
	}
)

// maxBuckets bounds the intervals of one answer: a year of hours.
const maxBuckets = 366 * 24

// Trends computes key figures by intervals.
func (f *Figures) Trends(ctx context.Context, in *TrendInput) (*TrendAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	t, err := f.trend(ctx, in)
	if err != nil {
		return nil, err
	}
	answer := TrendAnswer{Sites: t.sites(), Cluster: t.cluster(), Zone: t.zone.String(), Bucket: t.bucket.Name(), Items: make([]Bucket, t.series.Len())}
	for i := range answer.Items {
		times, sums, covered := t.series.At(i)
		wanted := t.wanted(times)
		item := Bucket{From: stamp(times.From, t.zone), To: stamp(times.To, t.zone), CompletenessPct: share(covered, wanted), Values: map[string]*float64{}}
		for _, k := range t.metrics {
			item.Values[k.Name] = k.Compute(sums, covered, wanted).Value
		}
		answer.Items[i] = item
	}
	return &answer, nil
}

// trend is a computed trend, from which answers and tables are made.
type trend struct {
	asked
	metrics []kpi.KPI
	bucket  kpi.Bucket
	series  *kpi.Series
}

func (f *Figures) trend(ctx context.Context, in *TrendInput) (t trend, err error) {
	if t.metrics, err = definitionsOf(in.Metrics); err != nil {
		return t, err
	}
	if t.asked, err = f.understandWide(ctx, &in.WideQuestion); err != nil {
		return t, err
	}
	t.bucket = bucketOf(in.Bucket, t.times)
	if t.bucket.IsRaw() {
		t.series, err = f.rawSeries(ctx, &t.asked)
		if auto := in.Bucket != t.bucket.Name(); err == nil || !auto || !isTooFine(err) {
			return t, err
		}
		t.bucket = kpi.Quarter
	}
	if n := t.bucket.Count(t.times); n > maxBuckets {
		return t, web.InvalidParameter("bucket", fmt.Sprintf("would make about %d intervals of this range, and an answer has at most %d; choose a longer one, or a shorter range", n, maxBuckets))
	}
	t.series, err = f.fill(ctx, &t.asked, t.bucket.Divide(t.times, t.zone))
	return t, err
}

// rawSeries divides the range where pieces of readings that count begin and end.
// Its error may be isTooFine.
func (f *Figures) rawSeries(ctx context.Context, a *asked) (*kpi.Series, error) {
	if len(a.scopes) > 1 {
		return nil, tooFine("raw is for one site; name it, or choose a longer interval")
	}
	found, err := f.store.Readings(ctx, a.scope(), a.times, "", store.ReadingKey{}, maxBuckets+1)
	if err != nil {
		return nil, err
	}
	if len(found) > maxBuckets {
		return nil, tooFine(fmt.Sprintf("is raw, and the range has more than %d readings; choose an interval, or a shorter range", maxBuckets))
	}
	type pieceOf struct {
		values kpi.Values
		times  kpi.Range
	}
	var pieces []pieceOf
	edges := []time.Time{a.times.From, a.times.To}
	err = f.store.Pieces(ctx, a.scope(), a.times, func(v *kpi.Values, times kpi.Range) {
		pieces = append(pieces, pieceOf{*v, times})
		edges = append(edges, times.From, times.To)
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(edges, time.Time.Compare)
	var buckets []kpi.Range
	for i, edge := range edges[1:] {
		if edge.After(edges[i]) {
			buckets = append(buckets, kpi.Range{From: edges[i], To: edge})
		}
	}
	series := kpi.NewSeries(buckets)
	for i := range pieces {
		series.Add(&pieces[i].values, pieces[i].times)
	}
	return series, nil
}
