package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

const (
	clients     = 32
	tick        = 50 * time.Millisecond // submissions of one tick go out together, so that the API groups them
	httpTimeout = 10 * time.Second
)

// load is the known set of clients. Each submission has a nonce of its own and
// is sent once: a client that got no answer does not know whether it is stored,
// and goes on to the next.
type load struct {
	addrs []string // of the APIs; taken in turns
	rate  int      // submissions a second
	seed  uint64
	http  *http.Client

	turn     atomic.Uint64
	acked    atomic.Int64
	refused  atomic.Int64 // 503
	silent   atomic.Int64 // no answer at all
	mu       sync.Mutex
	sent     []*Sent
	newest   int64    // largest id acknowledged so far
	nonsense []string // answers that no fault excuses, the first few
}

func newLoad(addrs []string, rate int, seed uint64) *load {
	transport := &http.Transport{MaxIdleConnsPerHost: clients, MaxConnsPerHost: 2 * clients, IdleConnTimeout: 10 * time.Second}
	return &load{addrs: addrs, rate: rate, seed: seed, http: &http.Client{Transport: transport, Timeout: httpTimeout}}
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
				kind := pick(kinds, rng)
				l.one(context.WithoutCancel(ctx), kind, fmt.Sprintf("%s-%d-%d", kind.Name, c, n), rng, &wg)
			}
		})
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	each := max(1, int(int64(l.rate)*int64(tick)/int64(time.Second)))
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
		for range each {
			select {
			case orders <- struct{}{}:
			default: // every client waits for an answer: they do not pile up
			}
		}
	}
	close(orders)
	wg.Wait()
}

// one submits a request, and later asks for its move if its kind has one.
func (l *load) one(ctx context.Context, kind *Kind, nonce string, rng *rand.Rand, moves *sync.WaitGroup) {
	priority := []string{"high", "default", "default", "low"}[rng.IntN(4)]
	body := fmt.Appendf(nil, `{"payload":%s,"priority":%q}`, kind.payload(nonce, rng), priority)
	s := &Sent{Nonce: nonce, Kind: kind, At: time.Now()}
	status, answer, err := l.do(ctx, http.MethodPost, "/mass-requests/", body)
	switch {
	case err != nil:
		l.silent.Add(1)
	case status == http.StatusServiceUnavailable:
		l.refused.Add(1)
	case status == http.StatusCreated:
		var view struct {
			ID int64 `json:"id"`
		}
		if json.Unmarshal(answer, &view) != nil || view.ID == 0 {
			l.complain("201 without an id: %s", answer)
		}
		s.ID, s.Acked = view.ID, time.Now()
		l.acked.Add(1)
	default:
		l.complain("POST answered %d: %s", status, answer)
	}
	l.mu.Lock()
	l.sent = append(l.sent, s)
	l.newest = max(l.newest, s.ID)
	l.mu.Unlock()
	if kind.Move != "" && s.ID != 0 {
		wait := 150 * time.Millisecond
		if kind.Move == jobs.Pending { // only what has ended can be replayed
			wait = 2 * time.Second
		}
		moves.Go(func() {
			time.Sleep(wait)
			l.move(ctx, s)
		})
	}
}

// move asks for the move of the request's kind. 409 is an honest answer: it is
// too late for a cancellation, or too early for a replay.
func (l *load) move(ctx context.Context, s *Sent) {
	body := fmt.Appendf(nil, `{"status":%q}`, s.Kind.Move)
	status, answer, err := l.do(ctx, http.MethodPatch, fmt.Sprintf("/mass-requests/%d/status", s.ID), body)
	l.mu.Lock()
	s.Asked = true
	if err == nil && status == http.StatusOK {
		s.Moved = s.Kind.Move
	}
	l.mu.Unlock()
	if err == nil && status != http.StatusOK && status != http.StatusConflict && status != http.StatusServiceUnavailable {
		l.complain("PATCH of request %d answered %d: %s", s.ID, status, answer)
	}
}

func (l *load) do(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	addr := l.addrs[l.turn.Add(1)%uint64(len(l.addrs))]
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.http.Do(req)
	if err != nil {
		time.Sleep(tick) // do not spin on an API that is away
		return 0, nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return resp.StatusCode, answer, nil
}

// complain notes an answer that nothing excuses.
func (l *load) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.nonsense) < 20 {
		l.nonsense = append(l.nonsense, fmt.Sprintf(format, args...))
	}
}

// newestID is the largest id that was acknowledged so far.
func (l *load) newestID() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest
}

// submissions returns what was sent so far.
func (l *load) submissions() []Sent {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Sent, len(l.sent))
	for i, s := range l.sent {
		out[i] = *s
	}
	return out
}
