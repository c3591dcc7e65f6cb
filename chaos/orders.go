package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/worker"
)

// DirVariable names the environment variable that tells a process built with
// the tag chaos the folder it shares with the harness.
const DirVariable = "MASS_CHAOS_DIR"

// Orders is the member "chaos" of a free-form payload.
type Orders struct {
	SleepMS   int `json:"sleep_ms,omitempty"`   // how long an attempt takes
	FailTimes int `json:"fail_times,omitempty"` // how many attempts fail, counted over all processes
}

var errOrdered = errors.New("chaos: ordered to fail")

// Pipeline is another pipeline, slowed down and failing as the payload orders.
// It signs every result with the attempt that made it, so that the checker sees
// which attempt wrote it.
type Pipeline struct {
	next worker.Pipeline
	dir  string // shared with the harness
}

// NewPipeline returns a pipeline that runs next and obeys the orders in the
// payloads.
func NewPipeline(next worker.Pipeline, dir string) Pipeline { return Pipeline{next: next, dir: dir} }

// Run obeys the orders in the payload, and lets the next pipeline do the work.
func (p Pipeline) Run(ctx context.Context, raw []byte) (result json.RawMessage, asSubmitted bool, err error) {
	var in struct {
		Nonce  string `json:"correlation_id"`
		Orders Orders `json:"chaos"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, false, fmt.Errorf("read the orders: %w", err)
	}
	// The sleep ignores ctx on purpose: fencing exists for steps that continue
	// after the end of their context.
	time.Sleep(time.Duration(in.Orders.SleepMS) * time.Millisecond)
	if mustFail(p.dir, in.Nonce, in.Orders.FailTimes) {
		return nil, false, errOrdered
	}
	result, asSubmitted, err = p.next.Run(ctx, raw)
	if err != nil {
		return nil, false, err
	}
	return sign(result, jobs.LeaseFromContext(ctx).Attempt), asSubmitted, nil
}

// mustFail counts the failures of a request in files, which all processes share
// and which outlive them. An attempt that dies after it has made a file counts,
// too.
func mustFail(dir, nonce string, times int) bool {
	for i := range times {
		mark, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("failed-%s-%d", nonce, i)), os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			_ = mark.Close()
			return true
		}
	}
	return false
}

// sign adds a member to a result, which is a JSON object.
func sign(result json.RawMessage, attempt int) json.RawMessage {
	head := bytes.TrimSuffix(bytes.TrimSpace(result), []byte("}"))
	return fmt.Appendf(nil, `%s,"chaos":{"attempt":%d}}`, head, attempt)
}
