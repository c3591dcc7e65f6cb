package simulate

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// History is the past of the two sites before the day of the demo: a window of
// each hour, with what a pilot meets: a measure, a gap in the data, readings that
// were corrected later, and the clock changes of its time.
type History struct {
	From, To    time.Time // whole UTC days
	Submissions []Submission
	Corrections []Submission // of windows that Submissions have; to be submitted after them
	Sites       []PastSite
}

// PastSite is what people know of a site.
type PastSite struct {
	ID, Zone, Country, Currency string
	Hours                       int // windows, each counted once
	Notes                       []PastNote
}

// PastNote is a note about a time of a site.
type PastNote struct {
	Kind     string // as the API names it
	From, To time.Time
	Text     string
}

const (
	hour           = time.Hour
	gapHours       = 9
	correctedHours = 6
)

// Past returns the history of a number of days, at least 28, up to the UTC day
// that contains day. The measure is in their middle, at the first site.
func Past(seed uint64, day time.Time, days int) History {
	h := History{To: day.UTC().Truncate(24 * time.Hour)}
	h.From = h.To.AddDate(0, 0, -days)
	measure := h.From.AddDate(0, 0, days/2)
	gap := h.To.AddDate(0, 0, -days/3).Add(7 * hour)
	corrected := h.To.AddDate(0, 0, -days/6).Add(10 * hour)
	for i, s := range demoSites() {
		past := PastSite{ID: s.assets.SiteID, Zone: s.zone, Country: s.country, Currency: "USD"}
		for at := h.From; at.Before(h.To); at = at.AddDate(0, 0, 1) {
			if i == 0 && !at.Before(measure) {
				s.plant = demoSites()[i].plant.withMeasure()
			}
			n := newNoise(random(seed, at, i))
			for start := at; start.Before(at.AddDate(0, 0, 1)); start = start.Add(hour) {
				doc := s.document(n, start, hour)
				switch {
				case i == 0 && !start.Before(gap) && start.Before(gap.Add(gapHours*hour)):
					continue
				case i == 1 && !start.Before(corrected) && start.Before(corrected.Add(correctedHours*hour)):
					h.Corrections = append(h.Corrections, h.submission(seed, start, doc, "corrected"))
					doc = misread(doc)
				}
				past.Hours++
				h.Submissions = append(h.Submissions, h.submission(seed, start, doc, "first"))
			}
		}
		if i == 0 {
			past.Notes = []PastNote{
				{Kind: "measure", From: measure, Text: "Variable-speed drives on the fans of hall 3, and supply air raised by 0.5 K"},
				{Kind: "maintenance", From: gap, To: gap.Add(gapHours * hour), Text: "The gateway of the meters was replaced; there are no readings"},
			}
		} else {
			past.Notes = []PastNote{
				{Kind: "calibration", From: corrected, To: corrected.Add(correctedHours * hour), Text: "The facility meter read 3 % too high; the readings were corrected"},
			}
		}
		h.Sites = append(h.Sites, past)
	}
	return h
}

// submission makes the body of one item of a batch submission. The same history
// has the same keys, so that it is stored once.
func (h *History) submission(seed uint64, start time.Time, doc *signals.Document, version string) Submission {
	name := doc.Request.Assets.SiteID + " " + start.Format("2006-01-02 15:04") + " " + version
	body, err := json.Marshal(struct {
		Payload any    `json:"payload"`
		Key     string `json:"idempotency_key"`
	}{doc, fmt.Sprintf("demo-%d-%s-%s-%s", seed, h.To.Format("20060102"), doc.Request.RequestID, version)})
	if err != nil {
		panic(fmt.Sprintf("simulate: encode %s: %v", name, err))
	}
	return Submission{Name: name, Body: body, Expect: Done}
}

// misread returns a copy of a document whose facility meter reads 3 % too much.
func misread(doc *signals.Document) *signals.Document {
	wrong := *doc
	energy := &wrong.Request.Signals.Energy
	energy.FacilityPowerKW = number(1.03*energy.FacilityPowerKW.Float(), 1)
	energy.PUECurrent = number(1.03*energy.PUECurrent.Float(), 3)
	return &wrong
}
