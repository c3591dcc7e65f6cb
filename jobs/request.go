package jobs

import (
	"context"
	"encoding/json"
	"time"
)

// Request is a MassRequest as Postgres holds it.
type Request struct {
	ID            int64
	Payload       json.RawMessage // as submitted
	SchemaVersion string          // "1.0-simple" or "1.1"
	CorrelationID string          // "" when the payload names none
	SiteID        string          // "" when the payload names none
	ClusterID     string          // "" when the payload names none
	Status        Status
	Lane          Lane
	Priority      Priority
	Attempt       int             // number of claims so far; the fencing token of the current claim
	Failures      int             // number of attempts that failed; the retry policy counts these
	Rescues       int             // number of times its worker fell silent
	Result        json.RawMessage // nil until done; complete, whatever is stored
	Error         string          // error of the latest failed attempt; "" when there is none
	Faults        json.RawMessage // faults of a refused payload as a JSON array; nil when there are none
	BatchID       int64
	CreatedBy     string
	CreatedAt     time.Time
	RunAt         time.Time // the request is not started before
	ExpiresAt     time.Time // the request is not started after; zero: no limit
	StartedAt     time.Time // time of the latest claim; zero before the first
	FinishedAt    time.Time // zero until a final state
	UpdatedAt     time.Time
	CallbackURL   string // URL notified when the request ends; "" for none
}

// Lease identifies one claim of one request. A worker's writes are accepted
// only while the row still has this attempt (fencing).
type Lease struct {
	ID      int64
	Attempt int
}

type leaseKey struct{}

// ContextWithLease adds to ctx the claim under which a pipeline runs.
func ContextWithLease(ctx context.Context, l Lease) context.Context {
	return context.WithValue(ctx, leaseKey{}, l)
}

// LeaseFromContext returns the claim that ContextWithLease added, or the zero
// Lease when there is none.
func LeaseFromContext(ctx context.Context) Lease {
	l, _ := ctx.Value(leaseKey{}).(Lease)
	return l
}

// Claimed is a request that a worker has claimed, with only the fields that the
// pipeline and the retry policy need.
type Claimed struct {
	Lease
	BatchID       int64
	Failures      int
	CorrelationID string
	Payload       json.RawMessage
}

// Result is the result of one attempt.
type Result struct {
	JSON json.RawMessage // an object

	// AsSubmitted reports that the payload was in normal form. JSON then has no
	// member "normalized", because the payload is its value.
	AsSubmitted bool
}

// Outcome is what a worker reports at the end of one attempt.
type Outcome struct {
	Lease
	Action Action          // Finish, Fail or Retry
	Result Result          // with Finish
	Error  string          // with Fail and Retry
	Faults json.RawMessage // with Fail, when the payload was refused
	Delay  time.Duration   // with Retry: how long to wait

	InputDigest []byte // SHA-256 of the payload that was processed
}
