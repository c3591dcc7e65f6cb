package chaos

// MeasureDrains is measureDrains, for the tests of the report.
var MeasureDrains = measureDrains
