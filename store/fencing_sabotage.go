//go:build sabotage_fencing

package store

// fence without fencing, for a test of the harness in chaos: whoever
// comes last overwrites.
const fence = `true`
