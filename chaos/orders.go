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
	SleepMS   int `json:"sleep_ms,omitempty"`   // how long a try takes
	FailTimes int `json:"fail_times,omitempty"` // how many tries fail, whichever process makes them
}

var errOrdered = errors.New("chaos: told to fail")

// Pipeline is next, slowed and failing as the payload orders. It signs every
// result with the attempt that made it, so that the checker sees who wrote it.
func Pipeline(next worker.Pipeline, dir string) worker.Pipeline {
	return func(ctx context.Context, raw []byte) (jobs.Result, error) {
		var p struct {
			Nonce  string `json:"correlation_id"`
			Orders Orders `json:"chaos"`
		}
		if err := json.Unmarshal(raw, &p); err != nil {
			return jobs.Result{}, fmt.Errorf("read the orders: %w", err)
		}
		// Deliberately deaf to ctx: a step that does not heed the end of its
		// context is what fencing is for.
		time.Sleep(time.Duration(p.Orders.SleepMS) * time.Millisecond)
		if mustFail(dir, p.Nonce, p.Orders.FailTimes) {
			return jobs.Result{}, errOrdered
		}
		result, err := next(ctx, raw)
		if err != nil {
			return jobs.Result{}, err
		}
		result.JSON = sign(result.JSON, jobs.LeaseFromContext(ctx).Attempt)
		return result, nil
	}
}

// mustFail counts the failures of a request by files, which all processes share
// and which outlive them. A try that dies after its mark has used it up.
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

// sign adds a member to the object that a result is.
func sign(result json.RawMessage, attempt int) json.RawMessage {
	head := bytes.TrimSuffix(bytes.TrimSpace(result), []byte("}"))
	return fmt.Appendf(nil, `%s,"chaos":{"attempt":%d}}`, head, attempt)
}
