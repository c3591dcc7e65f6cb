//go:build !sabotage_fencing

package store

// fence lets only the attempt that holds the request write its end. The chaos
// harness proves that it notices when this is missing (fencing_sabotage.go).
const fence = `r.status = 'processing' AND r.attempt = i.attempt`
