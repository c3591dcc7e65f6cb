package chaos_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/leomutto/pilot-in-a-box/chaos"
)

func TestReportTellsWhichFaultsMetAViolation(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	after := func(seconds int) time.Time { return at.Add(time.Duration(seconds) * time.Second) }
	all := []chaos.Fault{{Name: "early"}, {Name: "late"}, {Name: "never"}}
	r := &chaos.Report{
		Loaded: time.Minute,
		Config: chaos.Config{
			Bound: time.Minute,
			Stage: chaos.Stage{Topology: chaos.Plain(), Required: all, Faults: all},
		},
		History: &chaos.History{Sent: []chaos.Sent{{Nonce: "a", Acked: after(1)}, {Nonce: "b", Acked: after(21)}}},
		Injections: []*chaos.Injection{
			{Fault: "early", At: after(0), Healed: after(2), Caught: 5, Drain: 1500 * time.Millisecond, With: "late", First: 500 * time.Millisecond, Longest: 2 * time.Second},
			{Fault: "late", At: after(20), Healed: after(22), Caught: 1, Drain: -1, With: "early", Tasks: 3, First: -1, Longest: time.Second},
		},
		Violations: []chaos.Violation{
			{Harm: chaos.Lost, ID: 1, Nonce: "a", Text: "gone", From: after(1), Until: after(3)},
			{Harm: chaos.Untrue, Text: "of no request"},
		},
	}
	text := r.String()
	assert.False(t, r.OK())
	assert.Equal(t, []string{"never"}, r.NotInjected())
	assert.Equal(t, 1, r.Count(chaos.Lost))
	assert.Regexp(t, `early +1 +1 +1 +0 +0 +5 +1\.5 s +1\.5 s +0\.5 s +2\.0 s`, text)
	assert.Regexp(t, `late +1 +1 +0 +0 +0 +1 +never +never +never +1\.0 s`, text)
	assert.Regexp(t, `never +0 +0 +0 +0 +0 +0 +– +– +– +–`, text)
	assert.Contains(t, text, "lost 1, doubled 0, untrue 1")
	assert.Contains(t, text, "lost: request 1 (a): gone")
	assert.Contains(t, text, "1 pairs of faults at the same time: early + late 1\n")
	assert.Contains(t, text, "3 live tasks acted on through Asynqmon: late 3\n")
	assert.Contains(t, text, "untrue: of no request\n")

	sum := chaos.Summary(9, all, []*chaos.Report{r, r}, map[string]string{"never": "it is not installed"})
	assert.Regexp(t, `early +2 +2 +2 +0 +0 +10 +1\.5 s +1\.5 s +0\.5 s +2\.0 s`, sum)
	assert.Contains(t, sum, "left out: never, because it is not installed\n")
	assert.Contains(t, sum, "lost 2, doubled 0, untrue 2")
}
