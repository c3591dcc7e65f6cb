// Package mv is measurement and verification: it turns a table of metered
// intervals into a savings figure and says how certain that figure is.
//
// The package is pure. It reads no file, no clock and no environment, starts no
// goroutine, and the same input gives the same bytes on every run. It knows no
// database and no HTTP. ReadCSV makes a Table, Analyze turns a Table and a Plan
// into a Result, and the Result holds everything that a summary, an API answer
// or a printed report shows.
//
// A missing reading is NaN inside a Table and stays missing: it is never taken
// for zero. No figure of a Result is NaN or infinite; a figure that is not
// defined is absent, and a finding with a code says why.
//
// Sources of the formulas: ASHRAE Guideline 14 (fractional savings
// uncertainty), Sun and Baltazar 2013 (the factor for reporting months),
// Mathieu et al. 2011 (time of week and temperature), Hudson 1966 (exact change
// points), CalTRACK 2.0 (sufficiency of data), ISO/IEC 30134-2 (PUE).
package mv
