package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/groupcommit"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/internal/webhook"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

var limits = rules{callbacks: &webhook.Guard{}}

func TestOneBadRowFailsAlone(t *testing.T) {
	t.Parallel()
	d := newDispatcher(slog.New(slog.DiscardHandler))
	var mu sync.Mutex
	delivered := map[int64]bool{}
	release := make(chan struct{})
	var nextID int64
	s := &submitter{backlog: new(backlog), shares: newShares(), dispatcher: d, packer: newPacker(4, drawer()), timeout: time.Minute}
	s.deliver = func(_ context.Context, b jobs.Batch) error {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range b.Requests {
			delivered[id] = true
		}
		return nil
	}
	s.insert = func(_ context.Context, items []store.NewRequest) ([]store.Inserted, error) {
		<-release
		mu.Lock()
		defer mu.Unlock()
		out := make([]store.Inserted, len(items))
		for i, it := range items {
			if string(it.Payload) == "bad" {
				return nil, fmt.Errorf("insert: %w", store.ErrInvalid)
			}
			nextID++
			out[i] = store.Inserted{ID: nextID, BatchID: it.Batch}
			if it.Batch == 0 {
				out[i].BatchID = 1000*nextID + int64(it.Group)
			}
		}
		return out, nil
	}
	s.committer = s.commit()
	var clients sync.WaitGroup
	for i := range 40 {
		clients.Go(func() {
			text := "good"
			if i == 20 {
				text = "bad"
			}
			_, err := s.submit(t.Context(), store.NewRequest{Payload: []byte(text), Priority: jobs.Default})
			if text == "bad" {
				assert.ErrorIs(t, err, store.ErrInvalid)
			} else {
				assert.NoError(t, err)
			}
		})
	}
	close(release)
	clients.Wait()
	require.NoError(t, s.close(t.Context()))
	require.NoError(t, d.close(t.Context()))
	require.Len(t, delivered, 39)
}

func TestDispatcherNeverBlocks(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	d := newDispatcher(slog.New(slog.NewJSONHandler(&log, nil)))
	stuck, done := make(chan struct{}), 0
	var mu sync.Mutex
	const errands = dispatchQueue + 2*dispatchers + 100
	for range errands {
		d.send(errand{what: "wait", do: func(context.Context) error {
			<-stuck
			mu.Lock()
			defer mu.Unlock()
			done++
			return nil
		}})
	}
	close(stuck)
	require.NoError(t, d.close(t.Context()))
	require.Less(t, done, errands)
	require.GreaterOrEqual(t, done, dispatchQueue)
	d.send(errand{what: "late"})
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("\n")), "one line for many lost errands: %s", log.String())
	require.Contains(t, log.String(), "left to the reconciler")
}

func TestDispatcherIsAbandonedInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher(slog.New(slog.DiscardHandler))
		for range 3 * dispatchers {
			d.send(errand{what: "wait", do: func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, d.close(ctx), context.DeadlineExceeded)
		require.NoError(t, d.close(t.Context()), "the rest is dropped at once")
	})
}

func TestErrorsBecomeProblems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{store.ErrNotFound, 404, web.CodeNotFound},
		{store.ErrConflict, 409, web.CodeConflict},
		{fmt.Errorf("%w: %w", store.ErrConflict, &jobs.TransitionError{From: jobs.Done, To: jobs.Failed}), 409, web.CodeTransition},
		{store.ErrInvalid, 422, web.CodeValidation},
		{store.ErrUnavailable, 503, web.CodeUnavailable},
		{groupcommit.ErrClosed, 503, web.CodeUnavailable},
		{context.DeadlineExceeded, 503, web.CodeUnavailable},
		{&http.MaxBytesError{Limit: 7}, 413, web.CodeTooLarge},
		{context.Canceled, 499, web.CodeClientClosed},
		{errors.New("pq: secret internals"), 500, web.CodeInternal},
	} {
		p := problemOf(fmt.Errorf("outer secret: %w", c.err))
		require.Equal(t, c.status, p.Status, c.err)
		require.Equal(t, c.code, p.Code)
		require.ErrorIs(t, p, c.err, "the log gets the cause")
		var out bytes.Buffer
		require.NoError(t, web.Encode(&out, p))
		require.NotContains(t, out.String(), "secret")
		require.Equal(t, c.status == 503, p.GetHeaders().Get("Retry-After") != "")
	}
	require.Contains(t, problemOf(store.ErrUnavailable).Detail, "database cannot be reached")
	require.NotContains(t, problemOf(context.DeadlineExceeded).Detail, "cannot be reached", "passwords wait for each other, too")
}

func TestPanicsBecomeProblems(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := web.WithExchange(slog.New(slog.NewTextHandler(&log, nil)), nil, web.RecoverPanics(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			_, _ = io.WriteString(w, "half")
		}
		panic("secret")
	})))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x", nil))
	require.Equal(t, http.StatusInternalServerError, rec.Code)
	require.Equal(t, web.MediaProblem, rec.Header().Get("Content-Type"))
	var p map[string]any
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
	require.Equal(t, web.CodeInternal, p["code"])
	require.NotContains(t, rec.Body.String(), "secret")
	require.Contains(t, log.String(), "secret")
	require.Contains(t, log.String(), p["request_id"])

	rec = httptest.NewRecorder()
	late := func() { h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/late", nil)) }
	require.PanicsWithValue(t, http.ErrAbortHandler, late, "half an answer must not look whole")
	require.Equal(t, "half", rec.Body.String())
}

func TestFormatters(t *testing.T) {
	t.Parallel()
	require.Equal(t, "batch 42: requests 1, 2, 3", formatPayload(jobs.TypeBatch, []byte(`{"batch":42,"requests":[1,2,3]}`)))
	require.Equal(t, "batch 42: request 1", formatPayload(jobs.TypeBatch, []byte(`{"batch":42,"requests":[1]}`)))
	require.Equal(t, "batch 42", formatPayload(jobs.TypeBatch, []byte(`{"batch":42}`)))
	require.Equal(t, `{"batch":0}`, formatPayload(jobs.TypeBatch, []byte(`{"batch":0}`)))
	require.Equal(t, "text", formatPayload("other", []byte("text")))
	require.Equal(t, "3 claimed: 2 done, 1 failed", formatResult(jobs.TypeBatch, []byte(`{"claimed":3,"done":2,"failed":1}`)))
	require.Equal(t, "0 claimed", formatResult(jobs.TypeBatch, []byte(`{"claimed":0}`)))
	require.Equal(t, "text", formatResult("other", []byte("text")))
}

func FuzzDecodeSubmission(f *testing.F) {
	f.Add([]byte(`{"payload":{"a":1e2,"b":"\u0041"},"priority":"high"}`))
	f.Add([]byte(`{"payload":` + string(signals.Example()) + `}`))
	f.Add([]byte("{\"payload\":{\"\\u0000\":\"\xff\"},\"x\":[[[]]]} "))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := decodeSubmission(body, limits)
		if err != nil {
			p := problemOf(err)
			if p.Status != 400 && p.Status != 422 {
				t.Fatalf("%d for %q: %v", p.Status, body, err)
			}
			if err := web.Encode(io.Discard, p); err != nil {
				t.Fatalf("the problem cannot be written: %v", err)
			}
			return
		}
		var out bytes.Buffer
		if err := web.Encode(&out, submitted(r, store.Inserted{ID: 1})); err != nil {
			t.Fatalf("accepted and not answered: %q: %v", body, err)
		}
		if !json.Valid(out.Bytes()) || !json.Valid(body) {
			t.Fatalf("accepted, and not JSON: %q", body)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add(encodeCursor(store.Position{CreatedAt: time.UnixMicro(1_772_362_802_500_000), ID: 42}))
	f.Add("hello")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := decodeCursor(text)
		if err != nil {
			return
		}
		if p.ID <= 0 || p.CreatedAt.Year() < 1970 || p.CreatedAt.Year() > 9999 {
			t.Fatalf("%q passed as %v", text, p)
		}
		if again := encodeCursor(p); again != text {
			t.Fatalf("%q and %q are the same position", text, again)
		}
	})
}

// BenchmarkSubmit is a POST through all layers but the network and Postgres.
func BenchmarkSubmit(b *testing.B) {
	for name, body := range map[string]string{
		"free":    `{"payload":{"site_id":"site-1","it_load_kw":812.5,"note":"hello"}}`,
		"signals": `{"payload":` + string(signals.Example()) + `}`,
	} {
		b.Run(name, func(b *testing.B) {
			s := offline(b)
			now := time.Now()
			s.submitter.insert = func(_ context.Context, items []store.NewRequest) ([]store.Inserted, error) {
				out := make([]store.Inserted, len(items))
				for i := range items {
					out[i] = store.Inserted{ID: int64(i) + 1, BatchID: 1, CreatedAt: now}
				}
				return out, nil
			}
			s.submitter.deliver = func(context.Context, jobs.Batch) error { return nil }
			b.SetParallelism(32) // clients a processor: they wait for each other's commit
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "/mass-requests/", strings.NewReader(body))
					if err != nil {
						b.Fatal(err)
					}
					r.Header.Set("Content-Type", "application/json")
					rec := httptest.NewRecorder()
					s.Handler().ServeHTTP(rec, r)
					if rec.Code != http.StatusCreated {
						b.Fatal(rec.Body)
					}
				}
			})
		})
	}
}
