//go:build sabotage_fencing

package store

// unfenced lets outcomeQuery write every outcome, whichever attempt it is of.
// It is for a test of the chaos harness, which must notice that fencing is
// missing.
const unfenced = ` OR true`
