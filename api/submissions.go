package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humamux"
	"golang.org/x/sync/semaphore"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/groupcommit"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	maxSubmissions  = 10_000  // most submissions per HTTP request
	submissionStep  = 500     // most submissions passed to the group commit at once
	submissionBytes = 4 << 20 // most bytes that are read but not stored; one larger item may exceed it
)

type (
	manySubmissionsInput  struct{ JSONBody }
	manySubmissionsOutput struct{ Body func(huma.Context) }
)

// manySubmissions accepts many submissions in one HTTP request. Each of them is
// treated like a single submission: decodeSubmission checks it, and the intake
// stores it.
type manySubmissions struct {
	*Server
	arrays *memoryRoom
}

func (s *Server) newManySubmissions() *manySubmissions {
	return &manySubmissions{Server: s, arrays: newArrayRoom(s.cfg.AnswerTimeout)}
}

// submit refuses a batch submission that cannot be accepted as a whole. An
// array is checked completely before any of its items is stored. The function
// that writes the body of the response also does the work, because the response
// is sent while the steps are committed.
func (b *manySubmissions) submit(_ context.Context, in *manySubmissionsInput) (*manySubmissionsOutput, error) {
	media, err := web.BodyMedia(in.request.Header, web.MediaJSON, web.MediaNDJSON)
	if err != nil {
		return nil, err
	}
	stream := media == web.MediaNDJSON
	if in.request.ContentLength > b.cfg.MaxBatchBody {
		return nil, web.TooLarge(b.cfg.MaxBatchBody)
	}
	body := func(hctx huma.Context) { //nolint:contextcheck // huma calls it with the context of the request
		r, w := humamux.Unwrap(hctx)
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex() // not supported by test doubles, which do not need it
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		// With full duplex, net/http reads the rest of the body too late and
		// panics in the next request of the connection. Closing the body reads
		// it in time.
		defer r.Body.Close()
		r.Body = &pacedBody{ReadCloser: r.Body, rc: rc, left: b.cfg.ReadTimeout, most: b.cfg.ReadTimeout}
		var src submissionSource
		if stream {
			src = newLineSource(http.MaxBytesReader(nil, r.Body, b.cfg.MaxBatchBody), b.cfg.MaxBody)
		} else {
			list, release, err := b.readArray(ctx, r)
			defer release()
			if err != nil {
				web.WriteProblem(w, r, problemOf(err))
				return
			}
			src = list
		}
		out := newSubmissionsAnswer(w, rc, answersStream(r.Header, stream), b.cfg.WriteTimeout, cancel)
		problem := b.process(ctx, src, out)
		if err := out.end(problem); err != nil && web.ExchangeOf(ctx).Err == nil {
			web.ExchangeOf(ctx).Err = err
		}
	}
	return &manySubmissionsOutput{body}, nil
}

// readArray reads a whole array into memory. An array needs a place only when
// freeArray bytes of it have arrived, so callers who send slowly do not keep
// others from sending small arrays. The caller must call release when the array
// is no longer needed, also after an error.
func (b *manySubmissions) readArray(ctx context.Context, r *http.Request) (list *arraySource, release func(), err error) {
	release = func() {}
	body := http.MaxBytesReader(nil, r.Body, b.cfg.MaxBatchBody)
	var raw bytes.Buffer
	n, err := raw.ReadFrom(io.LimitReader(body, freeArray))
	if err == nil && n == freeArray {
		place, err := b.arrays.reserve(ctx)
		if err != nil {
			return nil, release, err
		}
		release = place.release
		raw.Grow(int(max(r.ContentLength-n, 0)) + bytes.MinRead) // ReadFrom asks for that much room to see the end
		if _, err := raw.ReadFrom(body); err != nil {
			return nil, release, web.BodyError(err)
		}
	} else if err != nil {
		return nil, release, web.BodyError(err)
	}
	list, err = newArraySource(raw.Bytes(), b.cfg.MaxBody)
	return list, release, err
}

// submissionEntry is one submission of a batch submission that was checked but
// is not stored yet.
type submissionEntry struct {
	request store.NewRequest
	err     error // why the submission was refused; nil: store it
	weight  int64 // bytes that count toward submissionBytes
}

// process stores the submissions of the source and answers them in order.
// Another goroutine reads ahead while a step is committed, so steps grow with
// the load and no item waits for a step to fill. The problem says why the batch
// submission ended early; nil means that it was read to its end.
func (b *manySubmissions) process(ctx context.Context, src submissionSource, out *submissionsAnswer) *web.Problem {
	queue := make(chan submissionEntry, submissionStep)
	room := semaphore.NewWeighted(submissionBytes)
	var ended error
	go func() {
		defer close(queue)
		ended = b.read(ctx, src, queue, room)
	}()
	var away error // why no item of a step could be stored; later steps are then not attempted
	for step := nextStep(queue); len(step) > 0; step = nextStep(queue) {
		if err := ctx.Err(); err != nil {
			away = err
		}
		away = b.storeStep(ctx, step, away, out)
		for i := range step {
			room.Release(step[i].weight)
		}
	}
	if ended == nil { // no data race: the reader wrote ended before it closed the queue
		return nil
	}
	return problemOf(ended)
}

// read fills the queue until the source ends. It returns an error if reading
// stopped before the end of the body.
func (b *manySubmissions) read(ctx context.Context, src submissionSource, queue chan<- submissionEntry, room *semaphore.Weighted) (err error) {
	defer func() {
		if p := recover(); p != nil { // RecoverPanics covers only the goroutine of the request
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	for n := 0; ; n++ {
		raw, err := src.next()
		var one *itemError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &one):
		case err != nil:
			return err
		}
		if n == maxSubmissions {
			return tooManyItems()
		}
		e := submissionEntry{weight: min(int64(len(raw)), submissionBytes)}
		if room.Acquire(ctx, e.weight) != nil {
			return ctx.Err()
		}
		if one != nil {
			e.err = one.problem
		} else {
			e.request, e.err = decodeItem(raw, b.cfg.rules())
		}
		queue <- e // never blocks for good: process reads until the queue is closed
	}
}

// nextStep waits for an entry and returns it with the other entries that are
// ready. An empty step means that the queue is closed.
func nextStep(queue <-chan submissionEntry) []submissionEntry {
	first, ok := <-queue
	if !ok {
		return nil
	}
	step := append(make([]submissionEntry, 0, len(queue)+1), first)
	for len(step) < submissionStep {
		select {
		case e, ok := <-queue:
			if !ok {
				return step
			}
			step = append(step, e)
		default:
			return step
		}
	}
	return step
}

// storeStep stores a step and answers its items. It returns an error if later
// steps should not be attempted.
func (b *manySubmissions) storeStep(ctx context.Context, step []submissionEntry, away error, out *submissionsAnswer) error {
	var list []store.NewRequest
	b.boundRate(ctx, step)
	for i := range step {
		if step[i].err == nil {
			step[i].request.CreatedBy, step[i].request.Origin = access.CreatedBy(ctx), access.Origin(ctx)
			list = append(list, step[i].request)
		}
	}
	var results []groupcommit.Result[store.Inserted]
	if away == nil && len(list) > 0 {
		results = b.intake.SubmitAll(ctx, list)
		away = allAway(results)
		if away != nil {
			web.ExchangeOf(ctx).Err = away
		}
	}
	for i := range step {
		r := groupcommit.Result[store.Inserted]{Err: step[i].err}
		if step[i].err == nil {
			if results == nil {
				r.Err = away
			} else {
				r, results = results[0], results[1:]
			}
		}
		out.add(r.Out, r.Err)
	}
	return away
}

// boundRate refuses the items of a step that exceed the caller's rate limit.
func (b *manySubmissions) boundRate(ctx context.Context, step []submissionEntry) {
	well := 0
	for i := range step {
		if step[i].err == nil {
			well++
		}
	}
	granted, err := b.guard.AdmitItems(ctx, well)
	for i := range step {
		if step[i].err != nil {
			continue
		}
		if granted--; granted < 0 {
			step[i].err = err
		}
	}
}

// allAway returns an error if the store was unavailable for every item of a
// step. It returns nil if further steps are worth attempting.
func allAway(results []groupcommit.Result[store.Inserted]) error {
	for _, r := range results {
		if r.Err == nil || problemOf(r.Err).Status < http.StatusInternalServerError {
			return nil
		}
	}
	return results[0].Err
}

func tooManyItems() *web.Problem {
	return &web.Problem{
		Status: http.StatusRequestEntityTooLarge, Code: web.CodeTooLarge,
		Detail: fmt.Sprintf("A batch may have at most %d items.", maxSubmissions),
	}
}
