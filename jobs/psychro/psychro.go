// Package psychro computes the wet-bulb temperature of moist air.
//
// The formulas and their numbers are those of the ASHRAE Handbook, Fundamentals
// (SI), 2017, chapter 1, "Psychrometrics", whose equations the comments name. It
// is pure.
package psychro

import "math"

// SeaLevelHPa is the standard pressure of the air at sea level, in hPa (ASHRAE,
// table 1).
const SeaLevelHPa = 1013.25

// The dry-bulb temperatures, in °C, for which there is a wet-bulb temperature.
// The lower one leaves room for the wet-bulb temperature within the range of the
// formulas, which begins at −100 °C.
const (
	LowestC  = -80.0
	HighestC = 100.0
)

const (
	iceLowestC = -100.0   // the formula for ice begins here
	massRatio  = 0.621945 // molar mass of water / that of dry air
	zeroK      = 273.15   // 0 °C
	precisionK = 1e-9
)

// WetBulb returns the thermodynamic wet-bulb temperature in °C of air with the
// dry-bulb temperature in °C, the relative humidity in % and the pressure in
// hPa. Below 0 °C the bulb is covered with ice. ok is false when the temperature
// is not from LowestC to HighestC, the humidity not from 0 to 100 %, or the
// pressure so low that water of that temperature boils.
func WetBulb(dryBulbC, relativeHumidityPct, pressureHPa float64) (wetBulbC float64, ok bool) {
	saturated := saturationHPa(dryBulbC)
	if !(dryBulbC >= LowestC && dryBulbC <= HighestC && relativeHumidityPct >= 0 && relativeHumidityPct <= 100 && pressureHPa > saturated) || math.IsInf(pressureHPa, 0) {
		return 0, false
	}
	ratio := humidityRatio(relativeHumidityPct/100*saturated, pressureHPa)
	// On each side of 0 °C the humidity ratio grows with the wet-bulb temperature.
	low, high, overIce := iceLowestC, dryBulbC, dryBulbC < 0
	switch {
	case overIce:
	case ratio >= humidityRatioAt(0, dryBulbC, pressureHPa, false):
		low = 0
	default:
		high, overIce = 0, true
	}
	for high-low > precisionK {
		middle := low + (high-low)/2
		if humidityRatioAt(middle, dryBulbC, pressureHPa, overIce) > ratio {
			high = middle
		} else {
			low = middle
		}
	}
	return low + (high-low)/2, true
}

// humidityRatioAt is the humidity ratio, in kg of water per kg of dry air, of air
// with that wet-bulb and dry-bulb temperature (equations 33 and 35).
func humidityRatioAt(wetBulbC, dryBulbC, pressureHPa float64, overIce bool) float64 {
	saturated := humidityRatio(saturationHPa(wetBulbC), pressureHPa)
	if overIce {
		return ((2830-0.24*wetBulbC)*saturated - 1.006*(dryBulbC-wetBulbC)) / (2830 + 1.86*dryBulbC - 2.1*wetBulbC)
	}
	return ((2501-2.326*wetBulbC)*saturated - 1.006*(dryBulbC-wetBulbC)) / (2501 + 1.86*dryBulbC - 4.186*wetBulbC)
}

// humidityRatio is that of air in which water vapor has the given partial
// pressure (equation 20).
func humidityRatio(vaporHPa, pressureHPa float64) float64 {
	return massRatio * vaporHPa / (pressureHPa - vaporHPa)
}

// saturationHPa is the pressure of saturated water vapor, in hPa, over ice below
// 0 °C and over water above (equations 5 and 6, Hyland and Wexler 1983).
func saturationHPa(c float64) float64 {
	k := c + zeroK
	if c < 0 {
		return math.Exp(-5.6745359e3/k+6.3925247+k*(-9.677843e-3+k*(6.2215701e-7+k*(2.0747825e-9-9.484024e-13*k)))+4.1635019*math.Log(k)) / 100
	}
	return math.Exp(-5.8002206e3/k+1.3914993+k*(-4.8640239e-2+k*(4.1764768e-5-1.4452093e-8*k))+6.5459673*math.Log(k)) / 100
}
