//go:build !chaos

package main

import "github.com/leomutto/pilot-in-a-box/worker"

// work is what the workers do with a payload.
func work() worker.Pipeline { return steps }
