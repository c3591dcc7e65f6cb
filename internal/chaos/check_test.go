package chaos_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/leomutto/pilot-in-a-box/internal/chaos"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

// kind returns what the clients submit under that name.
func kind(name string) *chaos.Kind {
	for _, k := range chaos.Kinds() {
		if k.Name == name {
			return &k
		}
	}
	panic("no kind " + name)
}

// story is the history of one request, to be spoilt by a test.
type story struct {
	sent   chaos.Sent
	row    chaos.Row
	events []chaos.Event
}

// told is a quick request that ended as it should.
func told() *story {
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	s := &story{
		sent: chaos.Sent{Nonce: "n", Kind: kind("quick"), At: at, Acked: at, ID: 1},
		row: chaos.Row{
			ID: 1, Nonce: "n", Status: jobs.Done, Attempt: 1, ResultNonce: "n", ResultAttempt: 1,
			Finished: sql.NullTime{Time: at.Add(time.Second), Valid: true},
		},
	}
	s.happened(jobs.Submit, 0, "", jobs.Pending)
	s.happened(jobs.Claim, 1, jobs.Pending, jobs.Processing)
	s.happened(jobs.Finish, 1, jobs.Processing, jobs.Done)
	return s
}

func (s *story) happened(a jobs.Action, attempt int, from, to jobs.Status) {
	s.events = append(s.events, chaos.Event{
		ID: int64(len(s.events) + 1), RequestID: 1, Attempt: attempt, Action: a, Actor: "worker:1", From: from, To: to,
	})
}

func (s *story) history() *chaos.History {
	return &chaos.History{
		Sent: []chaos.Sent{s.sent}, Rows: []chaos.Row{s.row}, Events: map[int64][]chaos.Event{1: s.events},
	}
}

func TestCheckAcceptsWhatIsLegal(t *testing.T) {
	t.Parallel()
	rescued := told()
	rescued.events = rescued.events[:2]
	rescued.happened(jobs.Rescue, 1, jobs.Processing, jobs.Pending)
	rescued.happened(jobs.Claim, 2, jobs.Pending, jobs.Processing)
	rescued.happened(jobs.Finish, 2, jobs.Processing, jobs.Done)
	rescued.row.Attempt, rescued.row.ResultAttempt, rescued.row.Rescues = 2, 2, 1

	replayed := told()
	replayed.sent.Kind, replayed.sent.Asked, replayed.sent.Moved = kind("replayed"), true, jobs.Pending
	replayed.happened(jobs.Replay, 1, jobs.Done, jobs.Pending)
	replayed.happened(jobs.Claim, 2, jobs.Pending, jobs.Processing)
	replayed.happened(jobs.Finish, 2, jobs.Processing, jobs.Done)
	replayed.row.Attempt, replayed.row.ResultAttempt = 2, 2

	cancelled := told()
	cancelled.sent.Kind, cancelled.sent.Asked, cancelled.sent.Moved = kind("cancelled"), true, jobs.Cancelled
	cancelled.events = cancelled.events[:2]
	cancelled.happened(jobs.Cancel, 1, jobs.Processing, jobs.Cancelled)
	cancelled.row.Status, cancelled.row.ResultNonce, cancelled.row.ResultAttempt = jobs.Cancelled, "", 0

	unanswered := told()
	unanswered.sent.Acked, unanswered.sent.ID = time.Time{}, 0

	for name, s := range map[string]*story{
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
			func(s *story) { s.row.Status, s.row.Attempt, s.events = jobs.Pending, 0, s.events[:1] },
			chaos.Lost, "still pending when everything had to be over",
		},
		"another id than was told": {
			func(s *story) { s.sent.ID = 2 },
			chaos.Untrue, "acknowledged as 2 and stored as 1",
		},
		"a row of nobody": {
			func(s *story) { s.sent.Acked, s.row.Nonce, s.row.ResultNonce = time.Time{}, "x", "x" },
			chaos.Untrue, "nobody submitted it",
		},
		"a second finish": {
			func(s *story) { s.happened(jobs.Finish, 1, jobs.Processing, jobs.Done) },
			chaos.Doubled, "finished twice, the second time by worker:1 as attempt 1",
		},
		"a result of an outdated attempt": {
			func(s *story) {
				s.events = s.events[:2]
				s.happened(jobs.Rescue, 1, jobs.Processing, jobs.Pending)
				s.happened(jobs.Claim, 2, jobs.Pending, jobs.Processing)
				s.happened(jobs.Finish, 2, jobs.Processing, jobs.Done)
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
				s.happened(jobs.Claim, 2, jobs.Pending, jobs.Processing)
				s.happened(jobs.Finish, 2, jobs.Processing, jobs.Done)
			},
			chaos.Untrue, "event 4: claim from pending to processing, although the request was done",
		},
		"a trail that does not begin": {
			func(s *story) { s.events = s.events[1:] },
			chaos.Untrue, "event 2: begins with claim to processing",
		},
		"no trail": {
			func(s *story) { s.events = nil },
			chaos.Untrue, "it has no events",
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
				s.happened(jobs.Fail, 1, jobs.Processing, jobs.Failed)
				s.row.Status, s.row.Failures, s.row.Error = jobs.Failed, 1, "oops"
			},
			chaos.Untrue, `failed (error "oops"), although a quick request must end done`,
		},
		"a wrong reason": {
			func(s *story) {
				s.sent.Kind = kind("wrong")
				s.events = s.events[:2]
				s.happened(jobs.Fail, 1, jobs.Processing, jobs.Failed)
				s.row.Status, s.row.Failures, s.row.Error = jobs.Failed, 1, "oops"
			},
			chaos.Untrue, `failed after 1 failures with the error "oops", want 1 and "time_window"`,
		},
		"a cancellation that did not hold": {
			func(s *story) {
				s.sent.Kind, s.sent.Asked, s.sent.Moved = kind("cancelled"), true, jobs.Cancelled
			},
			chaos.Untrue, "done, although its cancellation was acknowledged",
		},
		"a lost replay": {
			func(s *story) {
				s.sent.Kind, s.sent.Asked, s.sent.Moved = kind("replayed"), true, jobs.Pending
			},
			chaos.Lost, "its replay was acknowledged and is not in the trail",
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
	assert.Equal(t, "lost: request 1 (n): acknowledged and not stored", found[0].String())

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
