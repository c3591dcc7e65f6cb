package simulate

import "math"

// idleShare is the share of its peak power that an idle server draws. Between
// idle and peak, power is roughly linear in utilization (Fan, Weber, Barroso:
// Power Provisioning for a Warehouse-sized Computer, ISCA 2007).
const idleShare = 0.35

// work describes what runs on the machines of a site: interactive load follows
// office hours, batch jobs fill the rest of the day.
type work struct {
	cpuNightPct, cpuPeakPct float64
	gpuDayPct, gpuNightPct  float64
	gpuShare                float64 // of the IT power that GPU servers draw at their peak, 0–1
	slots                   float64 // jobs that run at once
	tokensPerWatt           float64 // at full utilization
}

// itLoad is the state of the machines in one time window.
type itLoad struct {
	cpuPct, gpuPct   float64
	queueDepth       float64
	latencyPct       float64 // share of latency-sensitive jobs; the others are batch jobs
	tokensPerWatt    float64
	powerUtilization float64 // IT power over rated IT power, 0–1
}

// at returns the load at that time; noisePct is added to the utilizations, in
// percentage points.
func (w work) at(t clock, noisePct float64) itLoad {
	people := bump(t.hour, 14)
	if t.weekend {
		people *= 0.45
	}
	cpu := bound(w.cpuNightPct+(w.cpuPeakPct-w.cpuNightPct)*people+noisePct, 3, 97)
	gpu := bound(w.gpuNightPct+(w.gpuDayPct-w.gpuNightPct)*people+0.5*noisePct, 3, 98)

	// The mean number waiting in an M/M/1 queue is ρ²/(1−ρ): none at rest, many
	// near saturation. A job here waits for one of many slots, hence the small
	// factor.
	rho := bound((cpu+gpu)/200, 0, 0.98)
	waiting := 0.1 * w.slots * rho * rho / (1 - rho)

	return itLoad{
		cpuPct:           cpu,
		gpuPct:           gpu,
		queueDepth:       math.Floor(waiting),
		latencyPct:       20 + 50*people,
		tokensPerWatt:    w.tokensPerWatt * gpu / 100 / powerShare(gpu/100),
		powerUtilization: (1-w.gpuShare)*powerShare(cpu/100) + w.gpuShare*powerShare(gpu/100),
	}
}

// powerShare is a server's power over its peak power at that utilization, both
// 0–1.
func powerShare(utilization float64) float64 { return idleShare + (1-idleShare)*utilization }

// bound limits x to the range from low to high.
func bound(x, low, high float64) float64 { return min(max(x, low), high) }
