package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
)

// events is a stream that a test reads.
type events struct {
	t    *testing.T
	resp *http.Response
	text *bufio.Reader
}

// sent is one event, or one comment; zero at the end of the stream.
type sent struct {
	id                  int64
	name, data, comment string
}

// stream opens a stream of a request's events, behind the event last if any.
func (e *system) stream(ctx context.Context, id int64, last string) *events {
	e.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+requestPath(id)+"/events", nil)
	require.NoError(e.t, err)
	e.sign(req).Header.Set("Accept", "text/event-stream")
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := noRedirects.Do(req)
	require.NoError(e.t, err)
	e.t.Cleanup(func() { _ = resp.Body.Close() })
	s := &events{t: e.t, resp: resp, text: bufio.NewReader(resp.Body)}
	if resp.StatusCode == http.StatusOK {
		line, err := s.text.ReadString('\n')
		require.NoError(e.t, err)
		require.Equal(e.t, "retry: 2000\n", line)
		_, err = s.text.ReadString('\n')
		require.NoError(e.t, err)
	}
	return s
}

func (s *events) next() (e sent) {
	s.t.Helper()
	for {
		line, err := s.text.ReadString('\n')
		if err != nil {
			return sent{}
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			e.id, err = strconv.ParseInt(value, 10, 64)
			require.NoError(s.t, err)
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if line == "\n" {
				return e
			}
			e.comment = value
		default:
			s.t.Fatalf("unknown line %q", line)
		}
	}
}

// rest reads the names of all events until the end of the stream.
func (s *events) rest() (names []string) {
	s.t.Helper()
	for e := s.next(); e != (sent{}); e = s.next() {
		names = append(names, e.name)
	}
	return names
}

func TestHistory(t *testing.T) {
	t.Parallel()
	e := setup(t)
	id := e.submit(`{}`)
	e.end(id)
	path := requestPath(id) + "/events"
	e.call(http.MethodPatch, requestPath(id)+"/status", `{"status":"pending"}`)
	require.Equal(t, http.StatusNoContent, e.call(http.MethodDelete, requestPath(id), "").StatusCode)

	all := e.call(http.MethodGet, path+"/", "")
	require.Equal(t, http.StatusOK, all.StatusCode, all.text)
	require.Equal(t, "application/json", all.Header.Get("Content-Type"))
	require.Equal(t, "Accept", all.Header.Get("Vary"))
	require.Nil(t, all.json["next"])
	items, _ := all.json["items"].([]any)
	var moves []string
	for _, it := range items {
		event, _ := it.(map[string]any)
		moves = append(moves, fmt.Sprint(event["action"], " ", event["from_status"], " ", event["to_status"], " ", event["attempt"]))
		for _, name := range []string{"id", "at", "batch_id", "actor", "detail"} {
			require.Contains(t, event, name)
		}
	}
	require.Equal(t, []string{
		"submit <nil> pending <nil>", "claim pending processing 1", "finish processing done 1", "replay done pending 1", "delete pending <nil> 1",
	}, moves)

	var paged []any
	for next := path + "?limit=2"; next != ""; {
		a := e.call(http.MethodGet, next, "")
		require.Equal(t, http.StatusOK, a.StatusCode, a.text)
		page, _ := a.json["items"].([]any)
		paged = append(paged, page...)
		next, _ = a.json["next"].(string)
	}
	require.Equal(t, items, paged)

	last, _ := items[4].(map[string]any)
	behind := e.call(http.MethodGet, path+"?after="+last["id"].(json.Number).String(), "")
	require.Equal(t, http.StatusOK, behind.StatusCode)
	require.JSONEq(t, `{"items":[],"next":null}`, behind.text)
	head := e.call(http.MethodHead, path, "")
	require.Equal(t, all.Header.Get("Content-Length"), head.Header.Get("Content-Length"))
}

func TestEventsThatAreRefused(t *testing.T) {
	t.Parallel()
	e := setup(t)
	id := e.submit(`{}`)
	path := requestPath(id) + "/events"
	for _, accept := range []string{"", "text/event-stream"} {
		e.call(http.MethodGet, "/mass-requests/4711/events", "", "Accept", accept).problem(t, http.StatusNotFound, "not_found")
		for query, name := range map[string]string{
			"limit=0": "limit", "limit=501": "limit", "after=-1": "after", "after=x": "after", "wait=1s": "wait", "after=9223372036854775808": "after",
		} {
			a := e.call(http.MethodGet, path+"?"+query, "", "Accept", accept)
			a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
			require.Equal(t, []string{name}, a.faults())
		}
		a := e.call(http.MethodGet, path, "", "Accept", accept, "Last-Event-ID", "x")
		a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
		require.Equal(t, []string{"Last-Event-ID"}, a.faults())
	}
	for _, accept := range []string{"text/html", "image/*", "text/event-stream;q=0"} {
		e.call(http.MethodGet, path, "", "Accept", accept).problem(t, http.StatusNotAcceptable, "not_acceptable")
	}
	require.Zero(t, e.api.WaitStats().Waiters)
}

func TestStream(t *testing.T) {
	t.Parallel()
	e := setup(t, onlyByNotice)
	id := e.submit(`{}`)
	stream := e.stream(t.Context(), id, "")
	require.Equal(t, http.StatusOK, stream.resp.StatusCode)
	require.Equal(t, "text/event-stream", stream.resp.Header.Get("Content-Type"))
	require.Equal(t, "no-store", stream.resp.Header.Get("Cache-Control"))
	require.Equal(t, "no", stream.resp.Header.Get("X-Accel-Buffering"))
	require.Equal(t, "Accept", stream.resp.Header.Get("Vary"))
	submitted := stream.next()
	require.Equal(t, "submit", submitted.name)

	e.end(id)
	e.announce(id)
	claimed, finished := stream.next(), stream.next()
	require.Equal(t, "claim", claimed.name)
	require.Equal(t, "finish", finished.name)
	require.Equal(t, sent{name: "end", data: fmt.Sprintf(`{"id":%d,"status":"done"}`, id)}, stream.next())
	require.Equal(t, sent{}, stream.next())

	history := e.call(http.MethodGet, requestPath(id)+"/events", "", "Accept", "application/json")
	items, _ := history.json["items"].([]any)
	for i, s := range []sent{submitted, claimed, finished} {
		require.JSONEq(t, jsonOf(t, items[i]), s.data)
		require.Equal(t, items[i].(map[string]any)["id"].(json.Number).String(), strconv.FormatInt(s.id, 10))
	}

	require.Equal(t, []string{"claim", "finish", "end"}, e.stream(t.Context(), id, strconv.FormatInt(submitted.id, 10)).rest())
	for _, last := range []string{strconv.FormatInt(finished.id, 10), "9223372036854775807"} {
		require.Equal(t, http.StatusNoContent, e.stream(t.Context(), id, last).resp.StatusCode)
	}
	e.call(http.MethodPatch, requestPath(id)+"/status", `{"status":"pending"}`)
	again := e.stream(t.Context(), id, strconv.FormatInt(finished.id, 10))
	require.Equal(t, "replay", again.next().name)
	e.call(http.MethodDelete, requestPath(id), "")
	require.Equal(t, "delete", again.next().name)
	require.Equal(t, sent{name: "end", data: fmt.Sprintf(`{"id":%d,"status":null}`, id)}, again.next())
	require.Equal(t, []string{"submit", "claim", "finish", "replay", "delete", "end"}, e.stream(t.Context(), id, "").rest())
	e.waiting(0)
}

func TestStreamWithoutNoticesAndWithSignsOfLife(t *testing.T) {
	t.Parallel()
	e := setup(t, onlyByLooking, func(c *api.Config) {
		c.KeepAlive, c.ReadTimeout, c.WriteTimeout = 2*time.Second, 10*time.Second, 10*time.Second
	})
	id := e.submit(`{}`) // without deadlines
	stop := e.serve()
	stream := e.stream(t.Context(), id, "")
	require.Equal(t, "submit", stream.next().name)
	for range 6 { // longer than the deadlines of an ordinary exchange
		require.Equal(t, sent{comment: "still here"}, stream.next())
	}
	e.end(id)
	var names []string
	for _, name := range stream.rest() {
		if name != "" {
			names = append(names, name)
		}
	}
	require.Equal(t, []string{"claim", "finish", "end"}, names)
	stop()
}

func TestStreamOfALongHistory(t *testing.T) {
	t.Parallel()
	e := setup(t, onlyByNotice)
	for _, length := range []int{99, 100, 101, 200, 350} {
		id := e.submit(`{}`)
		_, err := e.db.ExecContext(t.Context(), `
            INSERT INTO audit_events (request_id, action, actor, to_status)
            SELECT $1, 'step', 'test', CASE WHEN n = $2 THEN 'failed' ELSE 'done' END FROM generate_series(2, $2::int) n`, id, length)
		require.NoError(t, err)
		names := e.stream(t.Context(), id, "").rest()
		require.Len(t, names, length+1)
		require.Equal(t, "submit", names[0])
		require.Equal(t, "end", names[length])
	}
}

func TestHeadOfAStream(t *testing.T) {
	t.Parallel()
	e := setup(t)
	a := e.call(http.MethodHead, requestPath(e.submit(`{}`))+"/events", "", "Accept", "text/event-stream")
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Equal(t, "text/event-stream", a.Header.Get("Content-Type"))
}
