// Package kpi defines the key figures of a data center, the time they are asked
// for, and the comparison of two periods. It is pure: it reads no clock, no file
// and no database.
//
// A figure is never computed from other figures. Readings are added up as Sums
// (energies, seconds, quantities), and each KPI of the table in definitions.go
// is a sum or a ratio of sums. That keeps three promises: the sum over any
// partition of a range is the figure of the range, a PUE is weighted with
// energy, and a missing value stays missing: nothing is scaled up, interpolated
// or taken for zero.
package kpi
