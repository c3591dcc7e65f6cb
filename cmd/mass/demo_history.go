package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/simulate"
)

const (
	historyDays  = 60
	historyBatch = 480 // submissions of one call
)

// demoHistory submits the days before the demo day as a client does that brings
// its history: in batches, under keys, so that the next run adds nothing. It then
// describes the sites, and prints how the measure shows in their figures.
func demoHistory(ctx context.Context, api devClient, seed uint64, day time.Time, out io.Writer) error {
	past := simulate.Past(seed, day, historyDays)
	fmt.Fprintf(out, "\nHistory: %d days of both sites by the hour, with a measure, a gap, a correction and what the clocks did.\n", historyDays)
	bar := newBar(out, len(past.Submissions)+len(past.Corrections), "stored")
	for _, list := range [][]simulate.Submission{past.Submissions, past.Corrections} {
		for len(list) > 0 {
			n := min(historyBatch, len(list))
			if err := submitHistory(ctx, api, list[:n]); err != nil {
				return err
			}
			bar.add(n)
			list = list[n:]
		}
	}
	bar.finish()
	for i := range past.Sites {
		if err := untilRead(ctx, api, &past, &past.Sites[i]); err != nil {
			return err
		}
		if err := describeSite(ctx, api, &past.Sites[i]); err != nil {
			return err
		}
	}
	return printHistory(ctx, api, &past, out)
}

func submitHistory(ctx context.Context, api devClient, list []simulate.Submission) error {
	var body bytes.Buffer
	body.WriteByte('[')
	for i, s := range list {
		if i > 0 {
			body.WriteByte(',')
		}
		body.Write(s.Body)
	}
	body.WriteByte(']')
	var answer struct {
		Items []struct {
			Status  int             `json:"status"`
			Problem json.RawMessage `json:"problem"`
		} `json:"items"`
	}
	status, err := api.call(ctx, http.MethodPost, "/mass-requests/batch", body.Bytes(), &answer)
	if err != nil {
		return err
	}
	if status >= http.StatusMultipleChoices {
		return fmt.Errorf("a batch of the history was answered with status %d", status)
	}
	for i, item := range answer.Items {
		if item.Status != http.StatusCreated {
			return fmt.Errorf("submission %q of the history was answered with status %d: %s", list[i].Name, item.Status, item.Problem)
		}
	}
	return nil
}

// kpiAnswer has the members of the answer of /kpis that the demo reads.
type kpiAnswer struct {
	Readings int `json:"readings"`
	Figures  []struct {
		Name  string   `json:"name"`
		Value *float64 `json:"value"`
	} `json:"figures"`
}

// value returns a figure as the demo prints it.
func (a *kpiAnswer) value(name, format string, scale float64) string {
	for _, f := range a.Figures {
		if f.Name == name && f.Value != nil {
			return fmt.Sprintf(format, *f.Value*scale)
		}
	}
	return "–"
}

// getFigures asks about a time of a site. The answer is empty while there is no
// reading of it.
func getFigures(ctx context.Context, api devClient, site string, from, to time.Time) (answer kpiAnswer, err error) {
	query := url.Values{"site": {site}, "from": {from.Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)}}
	status, err := api.call(ctx, http.MethodGet, "/kpis?"+query.Encode(), nil, &answer)
	if err == nil && status != http.StatusOK && status != http.StatusNotFound {
		err = fmt.Errorf("the figures of %s were answered with status %d", site, status)
	}
	return answer, err
}

// untilRead waits until the readings of the history are there.
func untilRead(ctx context.Context, api devClient, past *simulate.History, site *simulate.PastSite) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		answer, err := getFigures(ctx, api, site.ID, past.From, past.To)
		if err != nil || answer.Readings >= site.Hours {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// describeSite sets the zone of a site, and adds its notes if it has none.
func describeSite(ctx context.Context, api devClient, site *simulate.PastSite) error {
	path := "/sites/" + url.PathEscape(site.ID)
	settings, err := json.Marshal(map[string]any{"zone": site.Zone, "country": site.Country, "currency": site.Currency})
	if err != nil {
		return err
	}
	var ignored, notes struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := api.must(ctx, http.MethodPatch, path, settings, &ignored); err != nil {
		return err
	}
	if err := api.must(ctx, http.MethodGet, path+"/notes", nil, &notes); err != nil || len(notes.Items) > 0 {
		return err
	}
	for _, note := range site.Notes {
		members := map[string]any{"kind": note.Kind, "from": note.From.Format(time.RFC3339), "text": note.Text}
		if !note.To.IsZero() {
			members["to"] = note.To.Format(time.RFC3339)
		}
		body, err := json.Marshal(members)
		if err != nil {
			return err
		}
		if err := api.must(ctx, http.MethodPost, path+"/notes", body, &ignored); err != nil {
			return err
		}
	}
	return nil
}

// must makes a call whose answer must be a success.
func (c devClient) must(ctx context.Context, method, path string, body []byte, into any) error {
	status, err := c.call(ctx, method, path, body, into)
	if err == nil && status >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s %s was answered with status %d", method, path, status)
	}
	return err
}

// printHistory prints the key figures of both halves of the history.
func printHistory(ctx context.Context, api devClient, past *simulate.History, out io.Writer) error {
	middle := past.From.AddDate(0, 0, historyDays/2)
	tw := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "\nsite\tfrom\tto\treadings\tPUE\tfacility MWh\tIT MWh\tcooling share %\toutside °C\t")
	for _, site := range past.Sites {
		for _, half := range [][2]time.Time{{past.From, middle}, {middle, past.To}} {
			answer, err := getFigures(ctx, api, site.ID, half[0], half[1])
			if err != nil {
				return err
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t\n", site.ID, half[0].Format(time.DateOnly), half[1].Format(time.DateOnly), answer.Readings,
				answer.value("pue", "%.3f", 1), answer.value("facility_energy_kwh", "%.1f", 1e-3), answer.value("it_energy_kwh", "%.1f", 1e-3),
				answer.value("cooling_share_pct", "%.1f", 1), answer.value("outdoor_dry_bulb_c", "%.1f", 1))
		}
	}
	return tw.Flush()
}
