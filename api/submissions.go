package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humamux"
	"golang.org/x/sync/semaphore"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/groupcommit"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	maxSubmissions  = 10_000  // submissions a batch at most
	submissionStep  = 500     // of them handed to the group commit at once
	submissionBytes = 4 << 20 // bytes of them read and not yet stored, apart from a single larger one
	maxArrays       = 4       // arrays held in memory at once; a stream is not held
)

type (
	manySubmissionsInput  struct{ JSONBody }
	manySubmissionsOutput struct{ Body func(huma.Context) }
)

// manySubmissions takes many submissions in one request. What makes each of them a
// request of its own is the same as for a single one: decodeSubmission judges
// it, the submitter stores it.
type manySubmissions struct {
	*Server
	arrays chan struct{} // one place for each array in memory
}

func (s *Server) newManySubmissions() *manySubmissions {
	return &manySubmissions{Server: s, arrays: make(chan struct{}, maxArrays)}
}

// submit reads what says that a batch cannot be taken as a whole, which an array
// says before anything of it is stored. The answer is the work: it goes out while
// the steps are committed.
func (b *manySubmissions) submit(ctx context.Context, in *manySubmissionsInput) (*manySubmissionsOutput, error) {
	media, err := web.BodyMedia(in.request.Header, web.MediaJSON, web.MediaNDJSON)
	if err != nil {
		return nil, err
	}
	stream := media == web.MediaNDJSON
	if in.request.ContentLength > b.cfg.MaxBatchBody {
		return nil, web.TooLarge(b.cfg.MaxBatchBody)
	}
	release := func() {}
	if !stream {
		if release, err = b.admitArray(ctx); err != nil {
			return nil, err
		}
	}
	body := func(hctx huma.Context) { //nolint:contextcheck // huma calls it with the context of the request
		defer release()
		r, w := humamux.Unwrap(hctx)
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex() // not supported by test doubles, which do not need it
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		// net/http reads what is left of a body too late for full duplex (it panics
		// in the next request of the connection), so that is done here.
		defer r.Body.Close()
		r.Body = &pacedBody{ReadCloser: r.Body, rc: rc, left: b.cfg.ReadTimeout, most: b.cfg.ReadTimeout}
		var src submissionSource
		if stream {
			src = newLineSource(http.MaxBytesReader(nil, r.Body, b.cfg.MaxBatchBody), b.cfg.MaxBody)
		} else {
			list, err := b.readArray(r)
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

// admitArray waits until there is memory for one more array.
func (b *manySubmissions) admitArray(ctx context.Context) (release func(), err error) {
	wait := time.NewTimer(b.cfg.AnswerTimeout)
	defer wait.Stop()
	select {
	case b.arrays <- struct{}{}:
		return func() { <-b.arrays }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-wait.C:
		return nil, &web.Problem{
			Status: http.StatusServiceUnavailable, Code: web.CodeUnavailable,
			Detail: "Too many arrays are being read now. Try again later, or send application/x-ndjson.",
		}
	}
}

// readArray reads a whole array, of which nothing is stored yet.
func (b *manySubmissions) readArray(r *http.Request) (*arraySource, error) {
	raw, err := web.ReadJSON(r, b.cfg.MaxBatchBody)
	if err != nil {
		return nil, err
	}
	return newArraySource(raw, b.cfg.MaxBody)
}

// submissionEntry is one submission of a batch, judged and not yet stored.
type submissionEntry struct {
	request store.NewRequest
	err     error // why it is not to be stored
	weight  int64 // of submissionBytes
}

// process stores what the source gives and answers each item, in order. The
// reading goes on while a step is committed, so steps grow with the load and
// nobody waits for a step to fill. The problem is what ended the batch early.
func (b *manySubmissions) process(ctx context.Context, src submissionSource, out *submissionsAnswer) *web.Problem {
	queue := make(chan submissionEntry, submissionStep)
	room := semaphore.NewWeighted(submissionBytes)
	var ended error
	go func() {
		defer close(queue)
		ended = b.read(ctx, src, queue, room)
	}()
	var away error // Postgres did not take a whole step: the rest is not tried
	for step := nextStep(queue); len(step) > 0; step = nextStep(queue) {
		if err := ctx.Err(); err != nil {
			away = err
		}
		away = b.storeStep(ctx, step, away, out)
		for i := range step {
			room.Release(step[i].weight)
		}
	}
	if ended == nil { // safe: the queue is closed
		return nil
	}
	return problemOf(ended)
}

// read fills the queue until the source ends, and says why when it is not the end of the batch.
func (b *manySubmissions) read(ctx context.Context, src submissionSource, queue chan<- submissionEntry, room *semaphore.Weighted) (err error) {
	defer func() {
		if p := recover(); p != nil { // nobody else would: this is not the goroutine of the request
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
		queue <- e // the other side reads until the queue is closed
	}
}

// nextStep waits for an entry and takes what else is there; nothing means the end.
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

// storeStep stores a step and answers its items. It returns why nothing more should
// be tried, if so.
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

// boundRate refuses the items of a step that are beyond the caller's rate.
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

// allAway returns the error of a step of which nothing was stored because the
// store is not there; nil when trying on is worth it.
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
