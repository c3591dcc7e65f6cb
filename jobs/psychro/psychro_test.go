package psychro

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The pressures of ASHRAE, Fundamentals 2017, chapter 1, table 3, in Pa.
func TestSaturationPressureOfTheHandbook(t *testing.T) {
	t.Parallel()
	for c, pa := range map[float64]float64{-20: 103.24, -5: 401.74, 5: 872.6, 25: 3169.7, 50: 12351.3, 100: 101418} {
		assert.InEpsilon(t, pa, 100*saturationHPa(c), 3e-4, "%v °C", c)
	}
}

// Example 1 of the same chapter: air of 40 °C with a wet-bulb temperature of
// 20 °C has a humidity ratio of 0.0065 and a relative humidity of 14 %, both read
// from the chart.
func TestWetBulbOfTheHandbook(t *testing.T) {
	t.Parallel()
	ratio := humidityRatioAt(20, 40, SeaLevelHPa, false)
	assert.InDelta(t, 0.0065, ratio, 0.0001)
	humidity := 100 * relative(ratio, 40, SeaLevelHPa)
	assert.InDelta(t, 14, humidity, 0.5)
	c, ok := WetBulb(40, humidity, SeaLevelHPa)
	require.True(t, ok)
	assert.InDelta(t, 20, c, 0.05)
}

// States that were computed from the equations by others, above and below
// freezing and at 500 m (95,461 Pa): dry bulb, wet bulb, humidity ratio.
func TestWetBulbAtAltitude(t *testing.T) {
	t.Parallel()
	for _, state := range []struct{ dry, wet, ratio float64 }{
		{30, 25, 0.0192281274241096}, {-1, -5, 0.00120399819933844},
	} {
		const pressure = 954.61
		assert.InEpsilon(t, state.ratio, humidityRatioAt(state.wet, state.dry, pressure, state.wet < 0), 3e-4)
		c, ok := WetBulb(state.dry, 100*relative(state.ratio, state.dry, pressure), pressure)
		require.True(t, ok)
		assert.InDelta(t, state.wet, c, 0.05)
	}
}

// relative inverts humidityRatio: the relative humidity, 0 to 1.
func relative(ratio, dryBulbC, pressureHPa float64) float64 {
	return pressureHPa * ratio / (massRatio + ratio) / saturationHPa(dryBulbC)
}

// Saturated air has the wet-bulb temperature of its dry bulb, dry air a lower
// one, and it rises with the humidity, across the freezing point, too.
func TestWetBulbRisesWithHumidity(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		dry := LowestC + (60-LowestC)*rng.Float64()
		pressure := 600 + 500*rng.Float64()
		last := math.Inf(-1)
		for humidity := 0.0; humidity <= 100; humidity += 2 {
			c, ok := WetBulb(dry, humidity, pressure)
			require.True(t, ok, "%v °C, %v %%, %v hPa", dry, humidity, pressure)
			require.GreaterOrEqual(t, c, last-1e-6, "%v °C, %v %%, %v hPa", dry, humidity, pressure)
			require.LessOrEqual(t, c, dry+1e-6)
			last = c
		}
		require.InDelta(t, dry, last, 1e-6, "%v °C, %v hPa", dry, pressure)
	}
}

func TestNoWetBulb(t *testing.T) {
	t.Parallel()
	for name, state := range map[string][3]float64{
		"too cold":         {-80.1, 50, SeaLevelHPa},
		"too warm":         {100.1, 50, SeaLevelHPa},
		"humidity below 0": {20, -1, SeaLevelHPa},
		"humidity too big": {20, 100.1, SeaLevelHPa},
		"boiling":          {60, 50, 150},
		"no pressure":      {20, 50, 0},
		"not a number":     {math.NaN(), 50, SeaLevelHPa},
		"humidity NaN":     {20, math.NaN(), SeaLevelHPa},
		"pressure NaN":     {20, 50, math.NaN()},
		"pressure +Inf":    {20, 50, math.Inf(1)},
	} {
		_, ok := WetBulb(state[0], state[1], state[2])
		assert.False(t, ok, name)
	}
}
