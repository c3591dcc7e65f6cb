package queue

// AtLeast62 lets tests call the comparison of versions.
func AtLeast62(version string) bool { return atLeast(version, 6, 2) }

// Ring lets tests ring the doorbell.
var Ring = ring
