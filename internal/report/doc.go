// Package report draws an mv.Result as a PDF and its plots as SVG. It computes
// no figure: every number comes from the Result, and so do the rows of the plots.
//
// The same Result and Options give the same bytes on every run and machine: the
// dates of the document are the end of the data, the order of objects is fixed,
// and nothing reads a clock. Text is set in an embedded font, so it can be
// extracted. All words are data: words/en.json and words/es.json have the same
// keys.
//
// The package knows neither files nor HTTP nor the database.
package report
