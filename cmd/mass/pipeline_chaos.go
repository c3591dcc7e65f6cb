//go:build chaos

package main

import (
	"os"

	"github.com/leomutto/pilot-in-a-box/chaos"
	"github.com/leomutto/pilot-in-a-box/worker"
)

// work is the pipeline as the chaos harness needs it: it obeys orders in the
// payload to be slow or to fail, and signs its results.
func work() worker.Pipeline { return chaos.Pipeline(steps, os.Getenv(chaos.DirVariable)) }
