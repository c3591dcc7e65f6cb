package figures

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

// ReadingsPath is where the readings are.
const ReadingsPath = "/readings"

// Reading is what one request says about one asset in one time window.
type Reading struct {
	RequestID  int64              `json:"request_id" doc:"MassRequest that left the reading" example:"42"`
	Site       string             `json:"site_id" doc:"Site" example:"oslo-1"`
	Facility   string             `json:"facility_id" doc:"Building or facility; empty when the payload names none" example:"osl-dc-1"`
	Cluster    string             `json:"cluster_id" doc:"Cluster of machines; empty when the payload names none" example:"gpu-a"`
	Zone       string             `json:"zone_id" doc:"Thermal zone or room; empty when the payload names none" example:"hall-3"`
	Start      string             `json:"start" format:"date-time" doc:"Beginning of the window, on the clock of the zone of the question" example:"2026-03-01T11:00:00+01:00"`
	End        string             `json:"end" format:"date-time" doc:"End of the window, which is not included" example:"2026-03-01T12:00:00+01:00"`
	AcceptedAt string             `json:"accepted_at" format:"date-time" doc:"When the request was stored. Of two readings of the same window the later one counts" example:"2026-03-01T11:00:02.504113Z"`
	State      string             `json:"state" enum:"counts,counts in part,replaced,superseded" doc:"Whether the reading counts for its asset" example:"counts"`
	StateSite  string             `json:"state_for_site" enum:"counts,counts in part,replaced,superseded,beside its site" doc:"Whether the reading counts for its site" example:"beside its site"`
	Why        string             `json:"why" doc:"The states in words" example:"for its asset it counts for all of its window; for its site it does not count, because the site has readings of its own"`
	Warnings   int                `json:"warnings" doc:"Number of warnings in the result of the request" example:"0"`
	Values     map[string]float64 `json:"values" doc:"The numbers that the payload gives, by their names there. outdoor_wet_bulb_c may be derived; water_l_per_hour is the water of the window divided by its length" example:"{\"it_load_kw\":812.5,\"facility_power_kw\":1056.25}"`
}

// ReadingList is one page of readings.
type ReadingList struct {
	Site  string    `json:"site" doc:"Site" example:"oslo-1"`
	From  string    `json:"from" format:"date-time" doc:"Beginning" example:"2026-03-01T00:00:00+01:00"`
	To    string    `json:"to" format:"date-time" doc:"End, which is not included" example:"2026-03-08T00:00:00+01:00"`
	Items []Reading `json:"items" nullable:"false" doc:"Readings whose window overlaps the time, in the order in which the windows begin"`
	Next  *string   `json:"next" doc:"Path and query of the next page; null on the last one" example:"/readings?after=1772359200000000-42&from=2026-03-01T00%3A00%3A00Z&limit=50&site=oslo-1&to=2026-03-08T00%3A00%3A00Z"`
}

type (
	// ReadingsInput is the query of Readings.
	ReadingsInput struct {
		Site    string `query:"site" required:"true" minLength:"1" maxLength:"200" doc:"Site, as the payloads name it" example:"oslo-1"`
		Cluster string `query:"cluster" maxLength:"200" doc:"Only readings of this cluster; without it, all of the site" example:"gpu-a"`
		From    string `query:"from" default:"now-7d" maxLength:"40" doc:"Beginning: now-7d, now-1mo/mo, a date, a local time or an RFC 3339 time" example:"2026-03-01"`
		To      string `query:"to" default:"now" maxLength:"40" doc:"End, which is not included; the same forms" example:"2026-03-08"`
		Zone    string `query:"tz" maxLength:"64" doc:"IANA time zone of dates and local times; the site's own by default" example:"Europe/Oslo"`
		State   string `query:"state" enum:"counts,counts in part,replaced,superseded,beside its site" doc:"Only readings in this state, for their asset or for their site" example:"replaced"`
		Limit   int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"Maximum number of readings on a page" example:"50"`
		After   string `query:"after" maxLength:"60" doc:"Where the page before ended, from its next" example:"1772359200000000-42"`
	}
)

// Readings lists the readings of a site, those that do not count included.
func (f *Figures) Readings(ctx context.Context, in *ReadingsInput) (*ReadingList, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	after, err := parseReadingKey(in.After)
	if err != nil {
		return nil, web.InvalidParameter("after", err.Error())
	}
	a, err := f.understand(ctx, in.question())
	if err != nil {
		return nil, err
	}
	found, err := f.store.Readings(ctx, a.scope(), a.times, kpi.State(in.State), after, in.Limit+1) // one extra row shows whether there is a next page
	if err != nil {
		return nil, err
	}
	page := ReadingList{Site: in.Site, From: stamp(a.times.From, a.zone), To: stamp(a.times.To, a.zone), Items: make([]Reading, 0, len(found))}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		next := nextReadings(in, a.times, &found[in.Limit-1])
		page.Next = &next
	}
	for i := range found {
		page.Items = append(page.Items, readingView(&found[i], a.zone))
	}
	return &page, nil
}

func (in *ReadingsInput) question() *Question {
	return &Question{Site: in.Site, Cluster: in.Cluster, From: in.From, To: in.To, Zone: in.Zone}
}

// nextReadings has the instants of the range, so that a range that ends now stays
// the same from page to page.
func nextReadings(in *ReadingsInput, times kpi.Range, last *store.StoredReading) string {
	query := url.Values{
		"site": {in.Site}, "from": {stamp(times.From, time.UTC)}, "to": {stamp(times.To, time.UTC)},
		"limit": {strconv.Itoa(in.Limit)}, "after": {fmt.Sprintf("%d-%d", last.From.UnixMicro(), last.RequestID)},
	}
	for name, value := range map[string]string{"cluster": in.Cluster, "tz": in.Zone, "state": in.State} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return ReadingsPath + "?" + query.Encode()
}

// parseReadingKey reads the key of a page: microseconds since 1970, and a request.
func parseReadingKey(text string) (store.ReadingKey, error) {
	if text == "" {
		return store.ReadingKey{}, nil
	}
	start, request, found := strings.Cut(text, "-")
	micro, err := strconv.ParseInt(start, 10, 64)
	id, wrong := strconv.ParseInt(request, 10, 64)
	if !found || err != nil || wrong != nil || micro < 0 || micro > maxMicro || id < 0 || fmt.Sprintf("%d-%d", micro, id) != text {
		return store.ReadingKey{}, errNoKey
	}
	return store.ReadingKey{Start: time.UnixMicro(micro).UTC(), Request: id}, nil
}

func readingView(r *store.StoredReading, zone *time.Location) Reading {
	return Reading{
		RequestID: r.RequestID, Site: r.Site, Facility: r.Facility, Cluster: r.Cluster, Zone: r.Zone,
		Start: stamp(r.From, zone), End: stamp(r.To, zone), AcceptedAt: stamp(r.Accepted, time.UTC),
		State: string(r.AssetState), StateSite: string(r.SiteState), Why: whyCounts(r), Warnings: r.Warnings, Values: r.Named(),
	}
}

// whyCounts says in words for what a reading counts.
func whyCounts(r *store.StoredReading) string {
	words := map[kpi.State]string{
		kpi.Counts:     "counts for all of its window",
		kpi.InPart:     "counts for a part of its window, because other readings count for the rest",
		kpi.Replaced:   "does not count, because a later reading has the same window",
		kpi.Superseded: "does not count, because other readings count for all of its window",
		kpi.BesideSite: "does not count, because the site has readings of its own",
	}
	if r.AssetState == r.SiteState {
		return words[r.AssetState]
	}
	return "for its asset it " + words[r.AssetState] + "; for its site it " + words[r.SiteState]
}
