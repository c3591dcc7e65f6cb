package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

const (
	webhookSecret = "whsec_Y2hhb3MgY2hhb3MgY2hhb3MgY2hhb3MgY2hhb3MgISE=" //nolint:gosec // only for a private run
	failEvery     = 10                                                   // the receiver refuses one message in this many
	mostCallback  = 1 << 20                                              // bytes
)

// receiver accepts callbacks. It rejects those without a valid signature, and
// some others on purpose.
type receiver struct {
	verify   *standardwebhooks.Webhook
	complain func(format string, args ...any)
	server   *http.Server
	url      string

	mu      sync.Mutex
	count   int
	taken   map[string]Receipt
	refused int // on purpose
	skewed  int // rejected because the signature's time differs too much from ours: the worker's clock was wrong
	again   int // accepted more than once
}

func newReceiver(complain func(format string, args ...any)) (*receiver, error) {
	verify, err := standardwebhooks.NewWebhook(webhookSecret)
	if err != nil {
		return nil, fmt.Errorf("read the secret of callbacks: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // opening a port does not block
	if err != nil {
		return nil, fmt.Errorf("open a port for callbacks: %w", err)
	}
	r := &receiver{verify: verify, complain: complain, url: "http://" + l.Addr().String() + "/callback", taken: map[string]Receipt{}}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: httpTimeout}
	go func() {
		if err := r.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			complain("the receiver of callbacks: %v", err)
		}
	}()
	return r, nil
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, mostCallback))
	if err != nil { // the sender was killed
		return
	}
	if err := r.verify.VerifyIgnoringTimestamp(body, req.Header); err != nil {
		r.complain("a callback has no valid signature: %v: %s", err, body)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var message struct {
		Type string `json:"type"`
		Data struct {
			ID     int64       `json:"id"`
			Status jobs.Status `json:"status"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &message); err != nil {
		r.complain("a callback cannot be read: %v: %s", err, body)
	}
	got := Receipt{RequestID: message.Data.ID, Event: message.Type, Status: message.Data.Status}
	skewed := r.verify.Verify(body, req.Header) != nil
	w.WriteHeader(r.take(req.Header.Get("webhook-id"), got, skewed))
}

// take accepts or refuses a signed message and returns the status of the
// answer.
func (r *receiver) take(id string, got Receipt, skewed bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	switch before, known := r.taken[id]; {
	case skewed:
		r.skewed++
		return http.StatusUnauthorized
	case r.count%failEvery == 0:
		r.refused++
		return http.StatusServiceUnavailable
	case known && before != got:
		r.complain("the callback %s said %+v and then %+v", id, before, got)
	case known:
		r.again++
	}
	r.taken[id] = got
	return http.StatusNoContent
}

func (r *receiver) receipts() map[string]Receipt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.taken)
}

// String summarizes the callbacks that arrived.
func (r *receiver) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%d callbacks accepted, %d of them more than once; %d refused on purpose, %d because of the time of their signature",
		len(r.taken), r.again, r.refused, r.skewed)
}

func (r *receiver) close() error { return r.server.Close() }

// callbackSettings let the processes call the receiver and retry quickly.
func callbackSettings() []string {
	return strings.Fields(`MASS_WEBHOOK_SECRET=` + webhookSecret + ` MASS_WEBHOOK_ALLOW_HTTP=true MASS_WEBHOOK_ALLOW_NETS=127.0.0.0/8
        MASS_WEBHOOK_TIMEOUT=2s MASS_WEBHOOK_RETRY_BASE=100ms MASS_WEBHOOK_RETRY_MAX=2s MASS_WEBHOOK_MAX_TRIES=100`)
}
