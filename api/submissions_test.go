package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

const (
	asArray  = "application/json"
	asStream = "application/x-ndjson"
)

// batchAnswer is an answer to a batch, in either form.
type batchAnswer struct {
	Items []api.BatchItem `json:"items"`
	api.BatchEnd
}

// batch posts a batch and reads its answer, which must be whole.
func (e *system) batch(media string, body io.Reader, headers ...string) batchAnswer {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodPost, e.url+"/mass-requests/batch", body)
	require.NoError(e.t, err)
	req.Header.Set("Content-Type", media)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := noRedirects.Do(e.sign(req))
	require.NoError(e.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(e.t, err)
	require.Equal(e.t, http.StatusOK, resp.StatusCode, string(raw))
	return readBatch(e.t, resp.Header.Get("Content-Type"), raw)
}

func readBatch(t *testing.T, media string, raw []byte) (a batchAnswer) {
	t.Helper()
	strict := func(line []byte, into any) {
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		require.NoError(t, dec.Decode(into), string(line))
	}
	if media == asArray {
		strict(raw, &a)
	} else {
		require.Equal(t, asStream, media)
		lines := bytes.Split(bytes.TrimSuffix(raw, []byte("\n")), []byte("\n"))
		for _, line := range lines[:len(lines)-1] {
			var it api.BatchItem
			strict(line, &it)
			a.Items = append(a.Items, it)
		}
		strict(lines[len(lines)-1], &a.BatchEnd)
	}
	for i, it := range a.Items {
		require.Equal(t, i, it.Index)
		require.Equal(t, it.Status == http.StatusCreated, it.Problem == nil)
		require.Equal(t, it.Status == http.StatusCreated, it.ID > 0 && it.Replayed != nil)
	}
	require.Equal(t, len(a.Items), a.Created+a.Replayed+a.Refused)
	return a
}

func (a batchAnswer) statuses() (list []int) {
	for _, it := range a.Items {
		list = append(list, it.Status)
	}
	return list
}

// arrayOf and linesOf make a body of items.
func arrayOf(items ...string) io.Reader {
	return strings.NewReader("[" + strings.Join(items, ",") + "]")
}
func linesOf(items ...string) io.Reader { return strings.NewReader(strings.Join(items, "\n") + "\n") }

// forms are the two forms of a batch.
var forms = map[string]func(...string) io.Reader{asArray: arrayOf, asStream: linesOf}

func TestBatchAnswersEachItemInOrder(t *testing.T) {
	t.Parallel()
	for media, body := range forms {
		t.Run(media, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			example := strings.ReplaceAll(string(signals.Example()), "\n", "")
			a := e.batch(media, body(
				`{"payload":{"n":1}}`,
				`{"payload":{"n":2},"priority":"urgent"}`,
				`{"payload":`+example+`,"priority":"high"}`,
				`{"payload":`+strings.Replace(example, `"it_load_kw": 812.5,`, ``, 1)+`}`,
				`17`,
				`{"payload":{"n":1.50}}`,
			))
			require.Equal(t, []int{201, 422, 201, 422, 422, 201}, a.statuses())
			require.Equal(t, 3, a.Created)
			require.Equal(t, 3, a.Refused)
			require.Nil(t, a.Problem)
			require.Equal(t, "validation_failed", a.Items[1].Problem.Code)
			require.Equal(t, "/priority", a.Items[1].Problem.Errors[0].Pointer)
			require.Equal(t, "/payload/request/signals/energy/it_load_kw", a.Items[3].Problem.Errors[0].Pointer)
			require.Contains(t, a.Items[4].Problem.Errors[0].Detail, "got a number")
			require.Equal(t, 3, e.stored())
			for i, want := range map[int]string{0: `{"n":1}`, 5: `{"n":1.50}`} {
				var payload string
				require.NoError(t, e.db.Get(&payload, `SELECT payload::text FROM mass_requests WHERE id = $1`, a.Items[i].ID))
				require.Equal(t, want, payload)
			}
			var priority string
			require.NoError(t, e.db.Get(&priority, `SELECT priority FROM mass_requests WHERE id = $1`, a.Items[2].ID))
			require.Equal(t, "high", priority)
			eventually(t, "all batches are in Redis", func() bool {
				return e.rdb.LLen(t.Context(), "asynq:{default}:pending").Val() > 0 && e.rdb.LLen(t.Context(), "asynq:{high}:pending").Val() > 0
			})
		})
	}
}

func TestBatchPathsAndForms(t *testing.T) {
	t.Parallel()
	e := setup(t)
	a := e.call(http.MethodPost, "/mass-requests/batch/", `[{"payload":{}}]`)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	require.Equal(t, asArray, a.Header.Get("Content-Type"))
	require.Equal(t, 1, readBatch(t, asArray, []byte(a.text)).Created)

	for _, c := range []struct{ sent, accept, want string }{
		{asArray, "", asArray}, {asArray, asStream, asStream}, {asStream, "", asStream}, {asStream, "*/*", asStream},
		{asStream, asArray, asArray}, {asStream, "text/html, application/json;q=0.9", asArray}, {asStream, ";;", asStream},
		{"application/jsonl", "", asStream}, {"application/x-ndjson; charset=utf-8", "", asStream},
	} {
		body := `{"payload":{}}`
		if c.sent == asArray {
			body = "[" + body + "]"
		}
		a := e.call(http.MethodPost, "/mass-requests/batch", body, "Content-Type", c.sent, "Accept", c.accept)
		require.Equal(t, http.StatusOK, a.StatusCode, a.text)
		require.Equal(t, c.want, a.Header.Get("Content-Type"), "%+v", c)
		require.Equal(t, 1, readBatch(t, c.want, []byte(a.text)).Created)
	}
	for media, body := range map[string]string{asArray: " [ ] ", asStream: "\n \r\n"} {
		a := e.batch(media, strings.NewReader(body))
		require.Empty(t, a.Items)
	}
	e.call(http.MethodGet, "/mass-requests/batch", "").problem(t, 422, "validation_failed")
	require.Equal(t, 10, e.stored())
}

// What is wrong with a batch as a whole is a problem, and then nothing is stored.
func TestBatchesThatCannotBeTaken(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.MaxBatchBody = 1 << 20; c.MaxBody = 4096 })
	many := func(n int) string { return "[" + strings.Repeat(`{"payload":{}},`, n-1) + `{"payload":{}}]` }
	const good = `{"payload":{}}`
	for name, c := range map[string]struct {
		body, media  string
		status       int
		code, detail string
	}{
		"nothing":              {"", asArray, 400, "invalid_json", "array of submissions"},
		"blank":                {" \n", asArray, 400, "invalid_json", "array of submissions"},
		"word":                 {"nonsense", asArray, 400, "invalid_json", "not valid JSON"},
		"object":               {good, asArray, 422, "validation_failed", "must be an array of submissions, got an object"},
		"null":                 {"null", asArray, 422, "validation_failed", "got null"},
		"string":               {`"x"`, asArray, 422, "validation_failed", "got a string"},
		"lines as json":        {good + "\n" + good, asArray, 400, "invalid_json", "more follows"},
		"cut off":              {"[" + good, asArray, 400, "invalid_json", "not valid JSON"},
		"cut off in an item":   {"[" + good + `,{"payload":`, asArray, 400, "invalid_json", "/1/payload"},
		"cut off in a string":  {"[" + good + `,{"payload":{"a":"x`, asArray, 400, "invalid_json", "not valid JSON"},
		"cut off after comma":  {"[" + good + `,`, asArray, 400, "invalid_json", ""},
		"trailing comma":       {"[" + good + ",]", asArray, 400, "invalid_json", "not valid JSON"},
		"no comma":             {"[" + good + good + "]", asArray, 400, "invalid_json", "not valid JSON"},
		"two commas":           {"[" + good + ",," + good + "]", asArray, 400, "invalid_json", ""},
		"wrong bracket":        {"[" + good + "}", asArray, 400, "invalid_json", ""},
		"bad in the middle":    {"[" + good + ",{a:1}," + good + "]", asArray, 400, "invalid_json", ""},
		"NaN in the middle":    {"[" + good + `,{"payload":{"a":NaN}}]`, asArray, 400, "invalid_json", ""},
		"comment":              {"[" + good + "/**/]", asArray, 400, "invalid_json", ""},
		"raw NUL":              {"[" + good + ",\x00]", asArray, 400, "invalid_json", ""},
		"byte order mark":      {"\ufeff[" + good + "]", asArray, 400, "invalid_json", ""},
		"garbage behind":       {"[" + good + "] x", asArray, 400, "invalid_json", "more follows"},
		"two arrays":           {"[" + good + "][" + good + "]", asArray, 400, "invalid_json", "more follows"},
		"ten thousand levels":  {strings.Repeat("[", 20_000), asArray, 400, "invalid_json", ""},
		"one too many":         {many(10_001), asArray, 413, "payload_too_large", "at most 10000 items"},
		"too large":            {"[" + strings.Repeat(" ", 1<<20) + "]", asArray, 413, "payload_too_large", "1048576"},
		"too large stream":     {strings.Repeat(" ", 1<<20+1), asStream, 413, "payload_too_large", "1048576"},
		"form":                 {"a=b", "application/x-www-form-urlencoded", 415, "unsupported_media_type", "application/x-ndjson"},
		"csv":                  {"a,b", "text/csv", 415, "unsupported_media_type", "application/x-ndjson"},
		"no type":              {"[]", "", 415, "unsupported_media_type", ""},
		"other charset":        {"[]", "application/json; charset=utf-16", 415, "unsupported_media_type", "UTF-8"},
		"other charset stream": {"", "application/x-ndjson; charset=latin1", 415, "unsupported_media_type", "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			e := *e
			e.t = t
			a := e.call(http.MethodPost, "/mass-requests/batch", c.body, "Content-Type", c.media)
			a.problem(t, c.status, c.code)
			require.Contains(t, a.text, c.detail)
		})
	}
	e.call(http.MethodPost, "/mass-requests/batch", "[]", "Content-Encoding", "gzip").problem(t, 415, "unsupported_media_type")
	e.call(http.MethodPost, "/mass-requests/batch?dry_run=1", "[]").problem(t, 422, "validation_failed")
	require.Zero(t, e.stored(), "nothing of a batch that was refused may be stored")
	require.NotContains(t, e.log.String(), `"level":"ERROR"`)
}

// What is wrong with one item is its own problem.
func TestBatchItemsThatAreRefused(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.MaxBody = 4096 })
	long := `{"payload":{"a":"` + strings.Repeat("x", 4096-len(`{"payload":{"a":""}}`)) + `"}}`
	require.Len(t, long, 4096)
	key := func(value string) string { return `{"payload":{},"idempotency_key":` + value + `}` }
	const (
		malformed = "invalid_json"
		invalid   = "validation_failed"
	)
	table := []struct {
		item    string
		status  int
		code    string
		pointer string
	}{
		{long, 201, "", ""},
		{strings.Replace(long, "xx", "xxx", 1), 413, "payload_too_large", ""},
		{`null`, 422, invalid, ""},
		{`[]`, 422, invalid, ""},
		{`[{"payload":{}}]`, 422, invalid, ""},
		{`"{}"`, 422, invalid, ""},
		{`{}`, 422, invalid, "/payload"},
		{`{"payload":null}`, 422, invalid, "/payload"},
		{`{"payload":[]}`, 422, invalid, "/payload"},
		{`{"payload":{},"payload":{}}`, 422, invalid, "/payload"},
		{`{"payload":{"a":1,"a":2}}`, 422, invalid, "/payload/a"},
		{`{"payload":{"a":"\u0000"}}`, 422, invalid, "/payload/a"},
		{`{"payload":{"a":"\ud800"}}`, 422, invalid, "/payload/a"},
		{"{\"payload\":{\"a\":\"\xff\"}}", 422, invalid, "/payload/a"},
		{`{"payload":{"a":1e999999}}`, 422, invalid, "/payload/a"},
		{`{"payload":{"schema_version":"2.0"}}`, 422, invalid, "/payload/schema_version"},
		{`{"payload":{"schema_version":"1.1"}}`, 422, invalid, "/payload/request"},
		{`{"payload":{},"surprise":1}`, 422, invalid, "/surprise"},
		{`{"payload":{},"run_at":"tomorrow"}`, 422, invalid, "/run_at"},
		{key(`""`), 422, invalid, "/idempotency_key"},
		{key(`7`), 422, invalid, "/idempotency_key"},
		{key(`"with space"`), 422, invalid, "/idempotency_key"},
		{key(`"\u00e9"`), 422, invalid, "/idempotency_key"},
		{key(`"` + strings.Repeat("k", 256) + `"`), 422, invalid, "/idempotency_key"},
		{key(`"a","idempotency_key":"b"`), 422, invalid, "/idempotency_key"},
		{`{"idempotency_key":7,"priority":1,"payload":{}}`, 422, invalid, "/priority"},
		{key(`null`), 201, "", ""},
		{key(`"` + strings.Repeat("k", 255) + `"`), 201, "", ""},
	}
	// These are no JSON, which an array cannot hold.
	lines := []string{
		`nonsense`, `{"payload":{}`, `{"payload":{}} x`, `{"payload":{}}{"payload":{}}`, `{'payload':{}}`, "\ufeff{\"payload\":{}}", `{"payload":{"a":01}}`,
		`,`, `]`, "\x00", `{"idempotency_key":`, `{"idempotency_key":"k"`,
	}
	for media, body := range forms {
		var items []string
		for _, c := range table {
			items = append(items, c.item)
		}
		if media == asStream {
			items = append(items, lines...)
		}
		a := e.batch(media, body(items...))
		require.Len(t, a.Items, len(items))
		for i, it := range a.Items {
			if i >= len(table) {
				require.Equal(t, 400, it.Status, items[i])
				require.Equal(t, malformed, it.Problem.Code)
				continue
			}
			c := table[i]
			require.Equal(t, c.status, it.Status, "%s: %+v", c.item, it.Problem)
			if c.code == "" {
				continue
			}
			require.Equal(t, c.code, it.Problem.Code)
			var pointers []string
			for _, f := range it.Problem.Errors {
				pointers = append(pointers, f.Pointer)
			}
			if c.pointer != "" {
				require.Contains(t, pointers, c.pointer, c.item)
			}
		}
	}
	require.Equal(t, 5, e.stored(), "the key of 255 letters was used twice")
}

func TestBatchOfTenThousand(t *testing.T) {
	t.Parallel()
	for media, body := range forms {
		t.Run(media, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			items := make([]string, 10_000)
			for i := range items {
				items[i] = fmt.Sprintf(`{"payload":{"n":%d}}`, i)
			}
			a := e.batch(media, body(items...))
			require.Equal(t, 10_000, a.Created)
			require.Equal(t, 10_000, e.stored())
			var wrong int // ids and places belong together
			ids := make([]string, len(a.Items))
			for i, it := range a.Items {
				ids[i] = fmt.Sprintf("(%d,%d)", it.ID, i)
			}
			require.NoError(t, e.db.Get(&wrong, `SELECT count(*) FROM (VALUES `+strings.Join(ids, ",")+`) v(id, n)
			    LEFT JOIN mass_requests r USING (id) WHERE (r.payload->>'n')::int IS DISTINCT FROM v.n`))
			require.Zero(t, wrong)
		})
	}
}

// A stream is known to be too long only when its first lines are stored. It says so at its end.
func TestStreamThatIsTooLong(t *testing.T) {
	t.Parallel()
	e := setup(t)
	a := e.batch(asStream, strings.NewReader(strings.Repeat("{\"payload\":{}}\n", 10_001)))
	require.Equal(t, 10_000, a.Created)
	require.Equal(t, &api.BatchProblem{Status: 413, Code: "payload_too_large", Detail: "A batch may have at most 10000 items."}, a.Problem)
	require.Equal(t, 10_000, e.stored())
}

func TestStreamThatIsTooLarge(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.MaxBatchBody = 100 })
	line := "{\"payload\":{}}\n"
	unknown := io.MultiReader(strings.NewReader(strings.Repeat(line, 50))) // of unknown length
	a := e.batch(asStream, unknown)
	require.Equal(t, 413, a.Problem.Status)
	require.Equal(t, 100/len(line), a.Created)
	require.Equal(t, a.Created, e.stored())
}

func TestBatchKeys(t *testing.T) {
	t.Parallel()
	for media, body := range forms {
		t.Run(media, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			single := e.call(http.MethodPost, "/mass-requests/", `{"payload":{"n":0}}`, "Idempotency-Key", "zero")
			require.Equal(t, http.StatusCreated, single.StatusCode)
			items := []string{
				`{"payload":{"n":0},"idempotency_key":"zero"}`, // of the single one
				`{"payload":{"n":1},"idempotency_key":"a"}`,
				`{"idempotency_key": "a" , "payload":{"n":1}}`, // the member is no part of the submission
				`{"payload":{"n":2},"idempotency_key":"a"}`,    // another one
				`{"payload":{"n":1}}`,
				`{"payload":{"n":1}}`,
				`{ "idempotency_key":"b", "priority":"low", "payload":{}}`,
			}
			a := e.batch(media, body(items...))
			require.Equal(t, []int{201, 201, 201, 422, 201, 201, 201}, a.statuses())
			require.Equal(t, single.id(), a.Items[0].ID)
			require.True(t, *a.Items[0].Replayed)
			require.Equal(t, a.Items[1].ID, a.Items[2].ID)
			require.NotEqual(t, *a.Items[1].Replayed, *a.Items[2].Replayed)
			require.Equal(t, "idempotency_key_reused", a.Items[3].Problem.Code)
			require.Equal(t, 4, a.Created)
			require.Equal(t, 2, a.Replayed)
			again := e.batch(media, body(items...))
			require.Equal(t, 2, again.Created, "those without keys")
			require.Equal(t, 4, again.Replayed)
			require.Equal(t, a.Items[6].ID, again.Items[6].ID)
			require.Equal(t, 7, e.stored())
			// The header takes what the member took.
			b := e.call(http.MethodPost, "/mass-requests/", `{ "priority":"low", "payload":{}}`, "Idempotency-Key", "b")
			require.Equal(t, a.Items[6].ID, b.id())
		})
	}
}

// The answers come while the body is still open.
func TestStreamIsAnsweredAsItComes(t *testing.T) {
	t.Parallel()
	e := setup(t)
	in, out := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.url+"/mass-requests/batch", in)
	require.NoError(t, err)
	e.sign(req).Header.Set("Content-Type", asStream)
	answered := make(chan *http.Response, 1)
	go func() {
		resp, err := noRedirects.Do(req) //nolint:bodyclose // who gets it closes it
		if err == nil {
			answered <- resp
		}
		close(answered)
	}()
	send := func(n int) {
		_, err := fmt.Fprintf(out, "{\"payload\":{\"n\":%d}}\n", n)
		require.NoError(t, err)
	}
	send(0)
	resp := <-answered
	require.NotNil(t, resp)
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for i := range 3 {
		line, err := lines.ReadBytes('\n')
		require.NoError(t, err)
		require.Contains(t, string(line), fmt.Sprintf(`{"index":%d,"status":201,`, i))
		require.Equal(t, i+1, e.stored())
		send(i + 1)
	}
	require.NoError(t, out.Close())
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.Contains(t, string(rest), `{"created":4,"replayed":0,"refused":0}`)
}

// A client that goes away stops its batch; what it had sent before is stored or not, and never in half.
func TestStreamThatIsCutOff(t *testing.T) {
	t.Parallel()
	e := setup(t)
	in, out := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+"/mass-requests/batch", in)
	require.NoError(t, err)
	e.sign(req).Header.Set("Content-Type", asStream)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if resp, err := noRedirects.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}()
	_, err = io.WriteString(out, "{\"payload\":{\"n\":1}}\n{\"payload\":{\"n\":2}}")
	require.NoError(t, err)
	eventually(t, "the first line is stored", func() bool { return e.stored() == 1 })
	cancel()
	_ = out.CloseWithError(context.Canceled)
	<-ended
	eventually(t, "the request is logged", func() bool { return strings.Contains(e.log.String(), `"route":"/mass-requests/batch"`) })
	require.Equal(t, 1, e.stored(), "the second line had no end")
}

// A client that reads nothing before it has sent everything must not be waited for.
func TestStreamToClientThatDoesNotReadYet(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var body bytes.Buffer
	for range 10_000 { // answers of about 3 KB each
		body.WriteString(`{"payload":{"schema_version":"1.1","` + strings.Repeat(`a":1,"b`, 30) + `":1}}` + "\n")
	}
	w := &stalled{ResponseRecorder: httptest.NewRecorder(), read: make(chan struct{})}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mass-requests/batch", &notifying{Reader: &body, end: func() { close(w.read) }})
	e.sign(req).Header.Set("Content-Type", asStream)
	e.api.Handler().ServeHTTP(w, req)
	a := readBatch(t, asStream, w.Body.Bytes())
	require.Len(t, a.Items, 10_000)
	faults := 0
	for _, it := range a.Items {
		require.LessOrEqual(t, len(it.Problem.Errors), 20)
		faults += len(it.Problem.Errors)
	}
	require.Equal(t, 5_000, faults, "an answer is bounded")
}

// stalled takes nothing until read is closed.
type stalled struct {
	*httptest.ResponseRecorder
	read chan struct{}
}

func (s *stalled) Write(p []byte) (int, error) {
	<-s.read
	return s.ResponseRecorder.Write(p)
}

// notifying calls end once when its reader is at its end.
type notifying struct {
	io.Reader
	end  func()
	over bool
}

func (n *notifying) Read(p []byte) (int, error) {
	k, err := n.Reader.Read(p)
	if err != nil && !n.over {
		n.over = true
		n.end()
	}
	return k, err
}

// A stream is read no faster than it is stored. The test runs alone: the figure
// is of the whole process.
func TestStreamTakesLittleMemory(t *testing.T) {
	e := setup(t, func(c *api.Config) { c.MaxBatchBody = 1 << 30 })
	const items, size = 2_000, 200 << 10
	line := `{"payload":{"n":[]},"surprise":"` + strings.Repeat("x", size) + "\"}\n"
	var peak uint64
	sent := 0
	body := readFunc(func(p []byte) (int, error) {
		if sent == items*len(line) {
			return 0, io.EOF
		}
		at := sent % len(line)
		n := copy(p, line[at:])
		sent += n
		if at+n == len(line) && (sent/len(line))%100 == 0 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
		return n, nil
	})
	a := e.batch(asStream, body)
	require.Equal(t, items, a.Refused)
	require.Less(t, peak, uint64(items*size/2), "400 MB were sent")
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// With Postgres gone in the middle the items say which are stored, and the rest can be sent again.
func TestBatchWhenPostgresGoesAway(t *testing.T) {
	t.Parallel()
	stack := devtest.Private(t)
	_, err := migrations.Up(t.Context(), stack.DatabaseURL())
	require.NoError(t, err)
	e := setupOn(t, stack.DatabaseURL(), stack.RedisURL())
	in, out := io.Pipe()
	answers := make(chan batchAnswer, 1)
	go func() { answers <- e.batch(asStream, in) }()
	item := func(n int) string { return fmt.Sprintf("{\"payload\":{\"n\":%d},\"idempotency_key\":\"k%d\"}\n", n, n) }
	var all strings.Builder
	for i := range 1200 {
		all.WriteString(item(i))
	}
	for i := range 600 {
		_, err := io.WriteString(out, item(i))
		require.NoError(t, err)
	}
	eventually(t, "the first half is stored", func() bool { return e.stored() == 600 })
	require.NoError(t, stack.KillPostgres())
	for i := 600; i < 1200; i++ {
		_, err := io.WriteString(out, item(i))
		require.NoError(t, err)
	}
	require.NoError(t, out.Close())
	a := <-answers
	require.Equal(t, 600, a.Created)
	require.Equal(t, 600, a.Refused)
	for i, it := range a.Items {
		if i < 600 {
			require.Equal(t, 201, it.Status)
		} else {
			require.Equal(t, 503, it.Status)
			require.Equal(t, "unavailable", it.Problem.Code)
		}
	}
	require.NoError(t, stack.RestartPostgres(t.Context()))
	eventually(t, "Postgres is back", func() bool {
		var n int
		return e.db.GetContext(t.Context(), &n, `SELECT 1`) == nil
	})
	eventually(t, "the same batch completes", func() bool {
		a = e.batch(asStream, strings.NewReader(all.String()))
		return a.Refused == 0
	})
	require.Equal(t, 1200, e.stored())
	require.GreaterOrEqual(t, a.Replayed, 600)
}

func TestBatchBeyondTheBacklog(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.MaxBacklog = 5 })
	submit := func() batchAnswer {
		return e.batch(asArray, arrayOf(strings.Split(strings.Repeat(`{"payload":{}};`, 8)[:8*15-1], ";")...))
	}
	created := submit().Created
	require.GreaterOrEqual(t, created, 5) // a count that comes in between may not see those of this batch
	eventually(t, "all of a batch are refused", func() bool {
		a := submit()
		created += a.Created
		for _, it := range a.Items[a.Created:] {
			require.Equal(t, "backlog_full", it.Problem.Code)
			require.Equal(t, 429, it.Status)
		}
		return a.Created == 0
	})
	require.Equal(t, created, e.stored())
}

func TestStreamThatStalls(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.ReadTimeout = 10 * time.Second })
	in, out := io.Pipe()
	defer out.Close()
	go func() { _, _ = io.WriteString(out, "{\"payload\":{}}\n{\"payload\"") }()
	a := e.batch(asStream, in)
	require.Equal(t, 1, a.Created)
	require.Equal(t, "request_timeout", a.Problem.Code)
}
