package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/internal/webhook"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// maxDeliveries is how many deliveries of one request are shown. Each time that
// the request becomes final adds one, so only replays lead to more than one.
const maxDeliveries = 50

// Callback lists the deliveries to a request's callback_url.
type Callback struct {
	URL        string             `json:"url" doc:"The callback_url of the MassRequest" example:"https://example.com/hooks/mass"`
	Deliveries []CallbackDelivery `json:"deliveries" nullable:"false" doc:"The newest 50 deliveries, newest first: one for each time that the MassRequest became final; empty before the first time"`
}

// CallbackDelivery is one message to the callback_url.
type CallbackDelivery struct {
	ID          string              `json:"id" doc:"Value of the header webhook-id, the same for every attempt" example:"msg_6f1c9a54-5c0d-4c9e-a6a1-0d5b8a3a3f0e"`
	Event       string              `json:"event" doc:"Value of type in the message" example:"mass_request.done"`
	Status      jobs.DeliveryStatus `json:"status" enum:"pending,delivered,dead" doc:"A dead delivery is not attempted again until it is replayed" example:"delivered"`
	Attempts    int                 `json:"attempts" minimum:"0" doc:"How many attempts were started" example:"1"`
	Failures    int                 `json:"failures" minimum:"0" doc:"How many attempts failed since the last replay" example:"0"`
	LastStatus  *int                `json:"last_status" doc:"HTTP status of the latest response; null when there was none" example:"204"`
	LastError   *string             `json:"last_error" doc:"Why the latest attempt failed"`
	CreatedAt   string              `json:"created_at" format:"date-time" doc:"When the MassRequest became final" example:"2026-03-01T11:00:02.500000Z"`
	NextAt      *string             `json:"next_at" format:"date-time" doc:"While pending: when the next attempt is due, or when the running attempt counts as lost"`
	DeliveredAt *string             `json:"delivered_at" format:"date-time" doc:"When the receiver accepted the message" example:"2026-03-01T11:00:02.600000Z"`
}

type callbackOutput struct{ Body Callback }

// rules are the rules by which decodeSubmission checks a submission.
type rules struct {
	payload.Limits
	callbacks *webhook.Guard // nil: callbacks cannot be sent
}

func (c Config) rules() rules {
	return rules{Limits: payload.Limits{MaxDepth: c.MaxDepth}, callbacks: c.Callbacks}
}

// checkCallback returns an error for a URL to which callbacks must not be sent.
func (r rules) checkCallback(url string) (string, error) {
	if r.callbacks == nil {
		return "", errors.New("cannot be used: this server has no secret to sign with (MASS_WEBHOOK_SECRET)")
	}
	return url, r.callbacks.CheckURL(url)
}

func (s *Server) getCallback(ctx context.Context, in *requestInput) (*callbackOutput, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	return s.callbackOf(within, in.ID)
}

// replayCallback sends the latest message again, whether the message is dead or
// was delivered.
func (s *Server) replayCallback(ctx context.Context, in *requestInput) (*callbackOutput, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	ref, err := s.store.ReplayDelivery(within, in.ID, access.Origin(within))
	if err != nil {
		return nil, err
	}
	s.handoff.Callback(ref)
	return s.getCallback(ctx, in)
}

func (s *Server) callbackOf(ctx context.Context, id int64) (*callbackOutput, error) {
	r, err := s.store.Request(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.CallbackURL == "" {
		return nil, &web.Problem{Status: http.StatusNotFound, Code: web.CodeNotFound, Detail: "The MassRequest has no callback_url."}
	}
	list, err := s.store.Deliveries(ctx, id, maxDeliveries)
	if err != nil {
		return nil, err
	}
	c := Callback{URL: r.CallbackURL, Deliveries: make([]CallbackDelivery, len(list))}
	for i := range list {
		c.Deliveries[i] = deliveryOf(&list[i])
	}
	return &callbackOutput{c}, nil
}

func deliveryOf(d *jobs.Delivery) CallbackDelivery {
	v := CallbackDelivery{
		ID: d.WebhookID(), Event: d.Event, Status: d.Status, Attempts: d.Attempts, Failures: d.Failures,
		LastError: orNull(d.LastError), CreatedAt: formatTime(d.CreatedAt), DeliveredAt: formatTimeOrNull(d.DeliveredAt),
	}
	if d.LastStatus != 0 {
		v.LastStatus = &d.LastStatus
	}
	if d.Status == jobs.DeliveryPending {
		v.NextAt = formatTimeOrNull(d.NextAt)
	}
	return v
}
