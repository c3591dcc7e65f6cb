//go:build !chaos

package main

import "github.com/leomutto/pilot-in-a-box/jobs/pipeline"

// newPipeline returns the steps that a worker takes a payload through. The
// worker of this process gets it once, at its start.
func newPipeline() pipeline.Pipeline { return pipeline.Default() }
