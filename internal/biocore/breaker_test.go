package biocore_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/internal/biocore/reference"
)

func TestTheBreakerOpensProbesAndCloses(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	b.SetFailure(reference.Status503)
	const pause = 300 * time.Millisecond
	c := newClient(t, b.url, func(o *biocore.Options) {
		o.MaxTries, o.BreakerFailures, o.BreakerPause = 1, 3, pause
	})
	require.Equal(t, biocore.BreakerClosed, c.Breaker().State)
	for range 3 {
		require.Equal(t, biocore.ReasonStatus, failure(t, c).Reason)
	}
	opened := c.Breaker().Since
	e := failure(t, c)
	if time.Since(opened) < pause { // unless the machine is very slow
		require.Equal(t, biocore.ReasonBreakerOpen, e.Reason)
		require.True(t, e.Retry)
		require.Positive(t, e.RetryAfter)
		require.LessOrEqual(t, e.RetryAfter, pause)
		require.Zero(t, e.Tries)
	}

	// While BioCore is down, calls are made at most once a pause, however often
	// recommendations are asked for.
	b.calls.Store(0)
	started := time.Now()
	require.Eventually(t, func() bool {
		_ = failure(t, c)
		return b.calls.Load() >= 2
	}, long, time.Millisecond)
	require.LessOrEqual(t, b.calls.Load(), int64(time.Since(started)/pause)+2)

	b.SetFailure(reference.NoFailure)
	require.Eventually(t, func() bool {
		_, err := recommend(t, c)
		return err == nil
	}, long, 5*time.Millisecond)
	require.Equal(t, biocore.BreakerClosed, c.Breaker().State)
	require.Zero(t, c.Breaker().RetryIn)
}

func TestOneCallProbesAtATime(t *testing.T) {
	t.Parallel()
	var hang atomic.Bool
	arrived, release := make(chan struct{}), make(chan struct{})
	b := newBox(t, reference.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		if hang.Load() {
			arrived <- struct{}{}
			<-release
		}
		w.WriteHeader(http.StatusBadGateway)
	})
	c := newClient(t, b.url, func(o *biocore.Options) {
		o.MaxTries, o.BreakerFailures, o.BreakerPause = 1, 1, time.Millisecond
	})
	_ = failure(t, c)
	require.Eventually(t, func() bool { return c.Breaker().State == biocore.BreakerHalfOpen }, long, time.Millisecond)
	hang.Store(true)
	ended := make(chan error)
	go func() {
		_, err := recommend(t, c)
		ended <- err
	}()
	<-arrived
	for range 5 {
		e := failure(t, c)
		require.Equal(t, biocore.ReasonBreakerOpen, e.Reason)
		require.Positive(t, e.RetryAfter)
	}
	require.EqualValues(t, 2, b.calls.Load())
	close(release)
	require.Error(t, <-ended)
}

// TestImpatientRequestsDoNotOpenTheBreaker proves that a request with a tiny
// timeout_ms has no effect on others.
func TestImpatientRequestsDoNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	b.SetFailure(reference.Hang)
	c := newClient(t, b.url, func(o *biocore.Options) { o.BreakerFailures = 2 })
	document := patientRequest(t)
	document.Request.TimeoutMS = "5"
	for range 6 {
		_, err := c.Recommend(t.Context(), biocore.Ask{Document: document, Key: "k"})
		require.Error(t, err)
	}
	require.Equal(t, biocore.BreakerClosed, c.Breaker().State)
}

func TestHangingOpensTheBreaker(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	b.SetFailure(reference.Hang)
	c := newClient(t, b.url, func(o *biocore.Options) {
		o.BreakerFailures, o.Timeout, o.MaxCalls = 3, 300*time.Millisecond, 1
	})
	var group errgroup.Group
	for range 12 { // more than may call at once
		group.Go(func() error {
			for c.Breaker().State == biocore.BreakerClosed {
				if _, err := c.Recommend(t.Context(), biocore.Ask{Document: patientRequest(t), Key: "k"}); err == nil {
					return errors.New("an answer came from a BioCore that hangs")
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.Equal(t, biocore.BreakerOpen, c.Breaker().State)
}

func TestACallerThatLeavesIsNoFailureOfBioCore(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	b.SetFailure(reference.Hang)
	c := newClient(t, b.url, func(o *biocore.Options) { o.BreakerFailures = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := c.Recommend(ctx, biocore.Ask{Document: patientRequest(t), Key: "k"})
		ended <- err
	}()
	require.Eventually(t, func() bool { return b.running.Load() == 1 }, long, time.Millisecond)
	cancel()
	err := <-ended
	require.Equal(t, biocore.ReasonCanceled, asError(t, err).Reason)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, biocore.BreakerClosed, c.Breaker().State)
	require.Eventually(t, func() bool { return b.running.Load() == 0 }, long, time.Millisecond, "the call is ended at BioCore as well")
}

func TestCallsAtOnceAreBounded(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	c := newClient(t, b.url, func(o *biocore.Options) { o.MaxCalls = 3 })
	var group errgroup.Group
	for i := range 60 {
		group.Go(func() error {
			document := patientRequest(t)
			document.Request.RequestID = "req-" + strconv.Itoa(i)
			reply, err := c.Recommend(t.Context(), biocore.Ask{Document: document, Key: "k"})
			if err == nil && reply.Refused() {
				err = reply.Faults
			}
			return err
		})
	}
	require.NoError(t, group.Wait())
	require.EqualValues(t, 60, b.calls.Load())
	require.LessOrEqual(t, b.most.Load(), int64(3))
}

func TestABusyClientDoesNotCall(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	b.SetFailure(reference.Hang)
	c := newClient(t, b.url, func(o *biocore.Options) { o.MaxCalls = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	var group errgroup.Group
	group.Go(func() error {
		_, err := c.Recommend(ctx, biocore.Ask{Document: patientRequest(t), Key: "first"})
		return err
	})
	require.Eventually(t, func() bool { return b.running.Load() == 1 }, long, time.Millisecond)
	document := patientRequest(t)
	document.Request.TimeoutMS = "20"
	_, err := c.Recommend(t.Context(), biocore.Ask{Document: document, Key: "second"})
	e := asError(t, err)
	require.Equal(t, biocore.ReasonBusy, e.Reason)
	require.True(t, e.Retry)
	require.Zero(t, e.Tries)
	require.EqualValues(t, 1, b.calls.Load())
	cancel()
	require.Error(t, group.Wait())
}
