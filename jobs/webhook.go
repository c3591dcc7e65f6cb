package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// TypeWebhook is the Asynq type of the tasks that carry one attempt to deliver
// a callback each.
const TypeWebhook = "webhook"

// WebhookQueue is the Asynq queue of callbacks. It has its own Asynq server, so
// slow receivers delay other callbacks but no requests.
const WebhookQueue = "webhooks"

// DeliveryStatus is the state of a Delivery.
type DeliveryStatus string

// The states of a delivery. DeliveryDead is the dead letter: the delivery stays
// as it is until a person replays it.
const (
	DeliveryPending   DeliveryStatus = "pending"
	DeliveryDelivered DeliveryStatus = "delivered"
	DeliveryDead      DeliveryStatus = "dead"
)

// DeliveryStatuses lists every state of a delivery.
func DeliveryStatuses() []DeliveryStatus {
	return []DeliveryStatus{DeliveryPending, DeliveryDelivered, DeliveryDead}
}

// The actions of deliveries in the audit trail. They do not change the state of
// a request.
const (
	CallbackDelivered Action = "callback_delivered" // the receiver accepted it
	CallbackDead      Action = "callback_dead"      // the last attempt failed, or the receiver is gone
	CallbackReplay    Action = "callback_replay"    // a person asked for it to be sent again
)

// Delivery is the callback that reports one end of one request.
type Delivery struct {
	ID          int64
	MessageID   string // the same for every attempt
	RequestID   int64
	URL         string
	Event       string // such as mass_request.done
	Data        json.RawMessage
	Status      DeliveryStatus
	Attempts    int // attempts started so far; the fencing token of the current one
	Failures    int // attempts that failed since the last replay; the retry policy counts these
	LastStatus  int // HTTP status of the latest answer; 0 when there was none
	LastError   string
	CreatedAt   time.Time // when the request ended
	NextAt      time.Time // while pending: time of the next attempt
	DeliveredAt time.Time
}

// WebhookID returns the value of the header webhook-id.
func (d *Delivery) WebhookID() string { return "msg_" + d.MessageID }

// DeliveryOutcome is the end of one attempt of a delivery.
type DeliveryOutcome struct {
	DeliveryRef                // as claimed
	Status      DeliveryStatus // pending: another attempt follows
	Delay       time.Duration  // until the next attempt
	HTTPStatus  int
	Error       string
}

// DeliveryRef names one attempt of a delivery. Attempts counts the attempts
// that were started before it; once it is claimed, the count includes it.
type DeliveryRef struct {
	ID       int64
	Attempts int
	At       time.Time // the attempt is not started before; zero: immediately
	Again    int       // counts further tasks for the same attempt, after one got stuck
}

// WebhookPayload is the payload of a TypeWebhook task, as JSON.
type WebhookPayload struct {
	Delivery int64 `json:"delivery"`
	Attempts int   `json:"attempts"`
}

// ParseWebhookPayload decodes the payload of a TypeWebhook task.
func ParseWebhookPayload(raw []byte) (DeliveryRef, error) {
	var p WebhookPayload
	if err := json.Unmarshal(raw, &p); err != nil {
		return DeliveryRef{}, fmt.Errorf("decode a webhook payload: %w", err)
	}
	if p.Delivery <= 0 || p.Attempts < 0 {
		return DeliveryRef{}, errors.New("decode a webhook payload: no delivery id")
	}
	return DeliveryRef{ID: p.Delivery, Attempts: p.Attempts}, nil
}

// TaskID returns the Asynq task id. Each attempt has its own, so that a
// retained task of an earlier attempt does not block the next one.
func (r DeliveryRef) TaskID() string {
	id := "webhook_" + strconv.FormatInt(r.ID, 10) + "_" + strconv.Itoa(r.Attempts)
	if r.Again > 0 {
		id += "_" + strconv.Itoa(r.Again)
	}
	return id
}
