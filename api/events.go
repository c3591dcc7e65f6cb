package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

// reconnectAfter is how long a stream asks its client to wait before the client
// reconnects.
const reconnectAfter = 2 * time.Second

type eventsInput struct {
	Connection
	ID    int64 `path:"id" minimum:"1" doc:"Id of the MassRequest" example:"42"`
	Limit int   `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"Maximum number of events on a page; a stream is not paged" example:"100"`
	After int64 `query:"after" minimum:"0" doc:"Only events after the event with this id" example:"1041"`
	Last  int64 `header:"Last-Event-ID" minimum:"0" doc:"For a stream: the same as after, which it overrides; browsers send it when they reconnect" example:"1041"`
}

// RequestEvent is one event in the history of a request.
type RequestEvent struct {
	ID         int64   `json:"id" doc:"Increases within the history of one MassRequest" example:"1041"`
	At         string  `json:"at" format:"date-time" doc:"When the event happened" example:"2026-03-01T11:00:02.500000Z"`
	Action     string  `json:"action" doc:"What happened: submit, claim, finish, fail, retry, release, rescue, cancel, replay or delete; later versions may add more" example:"claim"`
	FromStatus *string `json:"from_status" doc:"Status before the event" example:"pending"`
	ToStatus   *string `json:"to_status" doc:"Status after the event" example:"processing"`
	Attempt    *int    `json:"attempt" doc:"Number of the attempt" example:"1"`
	BatchID    *int64  `json:"batch_id" doc:"Id of the batch that carried the MassRequest" example:"7"`
	Actor      string  `json:"actor" doc:"User, API key or process that caused the event" example:"worker:3"`
	Detail     *string `json:"detail" doc:"Details, such as an error message" example:"worker 3 fell silent"`
}

// RequestEventList is one page of a request's history.
type RequestEventList struct {
	Items []RequestEvent `json:"items" nullable:"false" doc:"Oldest first"`
	Next  *string        `json:"next" doc:"Path and query of the next page; null on the last one" example:"/mass-requests/42/events?after=1041&limit=100"`
}

// streamEnd is the data of a stream's last event.
type streamEnd struct {
	ID     int64   `json:"id"`
	Status *string `json:"status"` // null: the request was deleted
}

func eventOf(e *store.Event) RequestEvent {
	view := RequestEvent{
		ID: e.ID, At: formatTime(e.At), Action: e.Action, FromStatus: orNull(e.FromStatus), ToStatus: orNull(e.ToStatus),
		Actor: e.Actor, Detail: orNull(e.Detail),
	}
	if e.Attempt != 0 {
		view.Attempt = &e.Attempt
	}
	if e.BatchID != 0 {
		view.BatchID = &e.BatchID
	}
	return view
}

func (s *Server) requestEvents(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	in.writer.Header().Set("Vary", "Accept")
	media, ok := web.Negotiate(in.request.Header.Values("Accept"), web.MediaJSON, web.MediaEventStream)
	if !ok {
		return nil, web.NotAcceptable(web.MediaJSON, web.MediaEventStream)
	}
	if media == web.MediaEventStream {
		return s.eventStream(ctx, in)
	}
	page, err := s.eventPage(ctx, in)
	if err != nil {
		return nil, err
	}
	return in.answerJSON(page)
}

func (s *Server) eventPage(ctx context.Context, in *eventsInput) (RequestEventList, error) {
	page := RequestEventList{Items: []RequestEvent{}}
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	found, err := s.store.Events(within, in.ID, in.After, in.Limit+1) // one extra row shows whether there is a next page
	if err == nil && len(found) == 0 {
		_, err = s.lastChange(ctx, in.ID)
	}
	if err != nil {
		return page, err
	}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		q := url.Values{"limit": {strconv.Itoa(in.Limit)}, "after": {strconv.FormatInt(found[in.Limit-1].ID, 10)}}
		next := pathRequests + strconv.FormatInt(in.ID, 10) + "/events?" + q.Encode()
		page.Next = &next
	}
	for i := range found {
		page.Items = append(page.Items, eventOf(&found[i]))
	}
	return page, nil
}

func (s *Server) lastChange(ctx context.Context, id int64) (store.Event, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	return s.store.LastChange(within, id)
}

// eventStream sends the history and then each new event, until the request is
// final and all its events were sent. A client that reconnects after that gets
// 204, which tells browsers to stop reconnecting.
func (s *Server) eventStream(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	last, err := s.lastChange(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	after := in.After
	if in.Last > 0 {
		after = in.Last
	}
	state := streamState{}
	if after >= last.ID {
		after = last.ID // an id that the client made up must not hide events
		state.note(&last)
	}
	header := in.writer.Header()
	header.Set("Cache-Control", "no-store")
	if state.ended {
		return &huma.StreamResponse{Body: func(huma.Context) { in.writer.WriteHeader(http.StatusNoContent) }}, nil
	}
	header.Set("Content-Type", web.MediaEventStream)
	header.Set("X-Accel-Buffering", "no") // nginx
	return &huma.StreamResponse{Body: func(huma.Context) {
		in.writer.WriteHeader(http.StatusOK)
		if in.request.Method == http.MethodHead {
			return
		}
		if err := s.sendEvents(ctx, in, after); err != nil {
			web.ExchangeOf(ctx).Err = err
		}
	}}, nil
}

// streamState is the state of a request after the events that were sent.
type streamState struct {
	ended  bool
	status *string // null: deleted
}

func (s *streamState) note(e *store.Event) {
	if ends, changes := e.Ends(); changes {
		s.ended, s.status = ends, orNull(e.ToStatus)
	}
}

// sendEvents writes events until the request is final, the server shuts down,
// or an error occurs. An error always means that the client is gone.
func (s *Server) sendEvents(ctx context.Context, in *eventsInput, after int64) error {
	out := sseWriter{Connection: in.Connection, patience: s.cfg.WriteTimeout}
	if err := out.send(fmt.Appendf(nil, "retry: %d\n\n", reconnectAfter.Milliseconds())); err != nil {
		return err
	}
	stream := s.waiting.Follow(in.ID, after) //nolint:contextcheck // the hub lives longer than this stream
	defer stream.Close()
	alive := time.NewTicker(s.cfg.KeepAlive)
	defer alive.Stop()
	var state streamState
	for {
		var text []byte
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.waiting.Closed():
			return nil // the client reconnects, to another process
		case <-alive.C:
			text = []byte(": still here\n\n")
		case <-stream.Ready():
			found, more := stream.Take()
			for i := range found {
				e := &found[i]
				state.note(e)
				text = appendEvent(text, e.ID, e.Action, eventOf(e))
			}
			if state.ended && !more {
				text = appendEvent(text, 0, "end", streamEnd{ID: in.ID, Status: state.status})
				return out.send(text)
			}
		}
		if err := out.send(text); err != nil {
			return err
		}
	}
}

// appendEvent appends one event in the format of server-sent events. The data
// fits on one line, because web.Encode writes no line breaks.
func appendEvent(text []byte, id int64, name string, data any) []byte {
	if id != 0 {
		text = fmt.Appendf(text, "id: %d\n", id)
	}
	buf := bytes.NewBuffer(fmt.Appendf(text, "event: %s\ndata: ", name))
	_ = web.Encode(buf, data) // strings and numbers can always be encoded
	buf.WriteString("\n\n")
	return buf.Bytes()
}

// sseWriter writes to a client that may be slow. Each write has a time limit of
// patience.
type sseWriter struct {
	Connection
	patience time.Duration
}

func (w *sseWriter) send(text []byte) error {
	web.Outlast(w.writer, w.patience)
	if _, err := w.writer.Write(text); err != nil {
		return fmt.Errorf("send events: %w", err)
	}
	if err := http.NewResponseController(w.writer).Flush(); err != nil {
		return fmt.Errorf("send events: %w", err)
	}
	return nil
}
