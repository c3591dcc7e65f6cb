package chaos_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/leomutto/pilot-in-a-box/chaos"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

// kind returns the kind of request that the clients submit under that name.
func kind(name string) *chaos.Kind {
	for _, k := range chaos.Kinds() {
		if k.Name == name {
			return &k
		}
	}
	panic("no kind " + name)
}

// story is the history of one request, which a test then falsifies.
type story struct {
	sent       chaos.Sent
	row        chaos.Row
	gone       bool // the request has no row
	events     []chaos.Event
	deliveries []chaos.Delivery
	receipts   map[string]chaos.Receipt
	bulks      []chaos.Bulk
}

// told returns the story of a quick request that ended as it should.
func told() *story {
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	s := &story{
		sent: chaos.Sent{Nonce: "n", Kind: kind("quick"), At: at, Acked: at, ID: 1, Told: []chaos.Told{{ID: 1}}},
		row: chaos.Row{
			ID: 1, Nonce: "n", Status: jobs.StatusDone, Attempt: 1, ResultNonce: "n", ResultAttempt: 1,
			Finished: sql.NullTime{Time: at.Add(time.Second), Valid: true},
		},
	}
	s.happened(jobs.Submit, 0, "", jobs.StatusPending)
	s.happened(jobs.Claim, 1, jobs.StatusPending, jobs.StatusProcessing)
	s.happened(jobs.Finish, 1, jobs.StatusProcessing, jobs.StatusDone)
	return s
}

func (s *story) happened(a jobs.Action, attempt int, from, to jobs.Status) {
	s.events = append(s.events, chaos.Event{
		ID: int64(len(s.events) + 1), RequestID: 1, Attempt: attempt, Action: a, Actor: "worker:1", From: from, To: to,
		At: s.sent.At.Add(time.Duration(len(s.events)) * time.Second),
	})
}

// calledBack returns the story of a request with a callback_url whose receiver
// got the callback.
func calledBack() *story {
	s := told()
	s.sent.Callback = true
	s.happened(jobs.CallbackDelivered, 1, "", "")
	s.deliveries = []chaos.Delivery{{RequestID: 1, Message: "msg_1", Event: "mass_request.done", Status: jobs.DeliveryDelivered}}
	s.receipts = map[string]chaos.Receipt{"msg_1": {RequestID: 1, Event: "mass_request.done", Status: jobs.StatusDone}}
	return s
}

// removed returns the story of a request that was deleted after it was done.
func removed() *story {
	s := told()
	s.sent.Kind, s.sent.Asked, s.sent.Gone, s.gone = kind("deleted"), true, true, true
	s.happened(jobs.Delete, 1, jobs.StatusDone, "")
	return s
}

// outdated returns the story of a request that no worker began before it
// expired.
func outdated() *story {
	s := told()
	s.sent.Kind, s.sent.ExpiresAt = kind("expiring"), s.sent.At.Add(time.Second)
	s.events = s.events[:1]
	s.happened(jobs.Expire, 0, jobs.StatusPending, jobs.StatusFailed)
	s.row.Status, s.row.Attempt, s.row.Error = jobs.StatusFailed, 0, "expired: it was not begun before …"
	return s
}

// oneOfMany returns the story of a request that failed, and that failed again
// after a bulk replay.
func oneOfMany() *story {
	s := told()
	s.sent.Kind = kind("wrong")
	s.events = s.events[:2]
	s.happened(jobs.Fail, 1, jobs.StatusProcessing, jobs.StatusFailed)
	s.happened(jobs.Replay, 1, jobs.StatusFailed, jobs.StatusPending)
	s.events[3].Bulk, s.events[3].Actor = true, "anonymous"
	s.happened(jobs.Claim, 2, jobs.StatusPending, jobs.StatusProcessing)
	s.happened(jobs.Fail, 2, jobs.StatusProcessing, jobs.StatusFailed)
	s.row.Status, s.row.Attempt, s.row.Failures, s.row.Error = jobs.StatusFailed, 2, 1, "time_window"
	s.bulks = []chaos.Bulk{{At: s.events[3].At.Add(-time.Second), Until: s.events[3].At, Answered: true, Changed: 1}}
	return s
}

func (s *story) history() *chaos.History {
	h := &chaos.History{
		Sent: []chaos.Sent{s.sent}, Rows: []chaos.Row{s.row}, Events: map[int64][]chaos.Event{1: s.events},
		Deliveries: map[int64][]chaos.Delivery{1: s.deliveries}, Receipts: s.receipts, Bulks: s.bulks,
	}
	if s.gone {
		h.Rows = nil
	}
	return h
}

func TestCheckAcceptsWhatIsLegal(t *testing.T) {
	t.Parallel()
	rescued := told()
	rescued.events = rescued.events[:2]
	rescued.happened(jobs.Rescue, 1, jobs.StatusProcessing, jobs.StatusPending)
	rescued.happened(jobs.Claim, 2, jobs.StatusPending, jobs.StatusProcessing)
	rescued.happened(jobs.Finish, 2, jobs.StatusProcessing, jobs.StatusDone)
	rescued.row.Attempt, rescued.row.ResultAttempt, rescued.row.Rescues = 2, 2, 1

	replayed := told()
	replayed.sent.Kind, replayed.sent.Asked, replayed.sent.Moved = kind("replayed"), true, jobs.StatusPending
	replayed.happened(jobs.Replay, 1, jobs.StatusDone, jobs.StatusPending)
	replayed.happened(jobs.Claim, 2, jobs.StatusPending, jobs.StatusProcessing)
	replayed.happened(jobs.Finish, 2, jobs.StatusProcessing, jobs.StatusDone)
	replayed.row.Attempt, replayed.row.ResultAttempt = 2, 2

	cancelled := told()
	cancelled.sent.Kind, cancelled.sent.Asked, cancelled.sent.Moved = kind("cancelled"), true, jobs.StatusCancelled
	cancelled.events = cancelled.events[:2]
	cancelled.happened(jobs.Cancel, 1, jobs.StatusProcessing, jobs.StatusCancelled)
	cancelled.row.Status, cancelled.row.ResultNonce, cancelled.row.ResultAttempt = jobs.StatusCancelled, "", 0

	unanswered := told()
	unanswered.sent.Acked, unanswered.sent.ID, unanswered.sent.Told = time.Time{}, 0, nil

	repeated := told()
	repeated.sent.Key, repeated.sent.Told = "k", []chaos.Told{{ID: 1}, {ID: 1, Replayed: true}}

	maybe := removed() // its deletion got no answer but was carried out
	maybe.sent.Gone = false

	kept := told() // its deletion was not carried out
	kept.sent.Kind, kept.sent.Asked = kind("deleted"), true

	inTime := told()
	inTime.sent.Kind, inTime.sent.ExpiresAt = kind("expiring"), inTime.sent.At.Add(time.Hour)
	inTime.row.Started = sql.NullTime{Time: inTime.sent.At, Valid: true}

	scheduled := told()
	scheduled.sent.Kind, scheduled.sent.RunAt = kind("scheduled"), scheduled.events[1].At

	for name, s := range map[string]*story{
		"called back": calledBack(), "deleted": removed(), "deleted without an answer": maybe, "not deleted": kept,
		"expired": outdated(), "begun before it expired": inTime, "begun at its time": scheduled,
		"sent twice under a key": repeated, "replayed with others": oneOfMany(),
		"plain": told(), "rescued": rescued, "replayed": replayed, "cancelled": cancelled, "stored without an answer": unanswered,
	} {
		assert.Empty(t, chaos.Check(s.history()), name)
	}
}

func TestCheckReports(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(s *story)
		harm  chaos.Harm
		text  string
	}{
		"a request that stays pending": {
			func(s *story) { s.row.Status, s.row.Attempt, s.events = jobs.StatusPending, 0, s.events[:1] },
			chaos.Lost, "still pending after the time by which every request must have ended",
		},
		"another id than was told": {
			func(s *story) { s.sent.ID = 2 },
			chaos.Untrue, "acknowledged as 2 and stored as 1",
		},
		"a row of nobody": {
			func(s *story) { s.sent.Acked, s.row.Nonce, s.row.ResultNonce = time.Time{}, "x", "x" },
			chaos.Untrue, "no client submitted it",
		},
		"a second finish": {
			func(s *story) { s.happened(jobs.Finish, 1, jobs.StatusProcessing, jobs.StatusDone) },
			chaos.Doubled, "finished twice, the second time by worker:1 as attempt 1",
		},
		"a result of an outdated attempt": {
			func(s *story) {
				s.events = s.events[:2]
				s.happened(jobs.Rescue, 1, jobs.StatusProcessing, jobs.StatusPending)
				s.happened(jobs.Claim, 2, jobs.StatusPending, jobs.StatusProcessing)
				s.happened(jobs.Finish, 2, jobs.StatusProcessing, jobs.StatusDone)
				s.row.Attempt, s.row.Rescues = 2, 1
			},
			chaos.Doubled, "the result of attempt 1 stands in a row whose last claim is attempt 2",
		},
		"an outcome of an outdated attempt": {
			func(s *story) { s.events[2].Attempt = 0 },
			chaos.Untrue, "event 3: finish of attempt 0 after 1 claims",
		},
		"a transition that is not in the table": {
			func(s *story) { s.events[1].Action = jobs.Finish },
			chaos.Untrue, `event 2: the table of transitions has no finish from "pending" to "processing"`,
		},
		"a transition from another state": {
			func(s *story) {
				s.happened(jobs.Claim, 2, jobs.StatusPending, jobs.StatusProcessing)
				s.happened(jobs.Finish, 2, jobs.StatusProcessing, jobs.StatusDone)
			},
			chaos.Untrue, "event 4: claim from pending to processing, although the request was done",
		},
		"a trail that does not begin": {
			func(s *story) { s.events = s.events[1:] },
			chaos.Untrue, "event 2: the trail begins with claim to processing",
		},
		"no trail": {
			func(s *story) { s.events = nil },
			chaos.Untrue, "no events are stored for it",
		},
		"a wrong count of attempts": {
			func(s *story) { s.row.Attempt, s.row.ResultAttempt = 2, 2 },
			chaos.Untrue, "the row counts 2 attempts, its trail 1 claims",
		},
		"a wrong count of failures": {
			func(s *story) { s.row.Failures = 1 },
			chaos.Untrue, "the row counts 1 failures, its trail 0",
		},
		"a wrong count of rescues": {
			func(s *story) { s.row.Rescues = 1 },
			chaos.Untrue, "the row counts 1 rescues, its trail 0",
		},
		"a result of another payload": {
			func(s *story) { s.row.ResultNonce = "other" },
			chaos.Untrue, `its result was made of the payload of "other"`,
		},
		"an error in a done row": {
			func(s *story) { s.row.Error = "oops" },
			chaos.Untrue, `done, and yet with the error "oops"`,
		},
		"a failure that nobody ordered": {
			func(s *story) {
				s.events = s.events[:2]
				s.happened(jobs.Fail, 1, jobs.StatusProcessing, jobs.StatusFailed)
				s.row.Status, s.row.Failures, s.row.Error = jobs.StatusFailed, 1, "oops"
			},
			chaos.Untrue, `failed (error "oops"), although a quick request must end done`,
		},
		"a wrong reason": {
			func(s *story) {
				s.sent.Kind = kind("wrong")
				s.events = s.events[:2]
				s.happened(jobs.Fail, 1, jobs.StatusProcessing, jobs.StatusFailed)
				s.row.Status, s.row.Failures, s.row.Error = jobs.StatusFailed, 1, "oops"
			},
			chaos.Untrue, `failed after 1 failures with the error "oops", want 1 and "time_window"`,
		},
		"a cancellation that did not hold": {
			func(s *story) {
				s.sent.Kind, s.sent.Asked, s.sent.Moved = kind("cancelled"), true, jobs.StatusCancelled
			},
			chaos.Untrue, "done, although its cancellation was acknowledged",
		},
		"a lost replay": {
			func(s *story) {
				s.sent.Kind, s.sent.Asked, s.sent.Moved = kind("replayed"), true, jobs.StatusPending
			},
			chaos.Lost, "its replay was acknowledged and is not in the trail",
		},
		"a key that stood for two requests": {
			func(s *story) { s.sent.Told = []chaos.Told{{ID: 1}, {ID: 2, Replayed: true}} },
			chaos.Doubled, "its key first returned request 1, and then request 2",
		},
		"a key that was forgotten": {
			func(s *story) { s.sent.Told = []chaos.Told{{ID: 1}, {ID: 1}} },
			chaos.Doubled, "answer 2 to its key says that the request was stored again",
		},
		"a request begun before its time": {
			func(s *story) { s.sent.Kind, s.sent.RunAt = kind("scheduled"), s.events[1].At.Add(time.Second) },
			chaos.Untrue, "begun at 2026-03-01 10:00:01 +0000 UTC, although its run_at is 2026-03-01 10:00:02 +0000 UTC",
		},
		"a request begun after it had expired": {
			func(s *story) {
				s.sent.Kind, s.sent.ExpiresAt = kind("expiring"), s.sent.At
				s.row.Started = sql.NullTime{Time: s.sent.At, Valid: true}
			},
			chaos.Untrue, "begun at 2026-03-01 10:00:00 +0000 UTC, although it expired at 2026-03-01 10:00:00 +0000 UTC",
		},
		"a request that expired too early": {
			func(s *story) {
				*s = *outdated()
				s.sent.ExpiresAt = s.sent.At.Add(time.Hour)
			},
			chaos.Untrue, "expired at 2026-03-01 10:00:01 +0000 UTC, although its expires_at is 2026-03-01 11:00:00 +0000 UTC",
		},
		"a request that expired although it cannot": {
			func(s *story) {
				*s = *outdated()
				s.sent.Kind, s.sent.ExpiresAt = kind("quick"), time.Time{}
			},
			chaos.Untrue, `failed (error "expired: it was not begun before …"), although a quick request must end done`,
		},
		"a deletion that did not hold": {
			func(s *story) {
				*s = *removed()
				s.gone = false
			},
			chaos.Untrue, "still stored, although its deletion was acknowledged",
		},
		"work on a deleted request": {
			func(s *story) {
				*s = *removed()
				s.happened(jobs.Claim, 2, jobs.StatusPending, jobs.StatusProcessing)
			},
			chaos.Doubled, "event 5: claim after its deletion",
		},
		"a callback of a deleted request": {
			func(s *story) {
				*s = *removed()
				s.happened(jobs.CallbackDelivered, 1, "", "")
			},
			chaos.Doubled, "event 5: callback_delivered after its deletion",
		},
		"a deleted request without a trail": {
			func(s *story) {
				*s = *removed()
				s.events = nil
			},
			chaos.Lost, "acknowledged but not stored, and no event records a deletion",
		},
		"a request that is gone although nobody deleted it": {
			func(s *story) { s.gone = true },
			chaos.Lost, "acknowledged but not stored",
		},
		"an end without a callback": {
			func(s *story) {
				*s = *calledBack()
				s.deliveries = nil
			},
			chaos.Lost, "it ended 1 times and has 0 callbacks",
		},
		"a callback too many": {
			func(s *story) {
				*s = *calledBack()
				s.deliveries = append(s.deliveries, s.deliveries[0])
			},
			chaos.Doubled, "it ended 1 times and has 2 callbacks",
		},
		"a callback of a request without an address": {
			func(s *story) {
				*s = *calledBack()
				s.sent.Callback = false
			},
			chaos.Doubled, "it ended 0 times and has 1 callbacks",
		},
		"a callback that is not delivered": {
			func(s *story) {
				*s = *calledBack()
				s.deliveries[0].Status = jobs.DeliveryDead
			},
			chaos.Lost, "its callback msg_1 is still dead",
		},
		"a callback that nobody took": {
			func(s *story) {
				*s = *calledBack()
				s.receipts = nil
			},
			chaos.Lost, "its callback msg_1 is marked delivered, but the receiver never accepted it",
		},
		"a callback with another status": {
			func(s *story) {
				*s = *calledBack()
				s.receipts["msg_1"] = chaos.Receipt{RequestID: 1, Event: "mass_request.failed", Status: jobs.StatusFailed}
			},
			chaos.Untrue, "its callback said {RequestID:1 Event:mass_request.failed Status:failed}, but the truth is {RequestID:1 Event:mass_request.done Status:done}",
		},
		"a callback that the trail does not know": {
			func(s *story) {
				*s = *calledBack()
				s.events = s.events[:3]
			},
			chaos.Untrue, "1 of its callbacks are delivered, but its trail says 0",
		},
		"a callback that is no delivery": {
			func(s *story) { s.receipts = calledBack().receipts },
			chaos.Untrue, "the receiver accepted callback msg_1, which is not one of its deliveries",
		},
		"a bulk that moved less than it said": {
			func(s *story) { s.bulks = []chaos.Bulk{{Answered: true, Changed: 1}} },
			chaos.Lost, "bulk changes were acknowledged to have moved 1 requests, but moved 0",
		},
		"a bulk that moved more than it said": {
			func(s *story) {
				*s = *oneOfMany()
				s.bulks[0].Changed = 0
			},
			chaos.Doubled, "bulk changes were acknowledged to have moved 0 requests, but moved 1",
		},
		"a bulk that nobody asked for": {
			func(s *story) {
				*s = *oneOfMany()
				s.bulks = nil
			},
			chaos.Doubled, "replay from failed by a bulk change that no client asked for",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := told()
			c.spoil(s)
			var found []string
			for _, v := range chaos.Check(s.history()) {
				found = append(found, string(v.Harm)+": "+v.Text)
			}
			assert.Contains(t, found, string(c.harm)+": "+c.text)
		})
	}
}

func TestCheckReportsWhatIsNotStored(t *testing.T) {
	t.Parallel()
	h := told().history()
	h.Rows, h.Events = nil, nil
	found := chaos.Check(h)
	assert.Len(t, found, 1)
	assert.Equal(t, "lost: request 1 (n): acknowledged but not stored", found[0].String())

	h.Sent[0].Acked = time.Time{}
	assert.Empty(t, chaos.Check(h), "nobody was told that it is stored")
}

func TestCheckReportsWhatIsStoredTwice(t *testing.T) {
	t.Parallel()
	h := told().history()
	twin := h.Rows[0]
	twin.ID = 2
	h.Rows, h.Events[2] = append(h.Rows, twin), h.Events[1]
	found := chaos.Check(h)
	assert.Len(t, found, 1)
	assert.Equal(t, chaos.Doubled, found[0].Harm)
	assert.Equal(t, "sent once and stored 2 times", found[0].Text)
}
