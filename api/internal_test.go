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
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/groupcommit"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/internal/webhook"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

var limits = rules{callbacks: &webhook.Guard{}}

func TestErrorsBecomeProblems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{store.ErrNotFound, 404, web.CodeNotFound},
		{store.ErrConflict, 409, web.CodeConflict},
		{fmt.Errorf("%w: %w", store.ErrConflict, &jobs.TransitionError{From: jobs.StatusDone, To: jobs.StatusFailed}), 409, web.CodeTransition},
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
		if err := web.Encode(&out, viewOfInserted(r, store.Inserted{ID: 1})); err != nil {
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
