package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// TypeRecommend is the Asynq type of the tasks that carry one try to get a
// recommendation each.
const TypeRecommend = "recommend"

// RecommendQueue is the Asynq queue of recommendations. It has its own Asynq
// server, so a slow BioCore delays other recommendations but no requests.
const RecommendQueue = "recommendations"

// RecommendationState is the state of a Recommendation.
type RecommendationState string

// The states of a recommendation. All but RecommendationPending are final.
const (
	RecommendationPending     RecommendationState = "pending"     // BioCore is to be asked
	RecommendationAvailable   RecommendationState = "available"   // the answer passed all checks
	RecommendationRefused     RecommendationState = "refused"     // the answer has faults, and is not shown
	RecommendationUnavailable RecommendationState = "unavailable" // BioCore did not answer
	RecommendationSkipped     RecommendationState = "skipped"     // BioCore was not asked, because a newer window of the asset is
)

// RecommendationStates lists every state of a recommendation.
func RecommendationStates() []RecommendationState {
	return []RecommendationState{
		RecommendationPending, RecommendationAvailable, RecommendationRefused, RecommendationUnavailable, RecommendationSkipped,
	}
}

// The actions of recommendations in the audit trail. They do not change the
// state of a request.
const (
	Recommend Action = "recommend" // BioCore's answer was stored or refused, or there is none
	Opine     Action = "opinion"   // a person agreed or disagreed with a recommendation
)

// RecommendationRef names one try to get a recommendation. Tries counts the
// tries that were started before it; once it is claimed, the count includes it.
type RecommendationRef struct {
	ID    int64     `db:"id"`
	Tries int       `db:"tries"`
	At    time.Time `db:"-"` // the try is not started before; zero: immediately
	Again int       `db:"-"` // counts further tasks for the same try, after one got stuck
}

// RecommendPayload is the payload of a TypeRecommend task, as JSON.
type RecommendPayload struct {
	Recommendation int64 `json:"recommendation"`
	Tries          int   `json:"tries"`
}

// ParseRecommendPayload decodes the payload of a TypeRecommend task.
func ParseRecommendPayload(raw []byte) (RecommendationRef, error) {
	var p RecommendPayload
	if err := json.Unmarshal(raw, &p); err != nil {
		return RecommendationRef{}, fmt.Errorf("decode the payload of a recommendation's task: %w", err)
	}
	if p.Recommendation <= 0 || p.Tries < 0 {
		return RecommendationRef{}, errors.New("decode the payload of a recommendation's task: it names no recommendation")
	}
	return RecommendationRef{ID: p.Recommendation, Tries: p.Tries}, nil
}

// TaskID returns the Asynq task id. Each try has its own, so that a retained
// task of an earlier try does not block the next one.
func (r RecommendationRef) TaskID() string {
	id := "recommend_" + strconv.FormatInt(r.ID, 10) + "_" + strconv.Itoa(r.Tries)
	if r.Again > 0 {
		id += "_" + strconv.Itoa(r.Again)
	}
	return id
}

// RecommendationTask is a try that has begun, with what BioCore is asked about.
type RecommendationTask struct {
	RecommendationRef // as claimed
	RequestID         int64
	Attempt           int    // of the request
	Key               string // the same for every try
	Failures          int    // tries that called BioCore in vain
	Payload           []byte // of the request
}

// RecommendationOutcome is the end of one try.
type RecommendationOutcome struct {
	RecommendationRef // as claimed
	State             RecommendationState
	Delay             time.Duration // until the next try, while pending
	Failed            bool          // BioCore was called in vain
	Reason            string        // one line for people; "" for an available answer
	ModelName         string        // of the answer, also of a refused one as far as it could be read
	ModelVersion      string
	PolicyID          string
	Latency           time.Duration // of the call that was answered
	Categories        []string
	Answer            []byte // of an available answer
	Faults            []byte // of a refused answer, as JSON
}

// Detail says in one line what became of the try, for the audit trail.
func (o *RecommendationOutcome) Detail() string {
	text := string(o.State)
	if o.ModelName != "" {
		text += "; model " + o.ModelName + " " + o.ModelVersion + ", policy " + o.PolicyID
	}
	if o.Reason != "" {
		text += ": " + o.Reason
	}
	return text
}
