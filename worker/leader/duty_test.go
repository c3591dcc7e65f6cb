package leader

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recordedDuty records its runs in a list that all duties of a test share.
type recordedDuty struct {
	name    string
	runs    *[]string
	perform func(context.Context) error // nil: succeed
}

func (d recordedDuty) Perform(ctx context.Context, _ time.Time) error {
	*d.runs = append(*d.runs, d.name)
	if d.perform != nil {
		return d.perform(ctx)
	}
	return nil
}

// entry registers a recordedDuty.
func entry(runs *[]string, name string, every time.Duration, perform func(context.Context) error) dutyEntry {
	return dutyEntry{name, every, func(dutyBase) Duty { return recordedDuty{name, runs, perform} }}
}

func quiet() dutyBase { return dutyBase{log: slog.New(slog.DiscardHandler)} }

func TestEveryDutyHasANameOfItsOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, e := range dutyTable {
		assert.NotEmpty(t, e.name)
		assert.False(t, seen[e.name], "duty %q is listed twice", e.name)
		seen[e.name] = true
	}
}

func TestARoundRunsTheDueDutiesInTheirOrder(t *testing.T) {
	t.Parallel()
	var runs []string
	duties := newDutyList([]dutyEntry{
		entry(&runs, "first", everyRound, nil),
		entry(&runs, "seldom", time.Minute, nil),
		entry(&runs, "last", everyRound, nil),
	}, quiet())
	start := time.Now()
	for _, after := range []time.Duration{0, time.Second, time.Minute} {
		duties.round(t.Context(), start.Add(after))
	}
	assert.Equal(t, []string{"first", "seldom", "last", "first", "last", "first", "seldom", "last"}, runs)
}

func TestAFailedDutyIsNamedRepeatedAndDelaysNoOther(t *testing.T) {
	t.Parallel()
	var runs []string
	var out strings.Builder
	w := dutyBase{log: slog.New(slog.NewTextHandler(&out, nil))}
	failed := false
	duties := newDutyList([]dutyEntry{
		entry(&runs, "fragile", time.Hour, func(context.Context) error {
			if failed {
				return nil
			}
			failed = true
			return errors.New("not this time")
		}),
		entry(&runs, "robust", everyRound, nil),
	}, w)
	start := time.Now()
	for i := range 3 {
		duties.round(t.Context(), start.Add(time.Duration(i)*time.Second))
	}
	assert.Equal(t, []string{"fragile", "robust", "fragile", "robust", "robust"}, runs)
	assert.Equal(t, 1, strings.Count(out.String(), "duty=fragile"), out.String())
	assert.Contains(t, out.String(), "not this time")
}

func TestADutyThatHangsIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var runs []string
		duties := newDutyList([]dutyEntry{
			entry(&runs, "hanging", everyRound, func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}),
			entry(&runs, "next", everyRound, nil),
		}, quiet())
		start := time.Now()
		duties.round(t.Context(), start)
		assert.Equal(t, []string{"hanging", "next"}, runs)
		assert.Equal(t, dutyTimeout, time.Since(start))
	})
}

// A leader that loses the leadership in the middle of a duty ends that duty, and
// does not report the consequences as failures of duties.
func TestALostLeadershipEndsTheDutyUnderWay(t *testing.T) {
	t.Parallel()
	var runs []string
	var out strings.Builder
	ctx, lose := context.WithCancelCause(t.Context())
	lost := errors.New("the session ended")
	duties := newDutyList([]dutyEntry{
		entry(&runs, "interrupted", everyRound, func(ctx context.Context) error {
			lose(lost)
			<-ctx.Done()
			return context.Cause(ctx)
		}),
		entry(&runs, "next", everyRound, func(ctx context.Context) error {
			require.ErrorIs(t, context.Cause(ctx), lost)
			return ctx.Err()
		}),
	}, dutyBase{log: slog.New(slog.NewTextHandler(&out, nil))})
	duties.round(ctx, time.Now())
	assert.Equal(t, []string{"interrupted", "next"}, runs)
	assert.Empty(t, out.String())
}
