package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leomutto/pilot-in-a-box/store"
)

// readingsPatience bounds how long the readings may take to follow a run that has
// come to rest. They lag by less than a second when nothing is broken.
const readingsPatience = time.Minute

// checkReadings waits until the readings have followed the trail and no rollup is
// dirty. Then each signals request that ended done must have exactly one reading,
// no other request may have one, what counts must be what a new decision says,
// and each rollup must equal its recomputation.
func (s *system) checkReadings(ctx context.Context) (found []Violation) {
	untrue := func(err error) []Violation { return append(found, Violation{Harm: Untrue, Text: err.Error()}) }
	st, err := store.Open(store.Config{
		URL: s.cfg.Servers.AdminURL(), MaxOpen: 2, MaxIdle: 1, ConnectTimeout: 3 * time.Second, StatementTimeout: readingsPatience,
	})
	if err != nil {
		return untrue(err)
	}
	defer st.Close()
	var status store.ReadingsStatus
	waited := until(ctx, readingsPatience, func() bool {
		status, err = st.ReadingsStatus(ctx)
		return err == nil && status.Position >= status.Newest && status.Dirty == 0
	})
	if waited != nil {
		return untrue(errors.Join(fmt.Errorf("at rest the readings follow the trail up to event %d of %d, and the rollups of %d times are dirty",
			status.Position, status.Newest, status.Dirty), err))
	}
	report, err := st.VerifyReadings(ctx)
	if err != nil {
		return untrue(err)
	}
	for _, id := range report.Missing {
		found = append(found, Violation{Harm: Lost, ID: id, Text: "ended done and has no reading"})
	}
	for _, id := range report.Unfounded {
		found = append(found, Violation{Harm: Untrue, ID: id, Text: "has a reading and is not done"})
	}
	for _, id := range report.Miscounted {
		found = append(found, Violation{Harm: Untrue, ID: id, Text: "its reading counts otherwise than a new decision says"})
	}
	rollups, err := st.VerifyRollups(ctx)
	if err != nil {
		return untrue(err)
	}
	for _, text := range rollups.Wrong {
		found = append(found, Violation{Harm: Untrue, Text: text})
	}
	return found
}
