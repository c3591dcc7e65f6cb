package mv

import "math"

// wetBulbFromHumidity replaces the last driver, the humidity, by the wet-bulb
// temperature.
func (t *Table) wetBulbFromHumidity() {
	temp, last := t.driver(roleToken(Temperature)), &t.Drivers[len(t.Drivers)-1]
	for i, h := range last.Values {
		c := temp.Values[i]
		if temp.Unit == "F" {
			c = (c - 32) / 1.8
		}
		w := wetBulb(c, h)
		if temp.Unit == "F" {
			w = w*1.8 + 32
		}
		last.Values[i] = w
	}
	last.Name, last.Role, last.Unit = "wet bulb from "+last.Name, WetBulb, temp.Unit
}

// wetBulb is the wet-bulb temperature in degrees Celsius from the dry-bulb
// temperature and the relative humidity in percent, at sea level, within about
// 1 K (Stull 2011). It is NaN outside -20 to 50 degrees and 5 to 99 percent.
func wetBulb(t, rh float64) float64 {
	if !(t >= -20 && t <= 50 && rh >= 5 && rh <= 100) {
		return math.NaN()
	}
	rh = min(rh, 99)
	return t*math.Atan(0.151977*math.Sqrt(rh+8.313659)) + math.Atan(t+rh) - math.Atan(rh-1.676331) +
		0.00391838*math.Pow(rh, 1.5)*math.Atan(0.023101*rh) - 4.686035
}
