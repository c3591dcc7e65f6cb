package simulate

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// freeForm returns payloads as people and older systems send them: with keys in
// every style, numbers as text, and accents as separate characters.
func freeForm(rng *rand.Rand, day time.Time) []Submission {
	kinds := []struct {
		name    string
		payload func(*rand.Rand, time.Time) map[string]any
	}{
		{"inspection", inspection},
		{"sensor export", sensorExport},
		{"shift note", shiftNote},
		{"maintenance", maintenance},
	}
	var out []Submission
	for hour := range 5 {
		for _, kind := range kinds {
			at := day.Add(time.Duration(5*hour)*time.Hour + time.Duration(rng.IntN(240))*time.Minute)
			name := fmt.Sprintf("%s %d", kind.name, hour+1)
			out = append(out, submission(name, Done, jobs.Low, kind.payload(rng, at)))
		}
	}
	return out
}

func inspection(rng *rand.Rand, at time.Time) map[string]any {
	return map[string]any{
		"schema_version": "1.0-simple",
		"Site ID":        "fra-1",
		"inspectedAt":    at.Format(time.RFC3339),
		"Inspector":      "  Rene\u0301 K.  ", // NFC makes one letter of the e and its accent
		"findings": []any{
			map[string]any{"rack": fmt.Sprintf("A%02d", 1+rng.IntN(24)), "blankingPanelsMissing": rng.IntN(4)},
			map[string]any{"rack": fmt.Sprintf("B%02d", 1+rng.IntN(24)), "blankingPanelsMissing": rng.IntN(4)},
		},
	}
}

func sensorExport(rng *rand.Rand, at time.Time) map[string]any {
	return map[string]any{
		"site_id":     "iad-2",
		"clusterId":   "gpu-b",
		"exported-at": at.Format("2006-01-02 15:04"),
		// Known fields: their text becomes numbers. The serial number is not
		// one, and stays text.
		"supplyTempC": fmt.Sprintf("%.1f", 21+rng.Float64()),
		"returnTempC": fmt.Sprintf("%.1f", 33+2*rng.Float64()),
		"no_pii":      "true",
		"Serial No":   fmt.Sprintf("%08d", rng.IntN(1e8)),
	}
}

func shiftNote(rng *rand.Rand, at time.Time) map[string]any {
	notes := []string{
		"Chiller 2 back from service, trend looks normal.",
		"Two hot spots in row F after the rack move; containment door was open.",
		"Free cooling since 04:10, chillers off.",
		"Utility announced a price peak for the evening.",
	}
	return map[string]any{
		"siteId": "fra-1",
		"shift":  at.Format("2006-01-02") + " " + []string{"early", "late", "night"}[rng.IntN(3)],
		"note":   notes[rng.IntN(len(notes))],
		"tags":   []string{"handover", "ops"},
	}
}

func maintenance(rng *rand.Rand, at time.Time) map[string]any {
	return map[string]any{
		"site_id": "iad-2",
		"workOrder": map[string]any{
			"number":        fmt.Sprintf("WO-%05d", rng.IntN(1e5)),
			"equipmentType": []string{"CRAH fan", "UPS battery string", "condenser coil", "pump seal"}[rng.IntN(4)],
			"plannedStart":  at.Format(time.RFC3339),
			"plannedHours":  1 + rng.IntN(6),
		},
		"riskNotes": "read-only pilot: nothing is controlled from here",
	}
}
