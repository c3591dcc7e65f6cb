package signals

import _ "embed"

//go:embed example.json
var exampleJSON string

// Example returns a complete, valid signals payload with every field filled in,
// for documentation and benchmarks.
func Example() []byte { return []byte(exampleJSON) }
