// Package reference is a server of BioCore's contract with a few simple,
// documented rules instead of a model of its own. It exists so that MASS can be
// run, tested and demonstrated without BioCore. It calls itself "reference
// model" wherever its name is shown, so that its advice is not mistaken for
// BioCore's.
//
// It is deterministic: the same request always gets the same bytes. It can also
// fail on purpose, in each way of Failures, to test callers.
//
// The rules (rules.go) follow textbook relations, each with its source. The
// package knows the contract and the signals shape; it must not know the rest
// of MASS.
package reference
