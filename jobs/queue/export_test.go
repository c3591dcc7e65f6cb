package queue

// AtLeast62 gives tests the comparison of versions.
func AtLeast62(version string) bool { return atLeast(version, 6, 2) }

// Ring rings for the tests.
var Ring = ring
