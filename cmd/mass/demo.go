package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leomutto/pilot-in-a-box/internal/figures"
	"github.com/leomutto/pilot-in-a-box/internal/simulate"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

// pollEvery is how often the demo looks at requests that have not ended.
const pollEvery = 50 * time.Millisecond

// ending is the outcome of one submission of the demo.
type ending struct {
	simulate.Submission
	id      int64
	outcome simulate.Outcome
	answer  demoRequest
}

// demoRequest has the members of a MassRequest that the demo reads.
type demoRequest struct {
	ID     int64   `json:"id"`
	Status string  `json:"status"`
	SiteID *string `json:"site_id"`
	Result *struct {
		Derived *struct {
			PUE       float64 `json:"pue"`
			EnergyKWh float64 `json:"energy_kwh"`
			CostUSD   float64 `json:"cost_usd"`
			CO2eKg    float64 `json:"co2e_kg"`
		} `json:"derived"`
	} `json:"result"`
}

// demo submits a simulated day over HTTP, as a client would, waits until every
// accepted request has ended, and prints the results.
func demo(ctx context.Context, api devClient, seed uint64, out io.Writer) error {
	day := time.Now().UTC().AddDate(0, 0, -1)
	submissions := simulate.Day(seed, day)
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	say("\nDemo: %d requests from two sites on %s; some are free-form and some are invalid on purpose.", len(submissions), day.Format(time.DateOnly))
	started := time.Now()
	bar := newBar(out, len(submissions), "ended")
	endings := make([]ending, len(submissions))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, s := range submissions {
		g.Go(func() error {
			e, err := follow(gctx, api, s)
			endings[i] = e
			bar.add(1)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	bar.finish()
	say("All requests ended after %.1f s.\n", time.Since(started).Seconds())
	if err := printOutcomes(out, endings); err != nil {
		return err
	}
	if err := printSites(out, endings); err != nil {
		return err
	}
	if err := demoHistory(ctx, api, seed, day, out); err != nil {
		return err
	}
	if api.advised {
		if err := printAdvice(ctx, api, endings, out); err != nil {
			return err
		}
	}
	inviteTo(api, out)
	return nil
}

// adviceTime bounds how long the demo waits for the recommendations of a site.
const adviceTime = 30 * time.Second

// printAdvice prints what BioCore recommends about the newest window of each
// site that has an answer.
func printAdvice(ctx context.Context, api devClient, endings []ending, out io.Writer) error {
	sites := map[string]bool{}
	for _, e := range endings {
		if e.answer.SiteID != nil && e.answer.Result != nil && e.answer.Result.Derived != nil {
			sites[*e.answer.SiteID] = true
		}
	}
	fmt.Fprintln(out, "\nRecommendations of BioCore, which MASS shows and never acts on:")
	tw := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, site := range slices.Sorted(maps.Keys(sites)) {
		advice, err := newestAdvice(ctx, api, site)
		if err != nil {
			return err
		}
		if advice == nil {
			fmt.Fprintf(tw, "%s\tno answer within %v\n", site, adviceTime)
			continue
		}
		fmt.Fprintf(tw, "%s\twindow from %s\t%s %s\t\n", site, advice.Start, advice.Model.Name, advice.Model.Version)
		for _, r := range advice.Items {
			fmt.Fprintf(tw, "\t%s\t%s %.4g → %.4g %s\t%s\n", r.Category, r.Action.Target, r.Action.Current, r.Action.Suggested, r.Action.Units, r.Explainability.Narrative)
		}
		if len(advice.Items) == 0 {
			fmt.Fprintf(tw, "\tnothing to recommend\n")
		}
	}
	return tw.Flush()
}

// newestAdvice waits for an answer of BioCore about a site; nil if there is none
// in time.
func newestAdvice(ctx context.Context, api devClient, site string) (*figures.Recommendation, error) {
	query := url.Values{"site": {site}, "from": {"now-2d"}, "state": {string(jobs.RecommendationAvailable)}, "limit": {"1"}}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for deadline := time.Now().Add(adviceTime); time.Now().Before(deadline); {
		var page figures.RecommendationList
		status, err := api.call(ctx, http.MethodGet, figures.RecommendationsPath+"?"+query.Encode(), nil, &page)
		switch {
		case err != nil:
			return nil, err
		case status != http.StatusOK && status != http.StatusNotFound: // the site is not known before its first reading is
			return nil, fmt.Errorf("the recommendations of %s were answered with status %d", site, status)
		case len(page.Items) > 0:
			return &page.Items[0], nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
	return nil, nil
}

// follow submits one request and waits until it has ended.
func follow(ctx context.Context, api devClient, s simulate.Submission) (ending, error) {
	e := ending{Submission: s}
	status, err := api.call(ctx, http.MethodPost, "/mass-requests/", s.Body, &e.answer)
	if err != nil {
		return e, err
	}
	if status == http.StatusUnprocessableEntity {
		e.outcome = simulate.Refused
		return e, nil
	}
	if status != http.StatusCreated {
		return e, fmt.Errorf("submission %q was answered with status %d", s.Name, status)
	}
	e.id = e.answer.ID
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		status, err := api.call(ctx, http.MethodGet, fmt.Sprintf("/mass-requests/%d", e.id), nil, &e.answer)
		if err != nil {
			return e, err
		}
		if status != http.StatusOK {
			return e, fmt.Errorf("request %d was answered with status %d", e.id, status)
		}
		if e.answer.Status != "pending" && e.answer.Status != "processing" {
			e.outcome = simulate.Outcome(e.answer.Status)
			return e, nil
		}
		select {
		case <-ctx.Done():
			return e, ctx.Err()
		case <-tick.C:
		}
	}
}

// call makes one HTTP request and decodes a successful answer.
func (c devClient) call(ctx context.Context, method, path string, body []byte, into any) (status int, err error) {
	url := c.url + path
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", method, url, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode >= http.StatusMultipleChoices {
		_, err = io.Copy(io.Discard, res.Body)
		return res.StatusCode, err
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		return res.StatusCode, fmt.Errorf("%s %s: read the response: %w", method, url, err)
	}
	return res.StatusCode, nil
}

// printOutcomes compares how many requests ended in each way with how many
// should have.
func printOutcomes(out io.Writer, endings []ending) error {
	expected, got := map[simulate.Outcome]int{}, map[simulate.Outcome]int{}
	for _, e := range endings {
		expected[e.Expect]++
		got[e.outcome]++
	}
	tw := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "outcome\texpected\tgot\t")
	for _, o := range []simulate.Outcome{simulate.Done, simulate.Failed, simulate.Refused} {
		fmt.Fprintf(tw, "%s\t%d\t%d\t\n", o, expected[o], got[o])
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, e := range endings {
		if e.outcome != e.Expect {
			fmt.Fprintf(out, "unexpected: %s (request %d) is %s, not %s\n", e.Name, e.id, e.outcome, e.Expect)
		}
	}
	return nil
}

// printSites prints the totals per site of the figures that the workers
// derived.
func printSites(out io.Writer, endings []ending) error {
	type total struct {
		site                 string
		windows              int
		pue, kwh, cost, co2e float64
	}
	sites := map[string]*total{}
	for _, e := range endings {
		if e.answer.Result == nil || e.answer.Result.Derived == nil || e.answer.SiteID == nil {
			continue
		}
		d := e.answer.Result.Derived
		t := sites[*e.answer.SiteID]
		if t == nil {
			t = &total{site: *e.answer.SiteID}
			sites[t.site] = t
		}
		t.windows++
		t.pue += d.PUE
		t.kwh += d.EnergyKWh
		t.cost += d.CostUSD
		t.co2e += d.CO2eKg
	}
	list := make([]*total, 0, len(sites))
	for _, t := range sites {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *total) int { return cmp.Compare(a.site, b.site) })
	tw := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "\nsite\twindows\tmean PUE\tenergy kWh\tcost USD\tCO2e kg\t")
	for _, t := range list {
		fmt.Fprintf(tw, "%s\t%d\t%.3f\t%.0f\t%.0f\t%.0f\t\n", t.site, t.windows, t.pue/float64(t.windows), t.kwh, t.cost, t.co2e)
	}
	return tw.Flush()
}
