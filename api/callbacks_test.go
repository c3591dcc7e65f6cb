package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/webhook"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

const hookURL = "https://example.com/hooks/mass?who=me"

func withCallbacks(c *api.Config) { c.Callbacks = &webhook.Guard{} }

func TestACallbackURLNeedsASecret(t *testing.T) {
	t.Parallel()
	e := setup(t)
	a := e.call(http.MethodPost, "/mass-requests/", `{"payload":{},"callback_url":"`+hookURL+`"}`)
	a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
	require.Equal(t, []string{"/callback_url"}, a.faults())
	require.Contains(t, a.text, "MASS_WEBHOOK_SECRET")
	require.Zero(t, e.stored())
	e.submit(`{}`)
}

func TestCallbackURLsAreGuarded(t *testing.T) {
	t.Parallel()
	e := setup(t, withCallbacks)
	for _, bad := range []string{
		`"http://example.com/"`, `"https://127.0.0.1/"`, `"https://2130706433/"`, `"https://[::ffff:10.0.0.1]/"`, `"https://localhost/"`,
		`"https://u:p@example.com/"`, `"https://example.com/#x"`, `"https://example.com:22/"`, `"hello"`, `""`, `7`, `{}`, `true`,
	} {
		a := e.call(http.MethodPost, "/mass-requests/", `{"payload":{},"callback_url":`+bad+`}`)
		a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
		require.Equal(t, []string{"/callback_url"}, a.faults(), bad)
	}
	require.Zero(t, e.stored())
	a := e.call(http.MethodPost, "/mass-requests/batch", `[{"payload":{},"callback_url":"https://10.0.0.1/"},{"payload":{},"callback_url":"`+hookURL+`"}]`)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	require.Equal(t, 1, e.stored(), "the same rules in a batch: %s", a.text)
}

func TestACallbackIsShownAndReplayed(t *testing.T) {
	t.Parallel()
	e := setup(t, withCallbacks)
	created := e.call(http.MethodPost, "/mass-requests/", `{"payload":{},"callback_url":"`+hookURL+`"}`)
	require.Equal(t, http.StatusCreated, created.StatusCode, created.text)
	require.Equal(t, hookURL, created.json["callback_url"])
	path := fmt.Sprintf("/mass-requests/%d", created.id())
	require.Equal(t, hookURL, e.call(http.MethodGet, path, "").json["callback_url"])

	a := e.call(http.MethodGet, path+"/callback", "")
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	require.JSONEq(t, `{"url":"`+hookURL+`","deliveries":[]}`, a.text)
	e.call(http.MethodPost, path+"/callback", "").problem(t, http.StatusConflict, "conflict")

	// The API enqueues the callback of a request that a person ended.
	require.Equal(t, http.StatusOK, e.call(http.MethodPatch, path+"/status", `{"status":"cancelled"}`).StatusCode)
	eventually(t, "the task of the callback", func() bool {
		n, err := e.rdb.LLen(t.Context(), "asynq:{webhooks}:pending").Result()
		return err == nil && n == 1
	})
	latest := func() map[string]any {
		a := e.call(http.MethodGet, path+"/callback", "")
		require.Equal(t, http.StatusOK, a.StatusCode, a.text)
		list, _ := a.json["deliveries"].([]any)
		require.Len(t, list, 1)
		d, _ := list[0].(map[string]any)
		return d
	}
	d := latest()
	require.Equal(t, "pending", d["status"])
	require.Equal(t, "mass_request.cancelled", d["event"])
	require.Regexp(t, `^msg_[0-9a-f-]{36}$`, d["id"])
	require.NotNil(t, d["next_at"])
	e.call(http.MethodPost, path+"/callback", "").problem(t, http.StatusConflict, "conflict")

	list, err := e.store.Deliveries(t.Context(), created.id(), 10)
	require.NoError(t, err)
	_, err = e.store.ClaimDelivery(t.Context(), jobs.DeliveryRef{ID: list[0].ID}, 1)
	require.NoError(t, err)
	_, err = e.store.SettleDelivery(t.Context(), 1, jobs.DeliveryOutcome{
		DeliveryRef: jobs.DeliveryRef{ID: list[0].ID, Attempts: 1}, Status: jobs.DeliveryDead, HTTPStatus: 500, Error: "the receiver answered 500",
	})
	require.NoError(t, err)
	d = latest()
	require.Equal(t, "dead", d["status"])
	require.Equal(t, json.Number("500"), d["last_status"])
	require.Equal(t, "the receiver answered 500", d["last_error"])
	require.Nil(t, d["next_at"])

	a = e.call(http.MethodPost, path+"/callback", "")
	require.Equal(t, http.StatusAccepted, a.StatusCode, a.text)
	require.Equal(t, "pending", latest()["status"])
	eventually(t, "the task of the replay", func() bool {
		n, err := e.rdb.LLen(t.Context(), "asynq:{webhooks}:pending").Result()
		return err == nil && n == 2
	})
	e.call(http.MethodGet, "/mass-requests/4711/callback", "").problem(t, http.StatusNotFound, "not_found")
	e.call(http.MethodPost, "/mass-requests/4711/callback", "").problem(t, http.StatusNotFound, "not_found")
	other := e.submit(`{}`)
	e.call(http.MethodGet, fmt.Sprintf("/mass-requests/%d/callback", other), "").problem(t, http.StatusNotFound, "not_found")
}
