package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

const (
	clients     = 256
	tick        = 50 * time.Millisecond // the submissions of one tick are sent together, so that the API groups them
	crowdEvery  = 20                    // ticks: every so often, half of their submissions arrive at once, so that statements share tasks
	httpTimeout = 10 * time.Second

	batchShare    = 60                     // one order in this many is a batch
	batchLeast    = 5                      // submissions
	batchMost     = 30                     // submissions
	keyShare      = 3                      // one submission in this many has an idempotency key
	callbackShare = 6                      // one submission in this many has a callback_url
	repeatShare   = 4                      // one submission with a key in this many is sent again although it was answered
	persistence   = 45 * time.Second       // how long a client with a key and without an answer keeps trying
	patience      = 250 * time.Millisecond // between its attempts

	bulkEvery = 7 * time.Second
	bulkLimit = 10 // requests
)

// load is the known set of clients. Each submission has its own nonce. A client
// that got no answer does not know whether its submission is stored. With an
// idempotency key it sends the submission again until it knows; without one it
// moves on.
type load struct {
	client

	rate     int // orders per second; an order is a submission, or sometimes a batch of them
	seed     uint64
	callback string // URL of the callback receiver

	acked    atomic.Int64 // submissions
	refused  atomic.Int64 // answers 503
	silent   atomic.Int64 // requests without an answer
	batches  atomic.Int64 // sent, including repeats
	repeats  atomic.Int64 // submissions that were sent again
	mu       sync.Mutex
	sent     []*Sent
	replays  []Bulk
	nonsense []string // the first few answers that no fault explains
}

func newLoad(addrs []string, rate int, seed uint64) *load {
	return &load{client: newClient(addrs), rate: rate, seed: seed}
}

// run submits until ctx ends, and returns when the last answer is in.
func (l *load) run(ctx context.Context) {
	kinds := Kinds()
	orders := make(chan struct{}, 4*clients)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(l.seed, uint64(c)+1))
			for n := 0; ; n++ {
				if _, more := <-orders; !more {
					return
				}
				l.order(context.WithoutCancel(ctx), kinds, fmt.Sprintf("%d-%d", c, n), rng, &wg)
			}
		})
	}
	wg.Go(func() { l.replayFailed(ctx) })
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	each := max(1, int(int64(l.rate)*int64(tick)/int64(time.Second))/2)
	for n := 1; ctx.Err() == nil; n++ {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
		now := each
		if n%crowdEvery == 0 {
			now += crowdEvery * each
		}
		for range now {
			select {
			case orders <- struct{}{}:
			default: // all clients are waiting for answers; orders do not pile up
			}
		}
	}
	close(orders)
	wg.Wait()
}

// form is how submissions are sent.
type form int

const (
	alone form = iota
	asArray
	asLines
)

// order sends one submission or a batch, and later the moves that its kinds
// require.
func (l *load) order(ctx context.Context, kinds []Kind, name string, rng *rand.Rand, later *sync.WaitGroup) {
	how, count := alone, 1
	if rng.IntN(batchShare) == 0 {
		how, count = asArray+form(rng.IntN(2)), batchLeast+rng.IntN(batchMost-batchLeast+1)
	}
	list := make([]*Sent, count)
	for i := range list {
		kind := pick(kinds, rng)
		list[i] = l.compose(kind, fmt.Sprintf("%s-%s-%d", kind.Name, name, i), rng)
	}
	l.mu.Lock()
	l.sent = append(l.sent, list...)
	l.mu.Unlock()
	l.send(ctx, how, list)
	for _, s := range list {
		l.follow(ctx, s, rng, later)
	}
	if again := l.unsure(list, rng); len(again) > 0 {
		later.Go(func() { l.persist(ctx, how, again) })
	}
}

// compose generates a submission.
func (l *load) compose(kind *Kind, nonce string, rng *rand.Rand) *Sent {
	s := &Sent{Nonce: nonce, Kind: kind, At: time.Now()}
	doc := map[string]any{
		"payload":  json.RawMessage(kind.payload(nonce, rng)),
		"priority": []string{"high", "default", "default", "low"}[rng.IntN(4)],
	}
	// Times are sent in milliseconds, because Postgres keeps microseconds at
	// most.
	ahead := func(from, to int) time.Time {
		return s.At.Add(time.Duration(from+rng.IntN(to-from)) * time.Millisecond).UTC().Truncate(time.Millisecond)
	}
	if kind.Waits {
		s.RunAt = ahead(1000, 5000)
		doc["run_at"] = s.RunAt.Format(time.RFC3339Nano)
	}
	if kind.Expires {
		s.ExpiresAt = ahead(300, 3000)
		doc["expires_at"] = s.ExpiresAt.Format(time.RFC3339Nano)
	}
	if rng.IntN(callbackShare) == 0 {
		s.Callback = true
		doc["callback_url"] = l.callback
	}
	s.body = mustMarshal(doc)
	if rng.IntN(keyShare) == 0 {
		s.Key = "key-" + nonce
		doc["idempotency_key"] = s.Key
	}
	s.item = mustMarshal(doc)
	return s
}

// send makes one attempt and records which submissions were acknowledged.
func (l *load) send(ctx context.Context, how form, list []*Sent) {
	if how == alone {
		l.single(ctx, list[0])
		return
	}
	l.batches.Add(1)
	l.batch(ctx, how, list)
}

func (l *load) single(ctx context.Context, s *Sent) {
	header := http.Header{"Content-Type": {"application/json"}}
	if s.Key != "" {
		header.Set("Idempotency-Key", s.Key)
	}
	a, err := l.call(ctx, http.MethodPost, "/mass-requests/", header, s.body)
	switch {
	case err != nil:
		l.silent.Add(1)
	case a.status == http.StatusServiceUnavailable:
		l.refused.Add(1)
	case a.status == http.StatusCreated:
		var view struct {
			ID int64 `json:"id"`
		}
		if json.Unmarshal(a.body, &view) != nil || view.ID == 0 {
			l.complain("201 without an id: %s", a.body)
		}
		l.told(s, Told{ID: view.ID, Replayed: a.header.Get("Idempotency-Replayed") == "true"})
	default:
		l.complain("POST answered %d: %s", a.status, a.body)
	}
}

// told records an answer that confirms that s is stored.
func (l *load) told(s *Sent, t Told) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Told = append(s.Told, t)
	if len(s.Told) == 1 {
		s.ID, s.Acked = t.ID, time.Now()
		l.acked.Add(1)
	}
}

// unsure returns the submissions with a key that the client sends again: those
// without an answer, and some of the others.
func (l *load) unsure(list []*Sent, rng *rand.Rand) (again []*Sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range list {
		if s.Key != "" && (len(s.Told) == 0 || rng.IntN(repeatShare) == 0) {
			again = append(again, s)
		}
	}
	return again
}

// persist sends submissions again until each of them got another answer.
func (l *load) persist(ctx context.Context, how form, list []*Sent) {
	before := map[*Sent]int{}
	for _, s := range list {
		before[s] = l.answers(s)
	}
	for end := time.Now().Add(persistence); len(list) > 0 && time.Now().Before(end); {
		time.Sleep(patience)
		l.repeats.Add(int64(len(list)))
		l.send(ctx, how, list)
		var left []*Sent
		for _, s := range list {
			if l.answers(s) == before[s] {
				left = append(left, s)
			}
		}
		list = left
	}
}

func (l *load) answers(s *Sent) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(s.Told)
}

// follow makes the move or deletion that the kind of the request requires,
// after a short delay.
func (l *load) follow(ctx context.Context, s *Sent, rng *rand.Rand, later *sync.WaitGroup) {
	var wait time.Duration
	switch {
	case s.ID == 0 || s.Kind.Move == "" && !s.Kind.Delete:
		return
	case s.Kind.Delete:
		wait = time.Duration(rng.IntN(1500)) * time.Millisecond // pending, processing or done by then
	case s.Kind.Move == jobs.StatusPending: // only what has ended can be replayed
		wait = 2 * time.Second
	default:
		wait = 150 * time.Millisecond
	}
	later.Go(func() {
		time.Sleep(wait)
		if s.Kind.Delete {
			l.remove(ctx, s)
		} else {
			l.move(ctx, s)
		}
	})
}

// move asks for the move of the request's kind. The API may answer 409: a
// cancellation may come too late, and a replay too early.
func (l *load) move(ctx context.Context, s *Sent) {
	body := fmt.Appendf(nil, `{"status":%q}`, s.Kind.Move)
	a, err := l.call(ctx, http.MethodPatch, fmt.Sprintf("/mass-requests/%d/status", s.ID), jsonHeader(), body)
	l.mu.Lock()
	s.Asked = true
	if err == nil && a.status == http.StatusOK {
		s.Moved = s.Kind.Move
	}
	l.mu.Unlock()
	if err == nil && a.status != http.StatusOK && a.status != http.StatusConflict && a.status != http.StatusServiceUnavailable {
		l.complain("PATCH of request %d answered %d: %s", s.ID, a.status, a.body)
	}
}

// remove deletes the request, once.
func (l *load) remove(ctx context.Context, s *Sent) {
	a, err := l.call(ctx, http.MethodDelete, fmt.Sprintf("/mass-requests/%d", s.ID), nil, nil)
	l.mu.Lock()
	s.Asked = true
	s.Gone = err == nil && a.status == http.StatusNoContent
	l.mu.Unlock()
	if err == nil && a.status != http.StatusNoContent && a.status != http.StatusServiceUnavailable {
		l.complain("DELETE of request %d answered %d: %s", s.ID, a.status, a.body)
	}
}

// replayFailed periodically replays some of the failed requests in one call.
func (l *load) replayFailed(ctx context.Context) {
	body := fmt.Appendf(nil, `{"action":"replay","filter":{"status":"failed"},"limit":%d}`, bulkLimit)
	for {
		pause(ctx, bulkEvery)
		if ctx.Err() != nil {
			return
		}
		b := Bulk{At: time.Now()}
		a, err := l.call(context.WithoutCancel(ctx), http.MethodPost, "/mass-requests/bulk", jsonHeader(), body)
		b.Until = time.Now()
		switch {
		case err != nil: // an API that is still running may have one statement under way
			b.Until = b.Until.Add(2 * httpTimeout)
		case a.status == http.StatusOK:
			var view struct {
				Changed int `json:"changed"`
			}
			b.Answered = json.Unmarshal(a.body, &view) == nil
			b.Changed = view.Changed
		case a.status == http.StatusServiceUnavailable:
			b.Until = b.Until.Add(2 * httpTimeout) // the abandoned statement may still commit
		default:
			l.complain("the bulk answered %d: %s", a.status, a.body)
		}
		l.mu.Lock()
		l.replays = append(l.replays, b)
		l.mu.Unlock()
	}
}

// complain records an answer that no fault explains.
func (l *load) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.nonsense) < 20 {
		l.nonsense = append(l.nonsense, fmt.Sprintf(format, args...))
	}
}

// submissions returns copies of everything sent so far.
func (l *load) submissions() []Sent {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Sent, len(l.sent))
	for i, s := range l.sent {
		out[i] = *s
	}
	return out
}

func (l *load) bulks() []Bulk {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Bulk(nil), l.replays...)
}
