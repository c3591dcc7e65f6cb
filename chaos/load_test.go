package chaos

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

func TestAnswersToABatchAreReadAsFarAsTheyCame(t *testing.T) {
	t.Parallel()
	const one, two, end = `{"index":0,"status":201,"id":7,"replayed":true}`, `{"index":1,"status":503,"problem":{}}`, `"created":1,"replayed":0,"refused":1`
	for name, c := range map[string]struct {
		how   form
		body  string
		items int
		whole bool
	}{
		"lines":             {asLines, one + "\n" + two + "\n{" + end + "}\n", 2, true},
		"lines without end": {asLines, one + "\n" + two[:10], 1, false},
		"array":             {asArray, `{"items":[` + one + `,` + two + `],` + end + `}`, 2, true},
		"array without end": {asArray, `{"items":[` + one + `,`, 0, false},
	} {
		items, whole := readItems(c.how, []byte(c.body))
		assert.Len(t, items, c.items, name)
		assert.Equal(t, c.whole, whole, name)
		if len(items) > 0 {
			assert.EqualValues(t, 7, items[0].ID, name)
			assert.True(t, items[0].replayed(), name)
		}
	}
}

func TestReceiverBelievesOnlyWhatIsSigned(t *testing.T) {
	t.Parallel()
	var complaints []string
	r, err := newReceiver(func(format string, _ ...any) { complaints = append(complaints, format) })
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.close()) })
	signer, err := standardwebhooks.NewWebhook(webhookSecret)
	require.NoError(t, err)
	call := func(id, body string, at time.Time) int {
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		signature, err := signer.Sign(id, at, []byte(strings.TrimSuffix(body, "forged")))
		require.NoError(t, err)
		req.Header.Set("webhook-id", id)
		req.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
		req.Header.Set("webhook-signature", signature)
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		return w.Code
	}
	const body = `{"type":"mass_request.done","data":{"id":1,"status":"done"}}`

	assert.Equal(t, http.StatusUnauthorized, call("msg_1", body+"forged", time.Now()))
	assert.Len(t, complaints, 1)
	assert.Equal(t, http.StatusUnauthorized, call("msg_1", body, time.Now().Add(2*time.Hour)), "its sender's clock is wrong")
	assert.Empty(t, r.receipts())
	assert.Equal(t, http.StatusNoContent, call("msg_1", body, time.Now()))
	assert.Equal(t, map[string]Receipt{"msg_1": {RequestID: 1, Event: "mass_request.done", Status: jobs.StatusDone}}, r.receipts())
	assert.Len(t, complaints, 1)
	assert.Equal(t, http.StatusNoContent, call("msg_1", strings.ReplaceAll(body, "done", "failed"), time.Now()))
	assert.Len(t, complaints, 2, "another message under the same id")
}

// A new toolchain may need a different anchor. This test detects that before a
// long run does.
func TestClockOfThisToolchainCanBeMoved(t *testing.T) {
	t.Parallel()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	require.NoError(t, err)
	overlay, err := ClockOverlay(strings.TrimSpace(string(root)), t.TempDir())
	require.NoError(t, err)
	assert.FileExists(t, overlay)

	_, err = ClockOverlay(t.TempDir(), t.TempDir())
	assert.Error(t, err)
}
