package chaos_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/leomutto/pilot-in-a-box/chaos"
)

func TestDrainIsMeasuredByWhatTheFaultCaught(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	after := func(seconds int) time.Time { return at.Add(time.Duration(seconds) * time.Second) }
	h := &chaos.History{}
	add := func(nonce, of string, acked, finished int) {
		h.Sent = append(h.Sent, chaos.Sent{Nonce: nonce, Kind: kind(of), Acked: after(acked)})
		h.Rows = append(h.Rows, chaos.Row{Nonce: nonce, Finished: sql.NullTime{Time: after(finished), Valid: true}})
	}
	add("long before", "quick", -5, 50)
	add("in it", "quick", 1, 6)
	add("just before", "slow", 0, 5)
	add("it waits by order", "scheduled", 1, 60)
	add("after it", "quick", 4, 70)
	add("open", "quick", 11, 0)
	h.Rows[5].Finished.Valid = false

	list := []*chaos.Injection{{At: at, Healed: after(2)}, {At: after(10), Healed: after(12)}, {At: after(30), Healed: after(31)}}
	chaos.MeasureDrains(list, h)
	assert.Equal(t, 2, list[0].Caught)
	assert.Equal(t, 4*time.Second, list[0].Drain)
	assert.Negative(t, list[1].Drain, "one never ended")
	assert.Zero(t, list[2].Caught)
}

func TestAnswersAreMeasured(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	after := func(seconds int) time.Time { return at.Add(time.Duration(seconds) * time.Second) }
	h := &chaos.History{}
	for i, second := range []int{-1, 1, 8, 9, 30} {
		h.Sent = append(h.Sent, chaos.Sent{Nonce: string(rune('a' + i)), Kind: kind("flaky"), Acked: after(second)})
	}
	list := []*chaos.Injection{
		{At: at, Healed: after(5)},
		{At: after(31), Healed: after(40)},
	}
	chaos.MeasureDrains(list, h)
	assert.Equal(t, 3*time.Second, list[0].First)
	assert.Equal(t, 7*time.Second, list[0].Longest, "the answer after the fault ends the longest silence")
	assert.Negative(t, list[1].First)
	assert.Equal(t, 9*time.Second, list[1].Longest)
}
