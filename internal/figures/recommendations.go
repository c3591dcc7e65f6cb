package figures

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/store"
)

// RecommendationsPath is where the recommendations are.
const RecommendationsPath = "/recommendations"

// Recommendation is what BioCore recommended about one end of a request, or why
// it did not. MASS never acts on it.
type Recommendation struct {
	ID         int64                    `json:"id" doc:"Id of the answer" example:"7"`
	RequestID  int64                    `json:"request_id" doc:"MassRequest about which BioCore was asked" example:"42"`
	Attempt    int                      `json:"attempt" doc:"Attempt of the MassRequest; a replay asks again" example:"1"`
	State      jobs.RecommendationState `json:"state" enum:"pending,available,refused,unavailable,skipped" doc:"pending: BioCore is being asked. available: its answer passed all checks. refused: its answer has faults and is not shown. unavailable: there is no answer. skipped: BioCore was not asked, because a newer window of the same asset took its place" example:"available"`
	Reason     *string                  `json:"reason" doc:"Why there is no recommendation, or why there is none yet; null when there is one" example:"BioCore did not answer within 2s"`
	Site       string                   `json:"site_id" doc:"Site" example:"oslo-1"`
	Facility   string                   `json:"facility_id" doc:"Building or facility; empty when the payload names none" example:"osl-dc-1"`
	Cluster    string                   `json:"cluster_id" doc:"Cluster of machines; empty when the payload names none" example:"gpu-a"`
	Zone       string                   `json:"zone_id" doc:"Thermal zone or room; empty when the payload names none" example:"hall-3"`
	Start      string                   `json:"start" format:"date-time" doc:"Beginning of the window of the MassRequest" example:"2026-03-01T10:00:00Z"`
	End        string                   `json:"end" format:"date-time" doc:"End of the window, which is not included" example:"2026-03-01T11:00:00Z"`
	FinishedAt string                   `json:"finished_at" format:"date-time" doc:"When the MassRequest became done" example:"2026-03-01T11:00:02.5Z"`
	EndedAt    *string                  `json:"ended_at" format:"date-time" doc:"When the state became final; null while it is pending" example:"2026-03-01T11:00:04.5Z"`
	Tries      int                      `json:"tries" doc:"How often a worker began to ask" example:"1"`
	LatencyMS  *float64                 `json:"latency_ms" doc:"Duration of the call that was answered, in milliseconds; null without an answer" example:"38.5"`
	Model      *RecommendationModel     `json:"model" doc:"What made the answer, also a refused one; null without an answer"`
	Faults     []payload.Fault          `json:"faults" nullable:"false" doc:"Everything that is wrong with a refused answer, by JSON pointer from the root of the answer"`
	Summary    *RecommendationSummary   `json:"summary" doc:"The answer as a whole; null unless the state is available"`
	Items      []Advice                 `json:"recommendations" nullable:"false" doc:"The recommendations, in the order of BioCore; empty unless the state is available"`
	Opinions   []Opinion                `json:"opinions" nullable:"false" doc:"What people think of them, oldest first"`
}

// RecommendationModel names what made an answer.
type RecommendationModel struct {
	Name     string `json:"name" doc:"Name of the model" example:"reference model"`
	Version  string `json:"version" doc:"Its version" example:"1.0.0"`
	PolicyID string `json:"policy_id" doc:"The policy that it followed" example:"shadow-advice"`
}

// RecommendationSummary describes all recommendations of an answer together.
type RecommendationSummary struct {
	Confidence float64       `json:"confidence" doc:"BioCore's confidence, from 0 to 1" example:"0.8"`
	RiskScore  float64       `json:"risk_score" doc:"BioCore's estimate of the risk, from 0 to 1" example:"0.2"`
	Impact24h  AnswerImpact  `json:"estimated_impact_24h" doc:"Effect of following all recommendations for 24 hours; savings are negative"`
	Guardrails AnswerGuards  `json:"guardrails" doc:"What BioCore states about its own limits; an answer without these statements is refused"`
	Warnings   []string      `json:"warnings" nullable:"false" doc:"BioCore's warnings about the data of the request"`
	Audit      AnswerService `json:"audit" doc:"What BioCore says about how it answered"`
}

// AnswerImpact is the estimated effect of an answer.
type AnswerImpact struct {
	EnergyKWh     *float64 `json:"energy_kwh" doc:"Energy in kWh; null: unknown" example:"-310"`
	EnergyCostUSD *float64 `json:"energy_cost_usd" doc:"Cost of energy in USD; null: unknown" example:"-34.1"`
	PUEDelta      *float64 `json:"pue_delta" doc:"Change of PUE; null: unknown" example:"-0.01"`
	CO2eKg        *float64 `json:"co2e_kg" doc:"CO2e in kg; null: unknown" example:"-65"`
}

// AnswerGuards are BioCore's statements about its own limits.
type AnswerGuards struct {
	ShadowReadOnlyEnforced bool `json:"shadow_read_only_enforced" doc:"BioCore states that it only reads" example:"true"`
	ConstraintsSatisfied   bool `json:"constraints_satisfied" doc:"BioCore states that the hard constraints of the request hold" example:"true"`
}

// AnswerService is what BioCore says about how it answered.
type AnswerService struct {
	LatencyMS     float64 `json:"latency_ms" doc:"BioCore's own measure of its time, in milliseconds" example:"12"`
	ServiceHealth string  `json:"service_health" doc:"BioCore's own judgment of its health" example:"ok"`
}

// Advice is one suggestion to a person.
type Advice struct {
	RecID          string         `json:"rec_id" doc:"Id within the answer" example:"rec-1"`
	Priority       float64        `json:"priority" doc:"1 is the most important" example:"1"`
	Category       string         `json:"category" doc:"What it is about" example:"cooling"`
	Action         AdvisedAction  `json:"action" doc:"The change that a person may make"`
	ExpectedImpact AdviceImpact   `json:"expected_impact" doc:"Effect of the change; savings are negative"`
	Explainability AdviceReasons  `json:"explainability" doc:"Why BioCore suggests it"`
	Trace          AdviceEvidence `json:"trace" doc:"What BioCore made it from"`
}

// AdvisedAction is the change that a person may make.
type AdvisedAction struct {
	Type      string  `json:"type" doc:"Kind of change; never one that controls equipment" example:"recommend_setpoint"`
	Target    string  `json:"target" doc:"What to change" example:"cooling_setpoint_c"`
	Current   float64 `json:"current" doc:"Present value" example:"22"`
	Suggested float64 `json:"suggested" doc:"Suggested value" example:"22.8"`
	Delta     float64 `json:"delta" doc:"Suggested minus present value" example:"0.8"`
	Units     string  `json:"units" doc:"Unit of the values" example:"C"`
}

// AdviceImpact is the expected effect of one suggestion.
type AdviceImpact struct {
	FacilityPowerKW *float64 `json:"facility_power_kw_delta" doc:"Change of the power of the facility in kW; null: unknown" example:"-12.9"`
	PUEDelta        *float64 `json:"pue_delta" doc:"Change of PUE; null: unknown" example:"-0.01"`
	CO2eKgPerDay    *float64 `json:"co2e_kg_per_day_delta" doc:"Change of CO2e in kg a day; null: unknown" example:"-65"`
}

// AdviceReasons are the reasons for one suggestion.
type AdviceReasons struct {
	Narrative    string   `json:"narrative" doc:"The reasons in words" example:"The inlets are 2.5 K below their limit."`
	ReasonCodes  []string `json:"reason_codes" nullable:"false" doc:"The reasons as codes"`
	OrganismTags []string `json:"organism_tags" nullable:"false" doc:"BioCore's own tags"`
}

// AdviceEvidence names the inputs of one suggestion.
type AdviceEvidence struct {
	InputFingerprint  string `json:"input_fingerprint" doc:"BioCore's fingerprint of its inputs" example:"sha256:9f2c"`
	FeatureSetVersion string `json:"feature_set_version" doc:"Version of what BioCore made of its inputs" example:"1.0"`
	DecisionID        string `json:"decision_id" doc:"BioCore's id of the decision" example:"d-1"`
	GeneratedAt       string `json:"generated_at_utc" format:"date-time" doc:"When BioCore made it" example:"2026-03-01T11:00:03Z"`
}

// Opinion says whether a person agrees with a recommendation. MASS never acts on
// it.
type Opinion struct {
	ID     int64   `json:"id" doc:"Id of the opinion" example:"3"`
	RecID  *string `json:"rec_id" doc:"The recommendation of the answer that it is about; null: all of them" example:"rec-1"`
	Agrees bool    `json:"agrees" doc:"Whether the person agrees" example:"false"`
	Reason string  `json:"reason" doc:"Why; a disagreement has a reason" example:"Hall 3 is being rebuilt"`
	Author string  `json:"author" doc:"Who said so" example:"user:12"`
	At     string  `json:"at" format:"date-time" doc:"When" example:"2026-03-01T12:00:00Z"`
}

// maxEnds is how many ends of one request are shown.
const maxEnds = 50

type (
	// RequestRecommendations are those of all ends of a request.
	RequestRecommendations struct {
		Items []Recommendation `json:"items" nullable:"false" doc:"One for each time that the MassRequest became done, newest first, at most 50. Empty: BioCore is not asked about it, or will be within seconds after it became done"`
	}
	// RequestRecommendationsInput is the path of OfRequest.
	RequestRecommendationsInput struct {
		ID int64 `path:"id" minimum:"1" doc:"Id of the MassRequest" example:"42"`
	}
	// RequestRecommendationsOutput is the answer of OfRequest.
	RequestRecommendationsOutput struct{ Body RequestRecommendations }
)

// OfRequest lists the recommendations of a request.
func (f *Figures) OfRequest(ctx context.Context, in *RequestRecommendationsInput) (*RequestRecommendationsOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	found, err := f.store.RequestRecommendations(ctx, in.ID, maxEnds)
	if err != nil {
		return nil, err
	}
	items, err := recommendationViews(found, time.UTC)
	return &RequestRecommendationsOutput{RequestRecommendations{items}}, err
}

// RecommendationList is one page of recommendations.
type RecommendationList struct {
	Site  string           `json:"site" doc:"Site" example:"oslo-1"`
	From  string           `json:"from" format:"date-time" doc:"Beginning" example:"2026-03-01T00:00:00+01:00"`
	To    string           `json:"to" format:"date-time" doc:"End, which is not included" example:"2026-03-08T00:00:00+01:00"`
	Items []Recommendation `json:"items" nullable:"false" doc:"Recommendations about windows that begin in the range, newest window first"`
	Next  *string          `json:"next" doc:"Path and query of the next page; null on the last one" example:"/recommendations?after=1772359200000000-7&from=2026-03-01T00%3A00%3A00Z&limit=50&site=oslo-1&to=2026-03-08T00%3A00%3A00Z"`
}

type (
	// RecommendationsInput is the query of Recommendations.
	RecommendationsInput struct {
		Site     string `query:"site" required:"true" minLength:"1" maxLength:"200" doc:"Site, as the payloads name it" example:"oslo-1"`
		Cluster  string `query:"cluster" maxLength:"200" doc:"Only this cluster; without it, all of the site" example:"gpu-a"`
		From     string `query:"from" default:"now-7d" maxLength:"40" doc:"Beginning: now-7d, now-1mo/mo, a date, a local time or an RFC 3339 time" example:"2026-03-01"`
		To       string `query:"to" default:"now" maxLength:"40" doc:"End, which is not included; the same forms" example:"2026-03-08"`
		Zone     string `query:"tz" maxLength:"64" doc:"IANA time zone of dates and local times; the site's own by default" example:"Europe/Oslo"`
		State    string `query:"state" enum:"pending,available,refused,unavailable,skipped" doc:"Only this state" example:"available"`
		Category string `query:"category" maxLength:"200" doc:"Only answers with a recommendation of this category" example:"cooling"`
		Limit    int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Maximum number on a page" example:"50"`
		After    string `query:"after" maxLength:"60" doc:"Where the page before ended, from its next" example:"1772359200000000-7"`
	}
	// RecommendationsOutput is the answer of Recommendations.
	RecommendationsOutput struct{ Body RecommendationList }
)

// Recommendations lists the recommendations about a site.
func (f *Figures) Recommendations(ctx context.Context, in *RecommendationsInput) (*RecommendationsOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	behind, err := parseReadingKey(in.After)
	if err != nil {
		return nil, web.InvalidParameter("after", err.Error())
	}
	a, err := f.understand(ctx, &Question{Site: in.Site, Cluster: in.Cluster, From: in.From, To: in.To, Zone: in.Zone})
	if err != nil {
		return nil, err
	}
	filter := store.RecommendationFilter{ReadingScope: a.scope(), State: jobs.RecommendationState(in.State), Category: in.Category}
	found, err := f.store.Recommendations(ctx, filter, a.times, behind, in.Limit+1) // one extra row shows whether there is a next page
	if err != nil {
		return nil, err
	}
	page := RecommendationList{Site: in.Site, From: stamp(a.times.From, a.zone), To: stamp(a.times.To, a.zone)}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		next := nextRecommendations(in, a.times, &found[in.Limit-1])
		page.Next = &next
	}
	page.Items, err = recommendationViews(found, a.zone)
	return &RecommendationsOutput{page}, err
}

// nextRecommendations has the instants of the range, so that it stays the same
// from page to page.
func nextRecommendations(in *RecommendationsInput, times kpi.Range, last *store.Recommendation) string {
	query := url.Values{
		"site": {in.Site}, "from": {stamp(times.From, time.UTC)}, "to": {stamp(times.To, time.UTC)},
		"limit": {strconv.Itoa(in.Limit)}, "after": {fmt.Sprintf("%d-%d", last.Start.UnixMicro(), last.ID)},
	}
	for name, value := range map[string]string{"cluster": in.Cluster, "tz": in.Zone, "state": in.State, "category": in.Category} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return RecommendationsPath + "?" + query.Encode()
}

func recommendationViews(list []store.Recommendation, zone *time.Location) ([]Recommendation, error) {
	views := make([]Recommendation, len(list))
	for i := range list {
		var err error
		if views[i], err = recommendationView(&list[i], zone); err != nil {
			return nil, fmt.Errorf("read the stored answer %d of BioCore: %w", list[i].ID, err)
		}
	}
	return views, nil
}

func recommendationView(r *store.Recommendation, zone *time.Location) (Recommendation, error) {
	view := Recommendation{
		ID: r.ID, RequestID: r.RequestID, Attempt: r.Attempt, State: jobs.RecommendationState(r.State),
		Site: r.Site, Facility: r.Facility, Cluster: r.Cluster, Zone: r.Zone,
		Start: stamp(r.Start, zone), End: stamp(r.End, zone), FinishedAt: stamp(r.FinishedAt, time.UTC), Tries: r.Tries, LatencyMS: r.LatencyMS,
		Faults: []payload.Fault{}, Items: []Advice{}, Opinions: make([]Opinion, len(r.Opinions)),
	}
	if r.Reason.Valid {
		view.Reason = &r.Reason.String
	}
	if r.EndedAt != nil {
		ended := stamp(*r.EndedAt, time.UTC)
		view.EndedAt = &ended
	}
	if r.ModelName.Valid {
		view.Model = &RecommendationModel{Name: r.ModelName.String, Version: r.ModelVersion.String, PolicyID: r.PolicyID.String}
	}
	for i := range r.Opinions {
		view.Opinions[i] = OpinionView(&r.Opinions[i])
	}
	if r.Faults != nil {
		if err := json.Unmarshal(r.Faults, &view.Faults); err != nil {
			return view, err
		}
	}
	if r.Answer == nil {
		return view, nil
	}
	var answer struct {
		Response struct {
			Status struct {
				Warnings []string `json:"warnings"`
			} `json:"status"`
			Summary         RecommendationSummary `json:"summary"`
			Recommendations []Advice              `json:"recommendations"`
			Audit           AnswerService         `json:"audit"`
		} `json:"response"`
	}
	if err := json.Unmarshal(r.Answer, &answer); err != nil {
		return view, err
	}
	view.Summary = &answer.Response.Summary
	view.Summary.Warnings, view.Summary.Audit = answer.Response.Status.Warnings, answer.Response.Audit
	view.Items = answer.Response.Recommendations
	return view, nil
}

// OpinionView returns an opinion as clients see it.
func OpinionView(o *store.Opinion) Opinion {
	view := Opinion{ID: o.ID, Agrees: o.Agrees, Reason: o.Reason, Author: o.Actor, At: stamp(o.At, time.UTC)}
	if o.RecID != "" {
		view.RecID = &o.RecID
	}
	return view
}
