// Package chaos breaks a running MASS on purpose and then checks that MASS kept
// its promises: nothing acknowledged is lost, nothing happens twice, and what
// the rows say is true.
//
// A run walks through topologies, which differ in how they provide PostgreSQL
// and Redis (topology.go). For each of them, Install starts private servers
// (installation.go), and Run starts several API and worker processes on them,
// submits requests at a steady rate, and injects faults (faults.go) in the
// order of a seeded schedule (schedule.go). After
// the faults have stopped and the backlog has drained, Run reads the whole
// history and passes it to the checker (check.go). The checker is pure and
// trusts only the table of transitions in package jobs. The harness reads the
// tables with its own SQL instead of package store, because a checker must not
// share code with what it checks.
//
// The package owns processes, clients and the servers of a run, which package
// devfault starts. It never touches other servers. Three parts
// run inside the processes under test, in binaries built only for this purpose:
// Pipeline, the fail point of package api, and a movable wall clock (clock.go).
//
// As a harness at the top level, chaos may import any package of the product;
// only the binary that it builds imports chaos.
package chaos
