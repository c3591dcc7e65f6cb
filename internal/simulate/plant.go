package simulate

import "math"

const (
	kelvin = 273.15 // 0 °C

	// recommendedInletC is the upper end of the rack inlet temperatures that
	// ASHRAE TC 9.9 recommends (Thermal Guidelines for Data Processing
	// Environments, 5th ed. 2021: 18–27 °C). A rack above it counts as a hot
	// spot.
	recommendedInletC = 27.0
)

// plant is the electrical and cooling plant of a site.
type plant struct {
	itRatedKW float64
	setpointC float64 // supply air
	racks     float64

	fanRatedKW float64 // at full air flow
	designK    float64 // between return and supply air at full load
	spillK     float64 // by how much return air warms the average rack inlet at full load
	spreadK    float64 // standard deviation between rack inlets at full load
}

// plantPower says where a plant's power goes, in kW. The losses and the small
// consumers are not among the signals.
type plantPower struct {
	it, upsLoss, distributionLoss float64
	chiller, fan, pumps, building float64
	upsEfficiency                 float64 // 0–1
}

// facility is the power at the meter of the whole site: every consumer and
// every loss.
func (p plantPower) facility() float64 {
	return p.it + p.upsLoss + p.distributionLoss + p.chiller + p.fan + p.pumps + p.building
}

// withMeasure returns the plant after the measure of the history: variable-speed
// drives on the fans, and supply air that is half a kelvin warmer.
func (p plant) withMeasure() plant {
	p.fanRatedKW *= 0.6
	p.setpointC += 0.5
	return p
}

// run returns where the power goes when the machines draw itKW and the supply
// and outside air have these temperatures.
func (p plant) run(itKW, supplyC, outsideC float64) plantPower {
	// Power distribution behind the UPS loses 1.5 %; lights, offices and
	// controls take 1.2 % of the rated IT power.
	out := plantPower{it: itKW, distributionLoss: 0.015 * itKW, building: 0.012 * p.itRatedKW}
	out.upsEfficiency = upsEfficiency(itKW / p.itRatedKW)
	out.upsLoss = (itKW + out.distributionLoss) * (1/out.upsEfficiency - 1)
	out.fan = p.fanRatedKW * math.Pow(p.airFlow(itKW), 3)

	heat := itKW + out.distributionLoss + out.upsLoss + out.fan // all of it ends in the room
	mechanical := heat * (1 - freeCooling(outsideC, supplyC))
	out.chiller = mechanical / chillerCOP(outsideC, supplyC, heat/(1.15*p.itRatedKW))
	out.pumps = 0.022 * heat // of the water loops, and the fans of the heat rejection
	return out
}

// airFlow returns the air flow as a share of the full flow, 0–1. The flow
// follows the load, but never falls below half. Fan power is proportional to
// the cube of the flow (affinity laws; ASHRAE Handbook, HVAC Systems and
// Equipment, chapter Fans).
func (p plant) airFlow(itKW float64) float64 {
	return bound(0.3+0.7*itKW/p.itRatedKW, 0.5, 1)
}

// returnRiseK returns the temperature of the return air minus that of the
// supply air: heat divided by flow, from the heat balance of an air stream (Q =
// ρ·c·V̇·ΔT).
func (p plant) returnRiseK(itKW float64) float64 {
	return p.designK * itKW / p.itRatedKW / p.airFlow(itKW)
}

// inlets is the distribution of rack inlet temperatures, which is roughly
// normal.
type inlets struct{ meanC, spreadK float64 }

// inlets returns the distribution. The more air returns to the inlets without
// passing the coolers, the hotter and the less even the temperatures are.
func (p plant) inlets(itKW, supplyC float64) inlets {
	x := itKW / p.itRatedKW
	return inlets{meanC: supplyC + 0.6 + p.spillK*x*x, spreadK: p.spreadK * (0.4 + 0.6*x)}
}

func (in inlets) p95C() float64 { return in.meanC + 1.645*in.spreadK }

// above is the share of racks hotter than c, 0–1.
func (in inlets) above(c float64) float64 {
	return math.Erfc((c-in.meanC)/(in.spreadK*math.Sqrt2)) / 2
}

// upsEfficiency returns the efficiency of a double-conversion UPS at a load of
// 0–1. Its losses have a constant, a linear and a quadratic part. They are
// fitted to the efficiency that such devices reach at the load points of IEC
// 62040-3 (about 94.5 % at a quarter of the load, and 96 % above half of it).
func upsEfficiency(load float64) float64 {
	loss := 0.010 + 0.012*load + 0.016*load*load
	return load / (load + loss)
}

// freeCooling returns the share of the heat that outside air removes without a
// chiller: all of it when the outside air is at least 12 K colder than the
// supply air (the difference that the heat exchangers need), none when it is
// less than 4 K colder, and a linear share in between (a water-side economizer
// in partial operation; ASHRAE 90.1, section 6.5.1).
func freeCooling(outsideC, supplyC float64) float64 {
	return bound((supplyC-4-outsideC)/(12-4), 0, 1)
}

// chillerCOP returns the cooling that an air-cooled chiller provides per unit
// of power: 42 % of the Carnot limit between evaporator and condenser, and up
// to a fifth less far from full load (0–1). The result is the 3 to 5 at which
// such machines are rated (AHRI 550/590 conditions: 35 °C outside), and more on
// cool days, when the condenser pressure is held up.
func chillerCOP(outsideC, supplyC, partLoad float64) float64 {
	evaporator := supplyC - 9 + kelvin
	condenser := max(outsideC+14, 28) + kelvin
	idle := 1 - bound(partLoad, 0, 1)
	return 0.42 * evaporator / (condenser - evaporator) * (1 - 0.2*idle*idle)
}
