//go:build !sabotage_fencing

package store

// unfenced is appended to the condition of outcomeQuery that refuses outdated
// attempts. It is empty in every build except that of fencing_sabotage.go.
const unfenced = ``
