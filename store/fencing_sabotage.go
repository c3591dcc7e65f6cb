//go:build sabotage_fencing

package store

// unfenced lets outcomeQuery write every outcome, whichever attempt it belongs
// to. A test of the chaos harness needs a build like this: the harness must
// notice that fencing is missing.
const unfenced = ` OR true`
