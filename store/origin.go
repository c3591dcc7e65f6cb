package store

// Origin says who did something and from where, as the trail keeps it. Only
// Actor must be set.
type Origin struct {
	Actor     string // "user:12", "key:7", "worker:3", "reconciler"
	RequestID string // of the HTTP request
	Client    string // address it came from
	TraceID   string // W3C, 32 hexadecimal digits
	SpanID    string // W3C, 16 hexadecimal digits
}
