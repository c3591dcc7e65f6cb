// Package jobs is the domain of MASS and the contract between the API and the
// workers: the request and its states, the table of legal transitions, the
// tasks that carry requests through Redis, and the retry policy.
//
// It knows neither SQL nor HTTP. The pure steps of the pipeline live in the
// packages below it (jobs/payload, jobs/signals, jobs/pipeline).
package jobs
