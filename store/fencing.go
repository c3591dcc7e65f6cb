//go:build !sabotage_fencing

package store

// fence lets only the attempt that holds the request write its end. The chaos
// harness proves that it notices when this is missing (fencing_sabotage.go).
//
// The status is written so that the planner does not know it again: it would walk
// all that runs, by the partial index of that, instead of looking the rows up.
const fence = `r.status || '' = 'processing' AND r.attempt = i.attempt`
