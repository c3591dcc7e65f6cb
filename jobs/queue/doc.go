// Package queue carries the batches and callbacks of package jobs through
// Redis. It connects to Redis, enqueues tasks, wakes idle workers, and carries
// the announcements that pass between processes (cancellations and changed
// rows).
//
// It is the only package that knows the insides of Asynq: the layout of its
// keys, the script that takes a task from a queue, and the states of a task. An
// upgrade of Asynq is reviewed here and nowhere else, and the tests of this
// package hold it to what Asynq really does.
//
// Nothing in Redis is the truth about a request. Everything here can be lost
// and is restored from PostgreSQL by the leader (package worker/leader).
package queue
