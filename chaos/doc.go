// Package chaos breaks a running MASS on purpose and then checks that its
// promises held: nothing acknowledged is lost, nothing happens twice, and what
// the rows say is true.
//
// A run (Run) starts several API and worker processes, submits requests at a
// steady rate, and injects faults (faults.go) in the order of a seeded schedule.
// When the faults have stopped and the backlog is worked off it reads the whole
// history and hands it to the checker (check.go), which is pure and trusts
// nothing but the table of transitions in package jobs. It reads the tables with
// its own SQL, not with package store: a checker must not share the code it checks.
//
// The package owns processes and clients. It does not start servers: the caller
// lends it a private PostgreSQL and Redis, which it kills. Three things run inside
// the processes under test, in binaries built for this only: Pipeline, the fail
// point of package api, and a wall clock that can be moved (clock.go).
package chaos
