package biocore

import "github.com/leomutto/pilot-in-a-box/jobs/signals"

// Answer is a whole successful answer of POST /recommend.
//
// The struct tags are the one source of the shape, which Decode reads. A member
// with omitzero is optional, and null counts as absent; every other member is
// required, and a required string must not be blank. min and max bound a
// number; whole requires a whole number. enum and pattern restrict a string,
// maxLength bounds its characters (200 by default), and maxItems the elements
// of an array (100 by default).
type Answer struct {
	SchemaVersion string        `json:"schema_version" enum:"1.1"`
	CorrelationID string        `json:"correlation_id,omitzero"`
	Trace         signals.Trace `json:"trace,omitzero"`
	Response      Response      `json:"response"`
}

// Response is the content of an answer.
type Response struct {
	RequestID       string           `json:"request_id"`
	IdempotencyKey  string           `json:"idempotency_key"`
	Model           Model            `json:"model"`
	Status          Status           `json:"status"`
	Summary         Summary          `json:"summary"`
	Recommendations []Recommendation `json:"recommendations"`
	Audit           Audit            `json:"audit"`
}

// Model names what made an answer.
type Model struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	PolicyID string `json:"policy_id"`
}

// Status is BioCore's judgment of the request's data.
type Status struct {
	Code       string     `json:"code"`
	Warnings   []string   `json:"warnings" maxLength:"1000"`
	Validation Validation `json:"validation"`
}

// Validation holds what BioCore found when it read the request.
type Validation struct {
	SchemaValid      bool    `json:"schema_valid"`
	MissingRatio     float64 `json:"missing_ratio" min:"0" max:"1"`
	StalenessSeconds float64 `json:"staleness_seconds" min:"0"`
}

// Summary describes all recommendations of an answer together.
type Summary struct {
	Confidence         float64    `json:"confidence" min:"0" max:"1"`
	RiskScore          float64    `json:"risk_score" min:"0" max:"1"`
	EstimatedImpact24h Impact24h  `json:"estimated_impact_24h"`
	Guardrails         Guardrails `json:"guardrails"`
}

// Impact24h estimates the effect of following all recommendations for 24 hours;
// savings are negative. A nil figure is unknown.
type Impact24h struct {
	EnergyKWh     *float64 `json:"energy_kwh,omitzero"`
	EnergyCostUSD *float64 `json:"energy_cost_usd,omitzero"`
	PUEDelta      *float64 `json:"pue_delta,omitzero"`
	CO2eKg        *float64 `json:"co2e_kg,omitzero"`
}

// Guardrails holds BioCore's statements about its own limits.
type Guardrails struct {
	ShadowReadOnlyEnforced bool `json:"shadow_read_only_enforced"`
	ConstraintsSatisfied   bool `json:"constraints_satisfied"`
}

// Recommendation is one suggestion to a person. MASS never acts on it.
type Recommendation struct {
	RecID          string         `json:"rec_id"`
	Priority       float64        `json:"priority" min:"1" whole:"true"` // 1 is the most important
	Category       string         `json:"category"`
	Action         Action         `json:"action"`
	ExpectedImpact Impact         `json:"expected_impact"`
	Explainability Explainability `json:"explainability"`
	Trace          Provenance     `json:"trace"`
}

// Action is the change that a person may make.
type Action struct {
	Type      string  `json:"type"`
	Target    string  `json:"target"`
	Current   float64 `json:"current"`
	Suggested float64 `json:"suggested"`
	Delta     float64 `json:"delta"`
	Units     string  `json:"units"` // one of knownUnits
}

// Impact estimates the effect of one recommendation; savings are negative. A
// nil figure is unknown.
type Impact struct {
	FacilityPowerKWDelta *float64 `json:"facility_power_kw_delta,omitzero"`
	PUEDelta             *float64 `json:"pue_delta,omitzero"`
	CO2eKgPerDayDelta    *float64 `json:"co2e_kg_per_day_delta,omitzero"`
}

// Explainability holds the reasons for a recommendation.
type Explainability struct {
	Narrative    string   `json:"narrative" maxLength:"4000"`
	ReasonCodes  []string `json:"reason_codes"`
	OrganismTags []string `json:"organism_tags"`
}

// Provenance names the inputs of a recommendation.
type Provenance struct {
	InputFingerprint  string       `json:"input_fingerprint"`
	FeatureSetVersion string       `json:"feature_set_version"`
	DecisionID        string       `json:"decision_id"`
	GeneratedAtUTC    signals.Time `json:"generated_at_utc"`
}

// Audit holds BioCore's statements for the trail.
type Audit struct {
	Mode                     string  `json:"mode"`
	NoControlActionsEnforced bool    `json:"no_control_actions_enforced"`
	LatencyMS                float64 `json:"latency_ms" min:"0"`
	SLOMS                    float64 `json:"slo_ms" min:"0"`
	ServiceHealth            string  `json:"service_health"`
}

// ErrorAnswer is an answer with an error status. BioCore may put the status
// directly into the envelope, or into the response as a success does.
type ErrorAnswer struct {
	SchemaVersion string        `json:"schema_version"`
	CorrelationID string        `json:"correlation_id,omitzero"`
	Trace         signals.Trace `json:"trace,omitzero"`
	Status        ErrorStatus   `json:"status"`
}

// ErrorStatus says why BioCore did not answer, and whether to ask again.
type ErrorStatus struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Retryable *bool  `json:"retryable,omitzero"` // nil: the HTTP status decides
}
