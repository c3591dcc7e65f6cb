package simulate

import (
	"math"
	"math/rand/v2"
	"time"
)

// clock is an instant as the models see it, in the site's local standard time.
type clock struct {
	hour    float64 // of the day, 0–24
	yearDay float64 // 1–366
	weekend bool
}

func clockAt(t time.Time, utcOffset time.Duration) clock {
	local := t.UTC().Add(utcOffset)
	weekday := local.Weekday()
	return clock{
		hour:    float64(local.Hour()) + float64(local.Minute())/60,
		yearDay: float64(local.YearDay()),
		weekend: weekday == time.Saturday || weekday == time.Sunday,
	}
}

// bump is a smooth periodic peak over the day (a von Mises curve): 1 at its
// hour, about 0.5 four hours before and after, and below 0.1 around the
// opposite hour.
func bump(hour, peak float64) float64 {
	const sharpness = 1.5
	return math.Exp(sharpness * (math.Cos(2*math.Pi*(hour-peak)/24) - 1))
}

// drift is noise that changes slowly, as in weather, load and markets: a
// first-order autoregressive process, AR(1).
type drift struct {
	rng    *rand.Rand
	spread float64 // standard deviation
	memory float64 // correlation of one step with the next, 0–1
	value  float64
}

func newDrift(rng *rand.Rand, spread, memory float64) *drift {
	return &drift{rng: rng, spread: spread, memory: memory, value: spread * rng.NormFloat64()}
}

// next moves one step ahead and returns the new value.
func (d *drift) next() float64 {
	d.value = d.memory*d.value + math.Sqrt(1-d.memory*d.memory)*d.spread*d.rng.NormFloat64()
	return d.value
}

// climate is the weather of a site; temperatures are dry bulb.
type climate struct {
	meanC   float64 // over the year
	seasonK float64 // amplitude of the year: warmest in mid-July
	dayK    float64 // amplitude of the day: warmest at 15 h

	pressureHPa float64 // of the standard atmosphere at the altitude of the site
}

// nightHumidityPct is the relative humidity of the coolest hour of a usual day.
const nightHumidityPct = 88.0

// humidityPct returns the relative humidity when the air has that temperature.
// The air keeps the water vapor that it had in the coolest hour of the usual day,
// so it is dry when it is warm: e.g. at 15 h, and in a warm spell.
func (c climate) humidityPct(at clock, outsideC float64) float64 {
	coolestC := c.temperature(clock{yearDay: at.yearDay, hour: 3})
	return bound(nightHumidityPct*vaporPressure(coolestC)/vaporPressure(outsideC), 15, 100)
}

// vaporPressure is that of saturated air over water in hPa, by the approximation
// of Magnus (coefficients of Alduchov and Eskridge, 1996).
func vaporPressure(c float64) float64 { return 6.1094 * math.Exp(17.625*c/(c+243.04)) }

// temperature returns the usual temperature at that time. The weather of the
// day is added as a drift.
func (c climate) temperature(at clock) float64 {
	season := c.seasonK * math.Cos(2*math.Pi*(at.yearDay-196)/365.25)
	day := c.dayK * math.Cos(2*math.Pi*(at.hour-15)/24)
	return c.meanC + season + day
}

// grid is the electricity a site buys. Its carbon intensity falls with the sun
// at noon and rises in the evening; the price follows, with a morning peak: the
// "duck curve" (Denholm et al., NREL/TP-6A20-65023, 2015).
type grid struct {
	carbon    float64 // g CO2e/kWh, of an average hour
	carbonSun float64 // how much of it the noon sun replaces
	price     float64 // USD/kWh, of an average hour
	priceRise float64 // USD/kWh that the evening peak adds
}

func (g grid) carbonIntensity(at clock) float64 {
	return g.carbon - g.carbonSun*bump(at.hour, 13) + 0.5*g.carbonSun*bump(at.hour, 20)
}

func (g grid) energyPrice(at clock) float64 {
	return g.price + g.priceRise*(bump(at.hour, 19)+0.5*bump(at.hour, 8)-0.6*bump(at.hour, 13))
}
