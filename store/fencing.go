//go:build !sabotage_fencing

package store

// fence lets only the attempt that holds the request write its end, and only from
// the worker $10 that claimed it: a claim that a crash of Postgres undid (see
// soon) may give the same attempt to another one. The chaos harness proves that
// it notices when this is missing (fencing_sabotage.go).
//
// The status is written so that the planner does not know it again: it would walk
// all that runs, by the partial index of that, instead of looking the rows up.
const fence = `r.status || '' = 'processing' AND r.attempt = i.attempt AND r.claimed_by = $10::bigint`
