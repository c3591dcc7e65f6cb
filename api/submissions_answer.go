package api

import (
	"bytes"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

// What an answer repeats of faults: a batch may have a million of them.
const (
	maxItemErrors   = 20    // of one item
	maxAnswerErrors = 5_000 // of all items together
)

// BatchItem says what became of one submission of a batch.
type BatchItem struct {
	Index    int          `json:"index" minimum:"0" doc:"Place in the batch, from 0; blank lines do not count" example:"0"`
	Status   int          `json:"status" doc:"What a POST of this submission alone would have been answered with: 201, or why not" example:"201"`
	ID       int64        `json:"id,omitzero" minimum:"1" doc:"With 201: id of the MassRequest" example:"42"`
	Replayed *bool        `json:"replayed,omitempty" doc:"With 201: it was stored before, under the same key" example:"false"`
	Problem  *ItemProblem `json:"problem,omitempty" doc:"Otherwise: what is wrong. 429 and 503 are worth another try, the others are not"`
}

// ItemProblem is why a submission of a batch was not stored.
type ItemProblem struct {
	Code   string           `json:"code" doc:"Kind of the problem, for programs; the codes are those of Problem" example:"validation_failed"`
	Detail string           `json:"detail" doc:"What went wrong, for people" example:"The request was refused; errors lists what is wrong with it."`
	Errors []web.FieldError `json:"errors,omitempty" doc:"What is wrong with the item: the first 20, and 5000 in one answer; pointers start at the item" nullable:"false"`
}

// BatchEnd is the last line of an NDJSON answer, and the end of a JSON one.
type BatchEnd struct {
	Created  int           `json:"created" minimum:"0" doc:"Submissions stored now" example:"1"`
	Replayed int           `json:"replayed" minimum:"0" doc:"Submissions stored before, under the same keys" example:"0"`
	Refused  int           `json:"refused" minimum:"0" doc:"Submissions not stored" example:"1"`
	Problem  *BatchProblem `json:"problem,omitempty" doc:"Why the batch was not read to its end; what stands in items holds all the same"`
}

// BatchProblem is what ended a batch that was already being answered.
type BatchProblem struct {
	Status int    `json:"status" doc:"What the answer would have been, had nothing been answered yet" example:"413"`
	Code   string `json:"code" doc:"Kind of the problem, for programs" example:"payload_too_large"`
	Detail string `json:"detail" doc:"What went wrong, for people" example:"A batch may have at most 10000 items."`
}

// BatchResult is the answer to a batch as JSON. Only its schema is used: an
// answer is written piece by piece, and a test holds the two together.
type BatchResult struct {
	Items []BatchItem `json:"items" nullable:"false" doc:"One for each submission, in their order"`
	BatchEnd
}

// submissionsAnswer writes an answer while the batch is still being read. Adding to it
// never waits for the client: one that sends everything before it reads anything
// would wait for us in turn. What waits to be written is bounded by maxSubmissions
// and maxAnswerErrors.
type submissionsAnswer struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	stream  bool
	timeout time.Duration // of one write
	gone    func()        // called when the client does not take the answer
	done    chan struct{} // closed when everything is written

	tally  BatchEnd
	items  int
	faults int

	mu     sync.Mutex
	more   *sync.Cond
	buf    bytes.Buffer
	closed bool
	err    error
}

func newSubmissionsAnswer(w http.ResponseWriter, rc *http.ResponseController, stream bool, timeout time.Duration, gone func()) *submissionsAnswer {
	a := &submissionsAnswer{w: w, rc: rc, stream: stream, timeout: timeout, gone: gone, done: make(chan struct{})}
	a.more = sync.NewCond(&a.mu)
	media := web.MediaJSON
	if stream {
		media = web.MediaNDJSON
	} else {
		a.buf.WriteString(`{"items":[`)
	}
	w.Header().Set("Content-Type", media)
	go a.write()
	return a
}

// add answers the next item.
func (a *submissionsAnswer) add(row store.Inserted, err error) {
	it := a.item(row, err)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return
	}
	if !a.stream && it.Index > 0 {
		a.buf.WriteByte(',')
	}
	a.put(it)
}

// item is the answer to the next item, and counts it.
func (a *submissionsAnswer) item(row store.Inserted, err error) BatchItem {
	if err == nil && row.Mismatch {
		err = &web.Problem{Status: http.StatusUnprocessableEntity, Code: web.CodeKeyReused, Detail: detailItemKeyReused}
	}
	it := BatchItem{Index: a.items}
	a.items++
	if err == nil {
		it.Status, it.ID, it.Replayed = http.StatusCreated, row.ID, &row.Replayed
		if row.Replayed {
			a.tally.Replayed++
		} else {
			a.tally.Created++
		}
		return it
	}
	p := problemOf(err)
	errs := p.Errors[:min(len(p.Errors), maxItemErrors, maxAnswerErrors-a.faults)]
	a.faults += len(errs)
	a.tally.Refused++
	it.Status, it.Problem = p.Status, &ItemProblem{Code: p.Code, Detail: p.Detail, Errors: errs}
	return it
}

const detailItemKeyReused = "This idempotency_key was used for another submission before. Use a new key for a new submission."

// end completes the answer, and returns when all of it is written or the client is gone.
func (a *submissionsAnswer) end(p *web.Problem) error {
	if p != nil {
		a.tally.Problem = &BatchProblem{Status: p.Status, Code: p.Code, Detail: p.Detail}
	}
	a.mu.Lock()
	if !a.stream {
		a.buf.WriteByte(']')
		var tail bytes.Buffer
		_ = web.Encode(&tail, a.tally) // into memory, of plain fields
		a.buf.WriteByte(',')
		a.buf.Write(tail.Bytes()[1:]) // without its opening brace
	} else {
		a.put(a.tally)
	}
	a.closed = true
	a.more.Signal()
	a.mu.Unlock()
	<-a.done
	return a.err
}

// put appends a value, and in a stream the end of its line.
func (a *submissionsAnswer) put(v any) {
	_ = web.Encode(&a.buf, v) // into memory, of plain fields
	if a.stream {
		a.buf.WriteByte('\n')
	}
	a.more.Signal()
}

// write sends what was put, until the end.
func (a *submissionsAnswer) write() {
	defer close(a.done)
	var sending bytes.Buffer
	for {
		a.mu.Lock()
		for a.buf.Len() == 0 && !a.closed {
			a.more.Wait()
		}
		sending.Reset()
		sending, a.buf = a.buf, sending
		last := a.closed
		a.mu.Unlock()

		_ = a.rc.SetWriteDeadline(time.Now().Add(a.timeout)) // not supported by test doubles
		_, err := a.w.Write(sending.Bytes())
		if err == nil {
			err = a.rc.Flush()
		}
		if err != nil && !errors.Is(err, http.ErrNotSupported) {
			a.mu.Lock()
			a.err = err
			a.mu.Unlock()
			a.gone()
			return
		}
		if last {
			return
		}
	}
}
