package mv

import (
	"encoding/json"
	"math"
	"testing"
)

func TestAStoredPlanKeepsItsHash(t *testing.T) {
	t.Parallel()
	table, plan := twoYears(1)
	if err := plan.Check(table); err != nil {
		t.Fatal(err)
	}
	stored, err := plan.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	var read Plan
	if err := json.Unmarshal(stored, &read); err != nil {
		t.Fatal(err)
	}
	if got, want := read.SHA256(), plan.SHA256(); got != want || want == "" {
		t.Errorf("the plan that was read back has the hash %q, want %q", got, want)
	}
	read.Baseline.To = read.Baseline.To.AddDate(0, 0, -1)
	if read.SHA256() == plan.SHA256() {
		t.Error("a shorter baseline did not change the hash")
	}
}

func TestAPlanWithoutFiniteNumbersHasNoCanonicalJSON(t *testing.T) {
	t.Parallel()
	plan := Plan{Confidence: math.NaN()}
	if b, err := plan.Canonical(); err == nil {
		t.Errorf("a plan with the confidence NaN has the canonical JSON %s", b)
	}
}
