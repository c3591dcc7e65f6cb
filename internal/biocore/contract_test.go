package biocore_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/internal/biocore/reference"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

func TestContract(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	for _, finding := range biocore.Contract(t.Context(), newClient(t, b.url, nil), "test") {
		require.True(t, finding.Passed(), "%s: %s", finding.Test, finding.Problem)
	}
}

func TestContractFindsEachFailure(t *testing.T) {
	t.Parallel()
	for _, mode := range reference.Failures()[1:] {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			b := newBox(t, reference.Options{DripEvery: time.Hour}, nil)
			b.SetFailure(mode)
			c := newClient(t, b.url, func(o *biocore.Options) {
				o.Timeout, o.ReadTimeout, o.MaxTries = 2*time.Second, 50*time.Millisecond, 1
				if mode == reference.Hang {
					o.Timeout = 50 * time.Millisecond
				}
			})
			failed := 0
			for _, finding := range biocore.Contract(t.Context(), c, "test") {
				if !finding.Passed() {
					failed++
				}
			}
			require.Positive(t, failed)
		})
	}
}

func ExampleClient_Recommend() {
	server := httptest.NewServer(reference.New(reference.Options{}))
	defer server.Close()
	client, err := biocore.New(biocore.Options{
		URL: server.URL, UserAgent: "example", ConnectTimeout: time.Minute, Timeout: time.Minute, ReadTimeout: time.Minute, MaxAnswer: 1 << 20,
		MaxCalls: 4, MaxTries: 3, RetryDelay: 100 * time.Millisecond, BreakerFailures: 5, BreakerPause: 5 * time.Second,
	})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	document, _ := signals.Decode(signals.Example())
	document.Request.TimeoutMS, document.Request.ServiceLevelObjectiveMS = "", ""

	reply, err := client.Recommend(context.Background(), biocore.Ask{Document: document, Key: "mass-42-1"})
	var failed *biocore.Error
	switch {
	case errors.As(err, &failed) && failed.Retry:
		fmt.Println("ask again later:", failed)
	case err != nil:
		fmt.Println("unavailable:", err)
	case reply.Refused():
		fmt.Println("refused:", reply.Faults)
	default:
		for _, r := range reply.Answer.Response.Recommendations {
			fmt.Println(r.Action.Target, r.Action.Current, "→", r.Action.Suggested, r.Action.Units)
		}
	}
	// Output:
	// chiller_kw 142 → 72.22 kW
	// fan_power_kw 38.5 → 33.89 kW
	// cooling_setpoint_c 20 → 20.4 C
}
