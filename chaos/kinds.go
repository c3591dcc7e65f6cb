package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// Kind is the intended life of a submitted request, which determines how it
// must end.
type Kind struct {
	Name     string
	Share    int         // of all submissions; the shares of Kinds add up to 100
	Ends     jobs.Status // unless it is cancelled
	Failures int         // how many attempts fail at most; exactly as many if it ends failed
	Error    string      // what the error must contain if it ends failed
	Move     jobs.Status // what a client asks for shortly after the submission: cancelled, pending (replay) or nothing
	Delete   bool        // a client deletes it shortly after the submission
	Waits    bool        // its run_at is a few seconds ahead
	Expires  bool        // its expires_at is so near that it may expire without an attempt

	payload func(nonce string, rng *rand.Rand) []byte
}

// maxTries is how many attempts the workers make at a request.
const maxTries = 5

// Kinds lists what the clients submit.
func Kinds() []Kind {
	gaveUp := fmt.Sprintf("gave up after %d tries: %v", maxTries, errOrdered)
	return []Kind{
		{Name: "quick", Share: 42, Ends: jobs.StatusDone, payload: ordered(Orders{})},
		{Name: "slow", Share: 28, Ends: jobs.StatusDone, payload: slow},
		{Name: "signals", Share: 9, Ends: jobs.StatusDone, payload: signalsPayload(nil)},
		{Name: "flaky", Share: 4, Ends: jobs.StatusDone, Failures: 2, payload: ordered(Orders{FailTimes: 2})},
		{Name: "hopeless", Share: 1, Ends: jobs.StatusFailed, Failures: maxTries, Error: gaveUp, payload: ordered(Orders{FailTimes: 1000})},
		{Name: "wrong", Share: 3, Ends: jobs.StatusFailed, Failures: 1, Error: "time_window", payload: signalsPayload(backwards)},
		{Name: "cancelled", Share: 2, Ends: jobs.StatusDone, Move: jobs.StatusCancelled, payload: ordered(Orders{SleepMS: 300})},
		{Name: "replayed", Share: 2, Ends: jobs.StatusDone, Move: jobs.StatusPending, payload: ordered(Orders{SleepMS: 20})},
		{Name: "deleted", Share: 3, Ends: jobs.StatusDone, Delete: true, payload: slow},
		{Name: "scheduled", Share: 4, Ends: jobs.StatusDone, Waits: true, payload: ordered(Orders{})},
		{Name: "expiring", Share: 2, Ends: jobs.StatusDone, Expires: true, payload: slow},
	}
}

// pick draws a kind according to the shares.
func pick(kinds []Kind, rng *rand.Rand) *Kind {
	n := rng.IntN(100)
	for i := range kinds {
		if n -= kinds[i].Share; n < 0 {
			return &kinds[i]
		}
	}
	return &kinds[0]
}

// plain reports whether nothing but the system itself delays a request of the
// kind.
func (k *Kind) plain() bool {
	return k.Failures == 0 && k.Move == "" && !k.Delete && !k.Waits && !k.Expires
}

func ordered(o Orders) func(string, *rand.Rand) []byte {
	return func(nonce string, _ *rand.Rand) []byte { return freeForm(nonce, o) }
}

func slow(nonce string, rng *rand.Rand) []byte {
	return freeForm(nonce, Orders{SleepMS: 100 + rng.IntN(700)})
}

func freeForm(nonce string, o Orders) []byte {
	return mustMarshal(map[string]any{"correlation_id": nonce, "chaos": o, "note": "a payload of the chaos harness"})
}

// signalsPayload returns the documented example with another correlation id,
// after change has modified it.
func signalsPayload(change func(doc map[string]any)) func(string, *rand.Rand) []byte {
	return func(nonce string, _ *rand.Rand) []byte {
		var doc map[string]any
		if err := json.Unmarshal(signals.Example(), &doc); err != nil {
			panic(fmt.Sprintf("chaos: the example of signals is no JSON: %v", err))
		}
		doc["correlation_id"] = nonce
		if change != nil {
			change(doc)
		}
		return mustMarshal(doc)
	}
}

// backwards makes the time window end before it starts, which only the worker
// checks.
func backwards(doc map[string]any) {
	window := doc["request"].(map[string]any)["time_window"].(map[string]any)
	window["start_utc"], window["end_utc"] = window["end_utc"], window["start_utc"]
}

func mustMarshal(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("chaos: encode a payload: %v", err))
	}
	return raw
}
