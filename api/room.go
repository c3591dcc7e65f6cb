package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/web"
)

const (
	// pageBytes is the size at which a page of requests ends early. A page of
	// 500 requests with the usual payloads takes about 3 MiB, so ordinary pages
	// end at their limit. A larger page would not fit through a slow connection
	// within MASS_WRITE_TIMEOUT.
	pageBytes = 8 << 20
	// pagesAtOnce and pagesPerCaller bound how many full pages are in memory at
	// once: those of all callers, and those of one caller. A page that was read
	// counts by its actual size until the client has received it.
	pagesAtOnce    = 4
	pagesPerCaller = 2
	// arraysAtOnce and arraysPerCaller bound how many arrays of more than
	// freeArray bytes are in memory at once; streams are not kept in memory. A
	// caller who sends slowly keeps a place for long, so each caller has only one.
	arraysAtOnce    = 4
	arraysPerCaller = 1
	// freeArray is how much of an array is read before it needs a place. It is
	// the size of a single submission, which needs no place either.
	freeArray = 1 << 20
)

// memoryRoom bounds the memory of what is read and sent at once. Each of its
// users reserves a place before it takes the memory.
type memoryRoom struct {
	place     int64 // bytes that are reserved at first
	perCaller int64 // places of one caller
	wait      time.Duration
	all       *semaphore.Weighted

	callerBusy, allBusy string // details of the answers to those who waited in vain

	mu      sync.Mutex
	callers map[string]*callerRoom
}

// callerRoom is the part of the room that one caller may use. It exists while
// the caller uses it.
type callerRoom struct {
	*semaphore.Weighted
	users int
}

// newPageRoom returns a room for pages of pageBytes, or of one request when its
// payload and its result together may be larger than that.
func newPageRoom(maxBody int64, wait time.Duration) *memoryRoom {
	place := max(pageBytes, 2*maxBody)
	return &memoryRoom{
		place: place, perCaller: pagesPerCaller, wait: wait, all: semaphore.NewWeighted(pagesAtOnce * place), callers: map[string]*callerRoom{},
		callerBusy: "You are reading too many pages at once. Read them one after another.",
		allBusy:    "Too many pages are being read now. Try again later.",
	}
}

// newArrayRoom returns a room for whole arrays of submissions.
func newArrayRoom(wait time.Duration) *memoryRoom {
	return &memoryRoom{
		place: 1, perCaller: arraysPerCaller, wait: wait, all: semaphore.NewWeighted(arraysAtOnce), callers: map[string]*callerRoom{},
		callerBusy: "You are sending too many large arrays at once. Send them one after another, or send application/x-ndjson.",
		allBusy:    "Too many arrays are being read now. Try again later, or send application/x-ndjson.",
	}
}

// memoryPlace is a place in a room.
type memoryPlace struct {
	room   *memoryRoom
	caller string
	share  *callerRoom
	bytes  int64
}

// reserve waits until there is a free place. The caller must release it.
func (r *memoryRoom) reserve(ctx context.Context) (*memoryPlace, error) {
	within, cancel := context.WithTimeout(ctx, r.wait)
	defer cancel()
	p := &memoryPlace{room: r, caller: access.CreatedBy(ctx), bytes: r.place}
	p.share = r.enter(p.caller)
	if p.share.Acquire(within, p.bytes) != nil {
		r.leave(p.caller)
		return nil, busyProblem(ctx, http.StatusTooManyRequests, web.CodeTooFast, r.callerBusy)
	}
	if r.all.Acquire(within, p.bytes) != nil {
		p.share.Release(p.bytes)
		r.leave(p.caller)
		return nil, busyProblem(ctx, http.StatusServiceUnavailable, web.CodeUnavailable, r.allBusy)
	}
	return p, nil
}

// busyProblem prefers the reason for which the HTTP request itself ended.
func busyProblem(ctx context.Context, status int, code, detail string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return &web.Problem{Status: status, Code: code, RetryAfter: 1, Detail: detail}
}

func (r *memoryRoom) enter(caller string) *callerRoom {
	r.mu.Lock()
	defer r.mu.Unlock()
	share := r.callers[caller]
	if share == nil {
		share = &callerRoom{Weighted: semaphore.NewWeighted(r.perCaller * r.place)}
		r.callers[caller] = share
	}
	share.users++
	return share
}

func (r *memoryRoom) leave(caller string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	share := r.callers[caller]
	if share.users--; share.users == 0 {
		delete(r.callers, caller)
	}
}

// shrink gives back what is not needed of the place: all but the given bytes.
func (p *memoryPlace) shrink(bytes int64) {
	if bytes < p.bytes {
		p.share.Release(p.bytes - bytes)
		p.room.all.Release(p.bytes - bytes)
		p.bytes = bytes
	}
}

// release gives back the whole place.
func (p *memoryPlace) release() {
	p.shrink(0)
	p.room.leave(p.caller)
}
