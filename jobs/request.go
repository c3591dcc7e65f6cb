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
	Attempt       int             // claims so far; the fencing token of the current one
	Failures      int             // tries that failed; the retry policy counts these
	Rescues       int             // times its worker fell silent
	Result        json.RawMessage // nil until done; complete, whatever is stored
	Error         string          // what the latest failed try said; "" when none
	Faults        json.RawMessage // the faults of a refused payload as a JSON array; nil when none
	BatchID       int64
	CreatedBy     string
	CreatedAt     time.Time
	RunAt         time.Time // not before this time
	ExpiresAt     time.Time // not begun after this time; zero: never
	StartedAt     time.Time // of the latest claim; zero before the first
	FinishedAt    time.Time // zero until a final state
	UpdatedAt     time.Time
	CallbackURL   string // whom to tell of the end; "" for nobody
}

// Lease identifies one claim of one request. A worker's writes are accepted
// only while the row still bears this attempt (fencing).
type Lease struct {
	ID      int64
	Attempt int
}

type leaseKey struct{}

// ContextWithLease tells a pipeline under which claim it runs.
func ContextWithLease(ctx context.Context, l Lease) context.Context {
	return context.WithValue(ctx, leaseKey{}, l)
}

// LeaseFromContext returns the claim of ContextWithLease; the zero Lease when there is none.
func LeaseFromContext(ctx context.Context) Lease {
	l, _ := ctx.Value(leaseKey{}).(Lease)
	return l
}

// Claimed is a request in a worker's hands: what the pipeline needs, and no more.
type Claimed struct {
	Lease
	BatchID       int64
	Failures      int
	CorrelationID string
	Payload       json.RawMessage
}

// Result is what a try makes of a payload.
type Result struct {
	JSON json.RawMessage // an object

	// AsSubmitted says that the payload was in normal form: JSON leaves out its
	// member "normalized", which is the payload.
	AsSubmitted bool
}

// Outcome is what a worker has to say at the end of one attempt.
type Outcome struct {
	Lease
	Action Action          // Finish, Fail or Retry
	Result Result          // with Finish
	Error  string          // with Fail and Retry
	Faults json.RawMessage // with Fail, when the payload is at fault
	Delay  time.Duration   // with Retry: how long to wait

	InputDigest []byte // SHA-256 of the payload that was worked on
}
