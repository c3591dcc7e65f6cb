package simulate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// site is an imaginary data center.
type site struct {
	assets    signals.Assets
	utcOffset time.Duration // of local standard time
	zone      string        // IANA
	country   string        // ISO 3166-1
	work      work
	plant     plant
	climate   climate
	grid      grid
}

// demoSites returns two sites: one near Frankfurt whose load follows office hours,
// and a larger one in northern Virginia with many GPUs.
func demoSites() []site {
	return []site{{
		assets:    signals.Assets{SiteID: "fra-1", Region: "eu-central-1", FacilityID: "fra-dc-2", ClusterID: "web-a", ZoneID: "hall-3"},
		utcOffset: time.Hour, zone: "Europe/Berlin", country: "DE",
		work: work{cpuNightPct: 24, cpuPeakPct: 74, gpuDayPct: 45, gpuNightPct: 70, gpuShare: 0.15,
			slots: 400, tokensPerWatt: 2.6},
		plant: plant{itRatedKW: 1200, setpointC: 21, racks: 140,
			fanRatedKW: 66, designK: 12.5, spillK: 3.2, spreadK: 1.5},
		climate: climate{meanC: 10.6, seasonK: 9.4, dayK: 4.2, pressureHPa: 1000.4},
		grid:    grid{carbon: 340, carbonSun: 130, price: 0.135, priceRise: 0.06},
	}, {
		assets:    signals.Assets{SiteID: "iad-2", Region: "us-east-1", FacilityID: "iad-dc-7", ClusterID: "gpu-b", ZoneID: "hall-1"},
		utcOffset: -5 * time.Hour, zone: "America/New_York", country: "US",
		work: work{cpuNightPct: 30, cpuPeakPct: 66, gpuDayPct: 93, gpuNightPct: 78, gpuShare: 0.7,
			slots: 900, tokensPerWatt: 4.1},
		plant: plant{itRatedKW: 3200, setpointC: 21.5, racks: 210,
			fanRatedKW: 190, designK: 14, spillK: 3.8, spreadK: 1.6},
		climate: climate{meanC: 13.4, seasonK: 11.6, dayK: 5.4, pressureHPa: 1003.2},
		grid:    grid{carbon: 375, carbonSun: 60, price: 0.082, priceRise: 0.028},
	}}
}

// noise holds everything about a site that varies at random.
type noise struct {
	rng                                          *rand.Rand
	outsideK, loadPct, supplyK, carbonPct, price *drift
}

func newNoise(rng *rand.Rand) noise {
	return noise{
		rng:       rng,
		outsideK:  newDrift(rng, 1.8, 0.97), // remembered for hours
		loadPct:   newDrift(rng, 3, 0.8),
		supplyK:   newDrift(rng, 0.15, 0.5),
		carbonPct: newDrift(rng, 5, 0.95),
		price:     newDrift(rng, 0.006, 0.9),
	}
}

// day returns a request of signals for each window of a day.
func (s site) day(rng *rand.Rand, day time.Time) []Submission {
	var out []Submission
	n := newNoise(rng)
	for start := day; start.Before(day.Add(24 * time.Hour)); start = start.Add(step) {
		doc := s.document(n, start, step)
		priority := jobs.Priority("")
		if doc.Request.Signals.Thermal.P95RackInletC.Float() > recommendedInletC {
			priority = jobs.High
		}
		name := s.assets.SiteID + " " + start.Format("15:04")
		out = append(out, submission(name, Done, priority, doc))
	}
	return out
}

// document returns the request of signals for the window of that length from
// start.
func (s site) document(n noise, start time.Time, length time.Duration) *signals.Document {
	end := start.Add(length)
	id := s.assets.SiteID + "-" + start.Format("20060102T1504Z")
	return &signals.Document{
		SchemaVersion: signals.Version,
		CorrelationID: "corr-" + id,
		Trace:         signals.Trace{Traceparent: traceparent(n.rng)},
		Request: signals.Request{
			RequestID:               "req-" + id,
			IdempotencyKey:          id,
			TenantID:                "demo",
			Environment:             "dev",
			Mode:                    signals.ModeShadow,
			TimestampUTC:            timestamp(end.Add(time.Duration(500+n.rng.IntN(4000)) * time.Millisecond)),
			TimeoutMS:               "5000",
			ServiceLevelObjectiveMS: "2000",
			TimeWindow:              signals.TimeWindow{StartUTC: timestamp(start), EndUTC: timestamp(end), GranularitySeconds: "60"},
			Assets:                  s.assets,
			DataContract: signals.DataContract{
				Units: "kW", Currency: "USD", Source: "simulator", DataClassification: "internal", NoPII: "true",
				QualityFlags: signals.QualityFlags{MissingAllowed: "true", MaxMissingRatio: "0.05", MaxStalenessSeconds: "120"},
			},
			Signals: s.signals(n, clockAt(start.Add(length/2), s.utcOffset)),
			Constraints: signals.Constraints{
				Hard: signals.HardConstraints{NoControlActions: "true", MaxSetpointChangeC: "1.5",
					MaxHotspotRackCount: "12", MaxRackInletP95C: number(recommendedInletC, 1)},
				Soft: signals.SoftConstraints{MaxRiskScore: "0.35", PreferLowerCarbon: "true"},
			},
			Preferences: signals.Preferences{
				ObjectiveWeights:             signals.ObjectiveWeights{Energy: "0.5", ThermalRisk: "0.3", WorkloadEfficiency: "0.2"},
				RecommendationHorizonMinutes: "60", TopK: "3",
			},
		},
	}
}

// signals returns what the site measures at that time.
func (s site) signals(n noise, at clock) signals.Signals {
	outsideC := s.climate.temperature(at) + n.outsideK.next()
	load := s.work.at(at, n.loadPct.next())
	itKW := load.powerUtilization * s.plant.itRatedKW
	supplyC := s.plant.setpointC + n.supplyK.next()
	power := s.plant.run(itKW, supplyC, outsideC)
	inlets := s.plant.inlets(itKW, supplyC)

	// The site's own figure comes from other meters than the powers: up to 1 %
	// off, inside the contract's 2 %.
	reportedPUE := power.facility() / itKW * (1 + bound(0.004*n.rng.NormFloat64(), -0.01, 0.01))
	valvePct := bound(100*itKW/s.plant.itRatedKW+2*n.rng.NormFloat64(), 5, 100)
	latencyPct := math.Round(10*load.latencyPct) / 10

	return signals.Signals{
		Energy: signals.Energy{
			ITLoadKW:                  number(itKW, 1),
			FacilityPowerKW:           number(power.facility(), 1),
			UPSEfficiencyPct:          number(100*power.upsEfficiency, 2),
			PUECurrent:                number(reportedPUE, 3),
			CarbonIntensityGCO2PerKWh: number(s.grid.carbonIntensity(at)*(1+n.carbonPct.next()/100), 1),
			EnergyPriceUSDPerKWh:      number(max(s.grid.energyPrice(at)+n.price.next(), 0.01), 4),
		},
		Thermal: signals.Thermal{
			AvgRackInletC:    number(inlets.meanC, 2),
			P95RackInletC:    number(inlets.p95C(), 2),
			HotspotRackCount: number(s.plant.racks*inlets.above(recommendedInletC), 0),
			SupplyTempC:      number(supplyC, 2),
			ReturnTempC:      number(supplyC+s.plant.returnRiseK(itKW), 2),
		},
		Cooling: signals.Cooling{
			CoolingSetpointC:        number(s.plant.setpointC, 1),
			ChillerKW:               number(power.chiller, 1),
			FanPowerKW:              number(power.fan, 1),
			CoolingValvePositionPct: number(valvePct, 1),
		},
		Workload: signals.Workload{
			CPUUtilAvg:       number(load.cpuPct, 1),
			GPUUtilAvg:       number(load.gpuPct, 1),
			QueueDepth:       number(load.queueDepth, 0),
			JobMix:           signals.JobMix{BatchPct: number(100-latencyPct, 1), LatencySensitivePct: number(latencyPct, 1)},
			TokensPerWattEst: number(load.tokensPerWatt, 2),
		},
		Weather: signals.Weather{
			OutdoorDryBulbC:     number(outsideC, 1),
			RelativeHumidityPct: number(s.climate.humidityPct(at, outsideC), 0),
			PressureHPa:         number(s.climate.pressureHPa, 1),
		},
	}
}

// number formats x with the given number of decimals, like a meter of that
// resolution.
func number(x float64, decimals int) signals.Number {
	return signals.Number(strconv.FormatFloat(x, 'f', decimals, 64))
}

func timestamp(t time.Time) signals.Time { return signals.Time(t.UTC().Format(time.RFC3339Nano)) }

// traceparent returns a W3C traceparent. The lowest bits are set because its
// ids must not be zero.
func traceparent(rng *rand.Rand) string {
	return fmt.Sprintf("00-%016x%016x-%016x-01", rng.Uint64()|1, rng.Uint64(), rng.Uint64()|1)
}
