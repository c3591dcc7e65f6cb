// Package jobs is the domain of MASS and the contract between the API and the
// workers: the request and its states, the table of legal transitions, the
// tasks that carry requests through Redis, and the retry policy.
//
// It imports the standard library alone; it knows no SQL, no HTTP and no Redis.
// What carries the tasks through Redis is in jobs/queue. The pure steps that
// make a result of a payload are in jobs/payload, jobs/signals and
// jobs/pipeline.
//
// # The life of a request
//
//  1. api.Server.submitRequest reads the body of POST /mass-requests;
//     signals.Accept checks the payload.
//  2. intake.Intake.Submit gathers concurrent submissions and hands them to
//     store.Store.InsertRequests, one INSERT: the rows are StatusPending.
//  3. queue.Enqueuer.Enqueue puts one TypeBatch task for each batch of rows
//     into Redis and rings the workers' queue.Doorbell.
//  4. worker.Worker.handleBatch receives the task and claims the rows by
//     store.Store.ClaimBatches, one UPDATE: they are StatusProcessing, each
//     with a Lease that later fences off outdated writes.
//  5. worker.Worker.runPipeline takes each payload through
//     pipeline.Pipeline.Run.
//  6. worker.Worker.judge (worker/attempt.go) makes an Outcome of the result or
//     the error: Finish, Fail, Retry or Release.
//  7. store.Store.WriteOutcomes (store/transitions.go) writes the outcomes of
//     many attempts by one UPDATE, "SET status", which takes the new status
//     from the row of Transitions for the action: Finish makes it StatusDone.
//  8. queue.Announcer.Add announces the change, which wakes the clients that
//     wait in waiting.Hub; worker.Worker.enqueueCallbacks enqueues callbacks.
//
// Steps 3 and 8 may be lost with Redis or with a process. The leader (package
// worker/leader) finds in PostgreSQL what is missing and does it again.
package jobs
