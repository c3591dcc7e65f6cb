// Package signals owns the signals shape of a MassRequest (schema_version
// "1.1"): its fields (Document), the checks of shape and types when a request
// is accepted (Decode), the checks of meaning in the worker (Validate), the
// normal form (Normalize) and the figures that are derived from it (Derive).
//
// The struct tags of Document are the one source of the shape. Decode and the
// API's OpenAPI schema (huma) both read json, required, enum, format, minLength
// and maxLength. Only this package reads range, which is a rule of meaning. A
// field with omitzero is optional; absent, null and empty mean the same.
//
// It is pure: it must not know HTTP, SQL, queues, the clock, or BioCore.
package signals

import "github.com/leomutto/pilot-in-a-box/jobs/payload"

// Version is the schema_version of this shape.
const Version = payload.VersionSignals

// The enum values to which rules refer.
const (
	ModeShadow      = "shadow"
	EnvironmentProd = "prod"
	UnitsKWh        = "kWh"
	CurrencyEUR     = "EUR"
)

// Document is a whole signals payload.
type Document struct {
	SchemaVersion string  `json:"schema_version" enum:"1.1" doc:"Shape of the payload" example:"1.1"`
	CorrelationID string  `json:"correlation_id,omitzero" maxLength:"200" doc:"Id that connects this request with the caller's other records" example:"corr-7f3a"`
	Trace         Trace   `json:"trace,omitzero" doc:"W3C Trace Context of the caller"`
	Request       Request `json:"request" doc:"The request and the measurements on which it is based"`
}

// Trace carries the caller's trace (W3C Trace Context).
type Trace struct {
	Traceparent string `json:"traceparent,omitzero" format:"traceparent" pattern:"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$" patternDescription:"a W3C traceparent of version 00" doc:"W3C traceparent, version 00, lower case; neither id may be all zeros" example:"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"`
}

// Request is the question together with its measurements.
type Request struct {
	RequestID               string       `json:"request_id,omitzero" maxLength:"200" doc:"The caller's id of this request" example:"req-2026-03-01-0042"`
	IdempotencyKey          string       `json:"idempotency_key,omitzero" maxLength:"200" doc:"The caller's key for this submission" example:"site-1:2026-03-01T10:00Z"`
	TenantID                string       `json:"tenant_id,omitzero" maxLength:"200" doc:"Tenant that owns the site" example:"acme"`
	Environment             string       `json:"environment,omitzero" enum:"dev,staging,prod" doc:"Environment that sent the request; prod has a stricter service level objective" example:"prod"`
	Mode                    string       `json:"mode,omitzero" enum:"shadow" doc:"Mode of operation. In shadow mode, which is the default, nothing is controlled" example:"shadow"`
	TimestampUTC            Time         `json:"timestamp_utc,omitzero" format:"date-time" doc:"When the caller created the request (RFC 3339)" example:"2026-03-01T11:00:02.500Z"`
	TimeoutMS               Number       `json:"timeout_ms,omitzero" range:"(0,)" doc:"How long the caller waits for an answer, in ms; > 0" example:"3000"`
	ServiceLevelObjectiveMS Number       `json:"service_level_objective_ms,omitzero" range:"(0,)" doc:"Service level objective, in ms; > 0, and at most 5000 in prod" example:"2000"`
	TimeWindow              TimeWindow   `json:"time_window" doc:"Time span of the measurements"`
	Assets                  Assets       `json:"assets" doc:"Site and equipment that were measured"`
	DataContract            DataContract `json:"data_contract,omitzero" doc:"The caller's statements about the data"`
	Signals                 Signals      `json:"signals" doc:"Measurements; averages over the time window unless the name says otherwise"`
	Constraints             Constraints  `json:"constraints,omitzero" doc:"Limits that a recommendation must or should respect"`
	Preferences             Preferences  `json:"preferences,omitzero" doc:"Preferences for a recommendation"`
}

// TimeWindow is the time span of the measurements.
type TimeWindow struct {
	StartUTC           Time   `json:"start_utc" format:"date-time" doc:"First instant (RFC 3339), before end_utc" example:"2026-03-01T10:00:00Z"`
	EndUTC             Time   `json:"end_utc" format:"date-time" doc:"Instant after the last (RFC 3339)" example:"2026-03-01T11:00:00Z"`
	GranularitySeconds Number `json:"granularity_seconds,omitzero" range:"(0,)" doc:"Time between two samples, in s; > 0" example:"60"`
}

// Hours returns the length of the window, in hours.
func (w *TimeWindow) Hours() float64 { return w.seconds() / 3600 }

func (w *TimeWindow) seconds() float64 {
	start, end := w.StartUTC.Instant(), w.EndUTC.Instant()
	return float64(end.Unix()-start.Unix()) + float64(end.Nanosecond()-start.Nanosecond())/1e9
}

// Assets names the site and the equipment that were measured.
type Assets struct {
	SiteID     string `json:"site_id" minLength:"1" maxLength:"200" doc:"Site; must not be blank" example:"site-1"`
	Region     string `json:"region,omitzero" maxLength:"200" doc:"Region of the site" example:"eu-central-1"`
	FacilityID string `json:"facility_id,omitzero" maxLength:"200" doc:"Building or facility" example:"fra-dc-2"`
	ClusterID  string `json:"cluster_id,omitzero" maxLength:"200" doc:"Cluster of machines" example:"gpu-a"`
	ZoneID     string `json:"zone_id,omitzero" maxLength:"200" doc:"Thermal zone or room" example:"hall-3"`
}

// DataContract holds the caller's statements about the data.
type DataContract struct {
	Units              string       `json:"units,omitzero" enum:"kW,kWh" doc:"Unit of the source; fields named _kw are read as kW in any case" example:"kW"`
	Currency           string       `json:"currency,omitzero" enum:"USD,EUR" doc:"Currency of the source; prices named usd are read as USD in any case" example:"USD"`
	Source             string       `json:"source,omitzero" maxLength:"200" doc:"System that supplied the data" example:"dcim"`
	DataClassification string       `json:"data_classification,omitzero" enum:"internal,restricted" doc:"How the data may be shared" example:"internal"`
	NoPII              Bool         `json:"no_pii,omitzero" doc:"The data contains no personal data" example:"true"`
	QualityFlags       QualityFlags `json:"quality_flags,omitzero" doc:"Limits of the quality of the data"`
}

// QualityFlags limits the quality of the data.
type QualityFlags struct {
	MissingAllowed      Bool   `json:"missing_allowed,omitzero" doc:"Samples may be missing" example:"true"`
	MaxMissingRatio     Number `json:"max_missing_ratio,omitzero" range:"[0,1]" doc:"Highest share of missing samples, 0–1" example:"0.05"`
	MaxStalenessSeconds Number `json:"max_staleness_seconds,omitzero" range:"[0,)" doc:"Highest age of the newest sample, in s; ≥ 0" example:"120"`
}

// Signals holds the measurements.
type Signals struct {
	Energy   Energy   `json:"energy" doc:"Power, carbon and price"`
	Thermal  Thermal  `json:"thermal,omitzero" doc:"Air temperatures"`
	Cooling  Cooling  `json:"cooling,omitzero" doc:"Cooling plant"`
	Workload Workload `json:"workload,omitzero" doc:"Workload of the machines"`
	Weather  Weather  `json:"weather,omitzero" doc:"Outdoor air"`
	Water    Water    `json:"water,omitzero" doc:"Water"`
}

// Energy holds power, carbon and price.
type Energy struct {
	ITLoadKW                  Number `json:"it_load_kw" range:"(0,)" doc:"Power of the IT equipment, in kW; > 0" example:"812.5"`
	FacilityPowerKW           Number `json:"facility_power_kw" range:"[0,)" doc:"Power of the whole facility, in kW; ≥ it_load_kw" example:"1056.25"`
	UPSEfficiencyPct          Number `json:"ups_efficiency_pct,omitzero" range:"[0,100]" doc:"Efficiency of the UPS, in %; 0–100" example:"96.2"`
	PUECurrent                Number `json:"pue_current,omitzero" range:"(-Inf,)" doc:"Power usage effectiveness as reported by the site; causes a warning if it differs by more than 2 % from facility power / IT power" example:"1.30"`
	CarbonIntensityGCO2PerKWh Number `json:"carbon_intensity_gco2_per_kwh,omitzero" range:"[0,)" doc:"Carbon intensity of the electricity, in g CO2e/kWh; ≥ 0" example:"320"`
	EnergyPriceUSDPerKWh      Number `json:"energy_price_usd_per_kwh,omitzero" range:"[0,)" doc:"Price of the electricity, in USD/kWh; ≥ 0" example:"0.118"`
}

// Thermal holds air temperatures.
type Thermal struct {
	AvgRackInletC    Number `json:"avg_rack_inlet_c,omitzero" range:"[-273.15,)" doc:"Average rack inlet temperature, in °C" example:"23.4"`
	P95RackInletC    Number `json:"p95_rack_inlet_c,omitzero" range:"[-273.15,)" doc:"95th percentile of the rack inlet temperatures, in °C; ≥ avg_rack_inlet_c" example:"26.1"`
	HotspotRackCount Number `json:"hotspot_rack_count,omitzero" range:"[0,)" doc:"Number of racks that are too hot; ≥ 0" example:"2"`
	SupplyTempC      Number `json:"supply_temp_c,omitzero" range:"[-273.15,)" doc:"Supply air temperature, in °C" example:"20.5"`
	ReturnTempC      Number `json:"return_temp_c,omitzero" range:"[-273.15,)" doc:"Return air temperature, in °C; ≥ supply_temp_c" example:"32.0"`
}

// Cooling holds the measurements of the cooling plant.
type Cooling struct {
	CoolingSetpointC        Number `json:"cooling_setpoint_c,omitzero" range:"[-273.15,)" doc:"Cooling setpoint, in °C" example:"20.0"`
	ChillerKW               Number `json:"chiller_kw,omitzero" range:"[0,)" doc:"Power of the chillers, in kW; ≥ 0" example:"142.0"`
	FanPowerKW              Number `json:"fan_power_kw,omitzero" range:"[0,)" doc:"Power of the fans, in kW; ≥ 0" example:"38.5"`
	CoolingValvePositionPct Number `json:"cooling_valve_position_pct,omitzero" range:"[0,100]" doc:"Opening of the cooling valve, in %; 0–100" example:"57"`
}

// Workload describes the workload of the machines.
type Workload struct {
	CPUUtilAvg       Number `json:"cpu_util_avg,omitzero" range:"[0,100]" doc:"Average CPU utilization, in %; 0–100" example:"61.5"`
	GPUUtilAvg       Number `json:"gpu_util_avg,omitzero" range:"[0,100]" doc:"Average GPU utilization, in %; 0–100" example:"74.2"`
	QueueDepth       Number `json:"queue_depth,omitzero" range:"[0,)" doc:"Number of waiting jobs; ≥ 0" example:"128"`
	JobMix           JobMix `json:"job_mix,omitzero" doc:"Shares of the different kinds of jobs"`
	TokensPerWattEst Number `json:"tokens_per_watt_est,omitzero" range:"[0,)" doc:"Estimated tokens per watt; ≥ 0" example:"3.85"`
}

// JobMix holds the shares of the kinds of jobs, which sum to 100 % ± 0.5.
type JobMix struct {
	BatchPct            Number `json:"batch_pct,omitzero" range:"[0,100]" doc:"Share of batch jobs, in %; 0–100" example:"65"`
	LatencySensitivePct Number `json:"latency_sensitive_pct,omitzero" range:"[0,100]" doc:"Share of latency-sensitive jobs, in %; 0–100" example:"35"`
}

// Weather describes the outdoor air.
type Weather struct {
	OutdoorDryBulbC     Number `json:"outdoor_dry_bulb_c,omitzero" range:"[-273.15,)" doc:"Outdoor dry-bulb temperature, in °C" example:"11.5"`
	OutdoorWetBulbC     Number `json:"outdoor_wet_bulb_c,omitzero" range:"[-273.15,)" doc:"Outdoor wet-bulb temperature, in °C; derived from the other fields where it is absent" example:"8.7"`
	RelativeHumidityPct Number `json:"relative_humidity_pct,omitzero" range:"[0,100]" doc:"Relative humidity of the outdoor air, in %; 0–100" example:"70"`
	PressureHPa         Number `json:"pressure_hpa,omitzero" range:"(0,)" doc:"Pressure of the outdoor air at the site, not reduced to sea level, in hPa; > 0" example:"1002.3"`
}

// Water holds the consumption of water.
type Water struct {
	WaterL Number `json:"water_l,omitzero" range:"[0,)" doc:"Water used over the time window, in liters; ≥ 0" example:"650"`
}

// Constraints holds the limits that a recommendation must (hard) and should
// (soft) respect.
type Constraints struct {
	Hard HardConstraints `json:"hard,omitzero" doc:"Limits that a recommendation must respect"`
	Soft SoftConstraints `json:"soft,omitzero" doc:"Limits that a recommendation should respect"`
}

// HardConstraints holds the limits that a recommendation must respect.
type HardConstraints struct {
	NoControlActions    Bool   `json:"no_control_actions,omitzero" doc:"No equipment may be controlled; must be true in shadow mode" example:"true"`
	MaxSetpointChangeC  Number `json:"max_setpoint_change_c,omitzero" range:"[0,)" doc:"Largest change of a setpoint, in K; ≥ 0" example:"1.5"`
	MaxHotspotRackCount Number `json:"max_hotspot_rack_count,omitzero" range:"[0,)" doc:"Largest number of racks that may be too hot; ≥ 0" example:"4"`
	MaxRackInletP95C    Number `json:"max_rack_inlet_p95_c,omitzero" range:"[-273.15,)" doc:"Highest 95th percentile of the rack inlet temperatures, in °C" example:"27.0"`
}

// SoftConstraints holds the limits that a recommendation should respect.
type SoftConstraints struct {
	MaxRiskScore      Number `json:"max_risk_score,omitzero" range:"[0,1]" doc:"Highest risk score, 0–1" example:"0.35"`
	PreferLowerCarbon Bool   `json:"prefer_lower_carbon,omitzero" doc:"Prefer lower carbon emissions among equal options" example:"true"`
}

// Preferences holds the caller's preferences for a recommendation.
type Preferences struct {
	ObjectiveWeights             ObjectiveWeights `json:"objective_weights,omitzero" doc:"Relative weights of the objectives"`
	RecommendationHorizonMinutes Number           `json:"recommendation_horizon_minutes,omitzero" range:"(0,)" doc:"Time span that a recommendation covers, in min; > 0" example:"60"`
	TopK                         Number           `json:"top_k,omitzero" range:"[1,)" doc:"Largest number of recommendations; a whole number ≥ 1" example:"3"`
}

// ObjectiveWeights holds relative weights: each ≥ 0, their sum positive.
type ObjectiveWeights struct {
	Energy             Number `json:"energy,omitzero" range:"[0,)" doc:"Weight of saving energy; ≥ 0" example:"0.5"`
	ThermalRisk        Number `json:"thermal_risk,omitzero" range:"[0,)" doc:"Weight of avoiding thermal risk; ≥ 0" example:"0.3"`
	WorkloadEfficiency Number `json:"workload_efficiency,omitzero" range:"[0,)" doc:"Weight of workload efficiency; ≥ 0" example:"0.2"`
}
