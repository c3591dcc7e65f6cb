//go:build chaos

package main

import (
	"os"

	"github.com/leomutto/pilot-in-a-box/chaos"
	"github.com/leomutto/pilot-in-a-box/jobs/pipeline"
)

// newPipeline returns the steps that a worker takes a payload through, as the
// chaos harness needs them: they obey orders in the payload to be slow or to
// fail, and sign their results.
func newPipeline() chaos.Pipeline {
	return chaos.NewPipeline(pipeline.Default(), os.Getenv(chaos.DirVariable))
}
