package api

import (
	"context"
	"errors"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/groupcommit"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

const maxWait = time.Minute

// getInput asks for one request, and perhaps waits for its end.
type getInput struct {
	Connection
	ID   int64    `path:"id" minimum:"1" doc:"Id of the MassRequest" example:"42"`
	Wait waitTime `query:"wait" doc:"How long to wait for a final status, at most 60s; a number with a unit, such as 500ms or 1m" example:"30s"`
}

// waitTime is a query parameter; the zero value does not wait.
type waitTime struct{ time.Duration }

// UnmarshalText implements encoding.TextUnmarshaler, for huma.
func (t *waitTime) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 || d > maxWait {
		return errors.New("want a duration from 0s to 60s, such as 30s")
	}
	t.Duration = d
	return nil
}

// awaitEnd returns the request when it is final, or as it is when the time is
// over or the server shuts down.
func (s *Server) awaitEnd(ctx context.Context, in *getInput) (jobs.Request, error) {
	web.Outlast(in.writer, in.Wait.Duration+s.cfg.RequestTimeout+s.cfg.WriteTimeout)
	r, err := s.readTogether(ctx, in.ID)
	if err != nil || r.Status.Final() {
		return r, err
	}
	over := time.NewTimer(in.Wait.Duration)
	defer over.Stop()
	w := s.hub.add(in.ID, forEnd) //nolint:contextcheck // the hub lives longer than this waiter
	defer s.hub.remove(w)
	select {
	case <-w.ready:
		r, gone := s.hub.takeEnd(w)
		if gone {
			return r, store.ErrNotFound
		}
		return r, nil
	case <-ctx.Done():
		return jobs.Request{}, ctx.Err()
	case <-over.C:
	case <-s.hub.closed:
	}
	return s.readTogether(ctx, in.ID)
}

// lookup is a request, if there is one.
type lookup struct {
	request jobs.Request
	found   bool
}

// newReader returns what reads the requests of those who begin or cease to wait
// at the same time in one statement.
func newReader(st *store.Store, timeout time.Duration) *groupcommit.Committer[int64, lookup] {
	read := func(ctx context.Context, ids []int64) ([]lookup, error) {
		found, err := bounded(ctx, timeout, func(ctx context.Context) ([]jobs.Request, error) { return st.RequestsByID(ctx, ids) })
		if err != nil {
			return nil, err
		}
		place := make(map[int64]int, len(found))
		for i := range found {
			place[found[i].ID] = i
		}
		out := make([]lookup, len(ids))
		for i, id := range ids {
			if at, ok := place[id]; ok {
				out[i] = lookup{request: found[at], found: true}
			}
		}
		return out, nil
	}
	return groupcommit.New(read, groupcommit.Options{MaxGroup: lookMax, Parallel: 2})
}

func (s *Server) readTogether(ctx context.Context, id int64) (jobs.Request, error) {
	l, err := bounded(ctx, s.cfg.RequestTimeout, func(ctx context.Context) (lookup, error) { return s.reader.Do(ctx, id) })
	if err == nil && !l.found {
		err = store.ErrNotFound
	}
	return l.request, err
}

// announceChange tells those who wait for requests, in any process.
func (s *Server) announceChange(ids ...int64) {
	s.dispatcher.send(errand{
		what: "announce a change",
		do:   func(ctx context.Context) error { return jobs.AnnounceChanges(ctx, s.rdb, ids...) },
	})
}
