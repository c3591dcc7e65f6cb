package chaos

// MeasureDrains lets the tests of the report in.
var MeasureDrains = measureDrains
