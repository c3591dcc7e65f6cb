package submit_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/submit"
)

// fake is an API as Run sees it, with configurable faults.
type fake struct {
	*httptest.Server
	mu    sync.Mutex
	keys  map[string]int64 // what is stored
	calls int
	fail  func(call int, w http.ResponseWriter, lines []string) bool // true when it answered
}

func newFake(t *testing.T, fail func(call int, w http.ResponseWriter, lines []string) bool) *fake {
	t.Helper()
	f := &fake{keys: map[string]int64{}, fail: fail}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for in := bufio.NewScanner(r.Body); in.Scan(); {
		lines = append(lines, in.Text())
	}
	f.calls++
	if f.fail != nil && f.fail(f.calls, w, lines) {
		return
	}
	f.answer(w, lines)
}

func (f *fake) answer(w http.ResponseWriter, lines []string) {
	for i, line := range lines {
		fmt.Fprintln(w, f.store(i, line))
	}
	fmt.Fprintln(w, `{"created":0,"replayed":0,"refused":0}`)
}

func (f *fake) store(i int, line string) string {
	var it struct {
		Key  string `json:"idempotency_key"`
		Fail string `json:"fail"`
	}
	if json.Unmarshal([]byte(line), &it) != nil || it.Key == "" || it.Fail != "" {
		return fmt.Sprintf(`{"index":%d,"status":422,"problem":{"code":"validation_failed","detail":"d","errors":[{"pointer":"/fail","detail":"is wrong"}]}}`, i)
	}
	id, seen := f.keys[it.Key]
	if !seen {
		id = int64(len(f.keys) + 1)
		f.keys[it.Key] = id
	}
	return fmt.Sprintf(`{"index":%d,"status":201,"id":%d,"replayed":%t}`, i, id, seen)
}

// numbered is an input of n different lines.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"payload\":{\"n\":%d}}\n", i)
	}
	return b.String()
}

func send(ctx context.Context, t *testing.T, f *fake, text string, o submit.Options) (*submit.Summary, []submit.Refusal, error) {
	t.Helper()
	r, err := submit.NewReader(strings.NewReader(text), submit.ReaderOptions{})
	require.NoError(t, err)
	var refused []submit.Refusal
	o.URL, o.Backoff = f.URL, time.Microsecond
	o.Refused = func(r submit.Refusal) error { refused = append(refused, r); return nil }
	sum, err := submit.Run(ctx, r, o)
	return sum, refused, err
}

func TestEverythingIsSentOnce(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	text := numbered(25) + "nonsense\n{ }\n{\"fail\":\"x\"}\n" + numbered(1)
	sum, refused, err := send(t.Context(), t, f, text, submit.Options{Chunk: 7, KeyPrefix: "a"})
	require.NoError(t, err)
	require.Equal(t, 29, sum.Read)
	require.Equal(t, 27, sum.Created)
	require.Len(t, sum.IDs, 27)
	require.Zero(t, sum.NotSent())
	require.Equal(t, 5, f.calls)
	require.Len(t, refused, 2)
	require.Equal(t, []int{26, 28}, []int{refused[0].Line, refused[1].Line})
	require.Equal(t, "line 28: /fail is wrong", refused[1].String())
	require.JSONEq(t, `{"fail":"x"}`, refused[1].Item)

	sum, _, err = send(t.Context(), t, f, text, submit.Options{Chunk: 10, KeyPrefix: "a"})
	require.NoError(t, err)
	require.Equal(t, 27, sum.Replayed, "other chunks, the same keys")
	sum, _, err = send(t.Context(), t, f, text, submit.Options{KeyPrefix: "b"})
	require.NoError(t, err)
	require.Equal(t, 27, sum.Created, "another name, other keys")
}

// A failed attempt is repeated, which neither loses an item nor stores one
// twice.
func TestWhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	var f *fake
	first := func(do func(w http.ResponseWriter, lines []string)) func(int, http.ResponseWriter, []string) bool {
		return func(call int, w http.ResponseWriter, lines []string) bool {
			if call == 2 || call == 3 {
				do(w, lines)
				return true
			}
			return false
		}
	}
	for name, do := range map[string]func(w http.ResponseWriter, lines []string){
		"503":        func(w http.ResponseWriter, _ []string) { w.WriteHeader(http.StatusServiceUnavailable) },
		"429":        func(w http.ResponseWriter, _ []string) { w.WriteHeader(http.StatusTooManyRequests) },
		"502":        func(w http.ResponseWriter, _ []string) { w.WriteHeader(http.StatusBadGateway) },
		"hang up":    func(http.ResponseWriter, []string) { panic(http.ErrAbortHandler) },
		"not a line": func(w http.ResponseWriter, _ []string) { fmt.Fprintln(w, "<html>") },
		"no answer":  func(http.ResponseWriter, []string) {},
		"cut off, but stored": func(w http.ResponseWriter, lines []string) {
			for i, line := range lines {
				if answer := f.store(i, line); i < 2 {
					fmt.Fprintln(w, answer)
				}
			}
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"each second one": func(w http.ResponseWriter, lines []string) {
			for i, line := range lines {
				if i%2 == 0 {
					fmt.Fprintln(w, f.store(i, line))
				} else {
					fmt.Fprintf(w, "{\"index\":%d,\"status\":503,\"problem\":{\"code\":\"unavailable\",\"detail\":\"away\"}}\n", i)
				}
			}
			fmt.Fprintln(w, `{}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f = newFake(t, first(do))
			sum, refused, err := send(t.Context(), t, f, numbered(30), submit.Options{Chunk: 10})
			require.NoError(t, err)
			require.Empty(t, refused)
			require.Equal(t, 30, sum.Created+sum.Replayed)
			require.Len(t, f.keys, 30)
		})
	}
}

func TestWhatIsGivenUp(t *testing.T) {
	t.Parallel()
	status := func(code int) func(int, http.ResponseWriter, []string) bool {
		return func(_ int, w http.ResponseWriter, _ []string) bool {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(code)
			fmt.Fprintln(w, `{"detail":"because"}`)
			return true
		}
	}
	for code, want := range map[int]string{503: "gave up after", 401: "MASS_TOKEN", 403: "because", 404: "404", 422: "because"} {
		f := newFake(t, status(code))
		sum, _, err := send(t.Context(), t, f, numbered(3), submit.Options{})
		require.ErrorContains(t, err, want)
		require.Equal(t, 1, f.calls, "an hour of Retry-After is beyond the timeout")
		require.Equal(t, 3, sum.NotSent())
	}
	_, _, err := send(t.Context(), t, newFake(t, nil), "", submit.Options{Chunk: 10_001})
	require.ErrorContains(t, err, "10000")
}

// A proxy in between may accept less than the API: chunks shrink until they
// pass.
func TestChunksThatAreTooLarge(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(_ int, w http.ResponseWriter, lines []string) bool {
		if len(lines) > 3 || strings.Contains(lines[0], "999") {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return true
		}
		return false
	})
	sum, refused, err := send(t.Context(), t, f, numbered(10)+`{"payload":{"n":999}}`, submit.Options{})
	require.NoError(t, err)
	require.Equal(t, 10, sum.Created)
	require.Len(t, refused, 1)
	require.Equal(t, 11, refused[0].Line)
}

func TestInterruption(t *testing.T) {
	t.Parallel()
	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	f := newFake(t, func(call int, _ http.ResponseWriter, _ []string) bool {
		if call == 3 {
			cancel(stop)
			panic(http.ErrAbortHandler)
		}
		return false
	})
	sum, _, err := send(ctx, t, f, numbered(50), submit.Options{Chunk: 10})
	require.ErrorIs(t, err, stop)
	require.Equal(t, 20, sum.Created)
	require.Equal(t, 10, sum.NotSent())
	sum, _, err = send(t.Context(), t, f, numbered(50), submit.Options{Chunk: 10})
	require.NoError(t, err)
	require.Equal(t, 20, sum.Replayed)
	require.Equal(t, 30, sum.Created)
}

func TestWaitForTheEnd(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.URL.Path]++
		switch {
		case r.Header.Get("Authorization") != "Bearer secret":
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/3"):
			w.WriteHeader(http.StatusNotFound)
		case seen[r.URL.Path] == 1:
			fmt.Fprint(w, `{"status":"processing"}`)
		case strings.HasSuffix(r.URL.Path, "/2"):
			fmt.Fprint(w, `{"status":"failed"}`)
		default:
			fmt.Fprint(w, `{"status":"done"}`)
		}
	}))
	t.Cleanup(srv.Close)
	ended, err := submit.Wait(t.Context(), []int64{1, 2, 3, 4}, submit.Options{URL: srv.URL, Token: "secret"})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"done": 2, "failed": 1, "deleted": 1}, ended)
	_, err = submit.Wait(t.Context(), []int64{1}, submit.Options{URL: srv.URL})
	require.ErrorContains(t, err, "401")
}

func TestKeys(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	for _, prefix := range []string{"a", "a1", ""} {
		for line := range 3 {
			for _, body := range []string{"{}", `{"a":1}`} {
				k := submit.Key(prefix, line, []byte(body))
				require.Regexp(t, `^[0-9a-f]{64}$`, k)
				keys[k] = true
			}
		}
	}
	require.Len(t, keys, 18)
}
