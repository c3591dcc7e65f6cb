package simulate

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs/pipeline"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

func TestHistoryHasEachHourOnce(t *testing.T) {
	t.Parallel()
	h := Past(1, days[3], 60)
	if again := Past(1, days[3].Add(time.Hour), 60); !reflect.DeepEqual(h, again) {
		t.Error("the same seed and day gave two different histories")
	}
	if got, want := h.From, h.To.AddDate(0, 0, -60); !got.Equal(want) {
		t.Errorf("from %s, want %s", got, want)
	}
	windows := map[string]map[string]int{}
	keys := map[string]bool{}
	collect := func(list []Submission) {
		for _, s := range list {
			var b struct {
				Payload json.RawMessage `json:"payload"`
				Key     string          `json:"idempotency_key"`
			}
			if err := json.Unmarshal(s.Body, &b); err != nil || keys[b.Key] || b.Key == "" {
				t.Fatalf("%s: key %q, %v", s.Name, b.Key, err)
			}
			keys[b.Key] = true
			doc, faults := signals.Decode(b.Payload)
			if err := faults.Err(); err != nil {
				t.Fatalf("%s: %v", s.Name, err)
			}
			if _, err := pipeline.Run(t.Context(), b.Payload); err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
			site := doc.Request.Assets.SiteID
			if windows[site] == nil {
				windows[site] = map[string]int{}
			}
			windows[site][string(doc.Request.TimeWindow.StartUTC)]++
		}
	}
	collect(h.Submissions)
	for i, want := range []int{60*24 - 9, 60 * 24} {
		site := h.Sites[i]
		if got := len(windows[site.ID]); got != want || site.Hours != want {
			t.Errorf("%s has %d windows and says %d, want %d", site.ID, got, site.Hours, want)
		}
		if zone, err := time.LoadLocation(site.Zone); err != nil || zone == time.UTC {
			t.Errorf("%s is in the zone %q: %v", site.ID, site.Zone, err)
		}
	}
	collect(h.Corrections)
	twice := 0
	for _, n := range windows[h.Sites[1].ID] {
		if n == 2 {
			twice++
		}
	}
	if twice != 6 || len(h.Corrections) != 6 {
		t.Errorf("%d windows of %d corrections are there twice, want 6", twice, len(h.Corrections))
	}
}

// TestTheMeasureOfTheHistorySavesEnergy runs the same plant with and without the
// measure.
func TestTheMeasureOfTheHistorySavesEnergy(t *testing.T) {
	t.Parallel()
	p := demoSites()[0].plant
	for _, outsideC := range []float64{-5, 10, 30} {
		before, after := p.run(700, p.setpointC, outsideC), p.withMeasure().run(700, p.withMeasure().setpointC, outsideC)
		if saved := before.facility() - after.facility(); saved < 5 || saved > 60 {
			t.Errorf("at %v °C the measure saves %v kW of %v", outsideC, saved, before.facility())
		}
	}
	if got := p.withMeasure().inlets(p.itRatedKW, p.withMeasure().setpointC).p95C(); got > recommendedInletC+1 {
		t.Errorf("the racks get %v °C", got)
	}
}
