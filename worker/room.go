package worker

import (
	"context"
	"sync"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// payloadRoom bounds the payloads that a worker holds at once, in bytes. A claim
// first takes a part of the room, because the sizes are known only when the
// payloads are there, and then gives back what it does not need. A single
// payload that is larger than its part is claimed nevertheless, and then the
// next claims wait for longer.
type payloadRoom struct {
	size int64

	mu    sync.Mutex
	free  int64
	grown chan struct{} // closed and replaced whenever the free room grows
}

func newPayloadRoom(size int64) *payloadRoom {
	return &payloadRoom{size: size, free: size, grown: make(chan struct{})}
}

// take waits until a quarter of the room is free. It takes at most half of the
// room, so that the claims of both lanes proceed.
func (r *payloadRoom) take(ctx context.Context) (int64, error) {
	for {
		r.mu.Lock()
		if r.free >= max(1, r.size/4) {
			taken := min(r.free, max(1, r.size/2))
			r.free -= taken
			r.mu.Unlock()
			return taken, nil
		}
		grown := r.grown
		r.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// give gives bytes back. A negative number takes more.
func (r *payloadRoom) give(bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free += bytes
	if bytes > 0 {
		close(r.grown)
		r.grown = make(chan struct{})
	}
}

func payloadBytes(claimed []jobs.Claimed) (n int64) {
	for i := range claimed {
		n += int64(len(claimed[i].Payload))
	}
	return n
}

// claimedPart is what a claim yields of a batch.
type claimedPart struct {
	requests []jobs.Claimed
	more     bool // further requests of the batch may be pending, for which there was no room
}
