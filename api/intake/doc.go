// Package intake takes a submission from a checked request body to a committed
// row and an enqueued batch.
//
// The order is fixed by the design: Postgres commits the row first, and only
// then is the row's batch handed to Redis, in the background, so that an answer
// never waits for Redis. What is lost between the two steps is found by the
// reconciler, which enqueues the batches that have no task.
//
// The package knows no HTTP. Package api decodes submissions and answers them.
package intake
