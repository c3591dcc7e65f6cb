package jobs

import (
	"fmt"
	"slices"
)

// Status is the state of a MassRequest.
type Status string

// The states of a request. StatusPending, StatusProcessing and StatusDone are
// the contract with the submitter. StatusFailed is the end of a request that
// cannot be done, and StatusCancelled that of a request that a person stopped.
const (
	StatusPending    Status = "pending"
	StatusProcessing Status = "processing"
	StatusDone       Status = "done"
	StatusFailed     Status = "failed"
	StatusCancelled  Status = "cancelled"
)

// Statuses lists every state, in the order of a request's life. The CHECK
// constraint of mass_requests.status holds the same set; a test compares them.
func Statuses() []Status {
	return []Status{StatusPending, StatusProcessing, StatusDone, StatusFailed, StatusCancelled}
}

// Final reports whether a request in this state stays as it is until a person
// replays it.
func (s Status) Final() bool { return s == StatusDone || s == StatusFailed || s == StatusCancelled }

// Action moves a request from one state to another. It is also the name of the
// audit event that records the move.
type Action string

// The actions. Submit creates a request, Delete and Retain remove it, and the
// others are the arrows of the state diagram.
const (
	Submit  Action = "submit"  // the API stored the request
	Claim   Action = "claim"   // a worker claimed the request
	Finish  Action = "finish"  // the worker stored its result
	Fail    Action = "fail"    // the worker gave up on it for good
	Retry   Action = "retry"   // the attempt failed, and another one follows
	Release Action = "release" // the worker returned it unfinished, for example at shutdown
	Rescue  Action = "rescue"  // its worker fell silent and lost it
	Expire  Action = "expire"  // no worker started it in time
	Cancel  Action = "cancel"  // a person stopped it
	Replay  Action = "replay"  // a person asked for it to be processed again
	Delete  Action = "delete"  // a person removed it
	Retain  Action = "retain"  // it was removed because of its age
)

// Transition is one row of the table of legal moves.
type Transition struct {
	Action Action
	From   []Status
	To     Status // "" when the request is gone afterwards
	Person bool   // a person may ask for it; otherwise only the workers do it
}

// Transitions is the table of legal moves. The API, the workers and the SQL of
// package store all take their moves from it.
func Transitions() []Transition {
	return []Transition{
		{Action: Claim, From: []Status{StatusPending}, To: StatusProcessing},
		{Action: Finish, From: []Status{StatusProcessing}, To: StatusDone},
		{Action: Fail, From: []Status{StatusProcessing}, To: StatusFailed},
		{Action: Retry, From: []Status{StatusProcessing}, To: StatusPending},
		{Action: Release, From: []Status{StatusProcessing}, To: StatusPending},
		{Action: Rescue, From: []Status{StatusProcessing}, To: StatusPending},
		{Action: Expire, From: []Status{StatusPending}, To: StatusFailed},
		{Action: Cancel, From: []Status{StatusPending, StatusProcessing}, To: StatusCancelled, Person: true},
		{Action: Replay, From: []Status{StatusDone, StatusFailed, StatusCancelled}, To: StatusPending, Person: true},
		{Action: Delete, From: Statuses(), Person: true},
		{Action: Retain, From: []Status{StatusDone, StatusFailed, StatusCancelled}},
	}
}

// From lists the states in which the action is legal.
func (a Action) From() []Status {
	for _, t := range Transitions() {
		if t.Action == a {
			return t.From
		}
	}
	return nil
}

// PersonAction returns the action by which a person moves a request from one
// state to another; false when the table has none.
func PersonAction(from, to Status) (Action, bool) {
	for _, t := range Transitions() {
		if t.Person && t.To == to && t.To != "" && slices.Contains(t.From, from) {
			return t.Action, true
		}
	}
	return "", false
}

// PersonTargets lists the states into which a person may move a request that is
// in state from.
func PersonTargets(from Status) []Status {
	var to []Status
	for _, s := range Statuses() {
		if _, ok := PersonAction(from, s); ok {
			to = append(to, s)
		}
	}
	return to
}

// TransitionError reports that a person may not move a request from From to To.
type TransitionError struct {
	From, To Status
}

func (e *TransitionError) Error() string {
	return fmt.Sprintf("a %s request cannot be set to %s; allowed: %v", e.From, e.To, PersonTargets(e.From))
}
