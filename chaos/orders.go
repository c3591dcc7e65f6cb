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

// DirVariable is the environment variable with the folder that a process built with
// the tag chaos shares with the harness.
const DirVariable = "MASS_CHAOS_DIR"

// Orders is the member "chaos" of a free-form payload.
type Orders struct {
	SleepMS   int `json:"sleep_ms,omitempty"`   // how long an attempt takes
	FailTimes int `json:"fail_times,omitempty"` // how many attempts fail, counted over all processes
}

var errOrdered = errors.New("chaos: ordered to fail")

// Pipeline wraps next, and delays and fails attempts as the payload orders. It adds
// the attempt number to every result, so that the checker sees which attempt wrote
// it.
func Pipeline(next worker.Pipeline, dir string) worker.Pipeline {
	return func(ctx context.Context, raw []byte) (jobs.Result, error) {
		var p struct {
			Nonce  string `json:"correlation_id"`
			Orders Orders `json:"chaos"`
		}
		if err := json.Unmarshal(raw, &p); err != nil {
			return jobs.Result{}, fmt.Errorf("read the orders: %w", err)
		}
		// The sleep ignores ctx on purpose: fencing exists for steps that do not stop
		// when their context ends.
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

// mustFail counts the failures of a request with files, which all processes share
// and which outlive them. An attempt that dies after it made a file has used that
// failure up.
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

// sign adds the member "chaos" to a result, which is a JSON object.
func sign(result json.RawMessage, attempt int) json.RawMessage {
	head := bytes.TrimSuffix(bytes.TrimSpace(result), []byte("}"))
	return fmt.Appendf(nil, `%s,"chaos":{"attempt":%d}}`, head, attempt)
}
