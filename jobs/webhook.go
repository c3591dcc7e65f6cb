package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// TypeWebhook is the kind of the task that carries one try to deliver a callback.
const TypeWebhook = "mass:webhook"

// WebhookQueue is the Asynq queue of callbacks. It has a server of its own, so
// that slow receivers hold up nothing but each other.
const WebhookQueue = "webhooks"

// DeliveryStatus is the state of a Delivery.
type DeliveryStatus string

// The states of a delivery. Dead is the dead letter: left alone until somebody
// replays it.
const (
	DeliveryPending   DeliveryStatus = "pending"
	DeliveryDelivered DeliveryStatus = "delivered"
	DeliveryDead      DeliveryStatus = "dead"
)

// DeliveryStatuses lists every state of a delivery.
func DeliveryStatuses() []DeliveryStatus {
	return []DeliveryStatus{DeliveryPending, DeliveryDelivered, DeliveryDead}
}

// The actions of deliveries in the trail. They change no state of a request.
const (
	CallbackDelivered Action = "callback_delivered" // the receiver took it
	CallbackDead      Action = "callback_dead"      // the last try failed, or the receiver is gone
	CallbackReplay    Action = "callback_replay"    // a person asked for it to be sent again
)

// Delivery is the callback for one end of one request.
type Delivery struct {
	ID          int64
	MessageID   string // the same for every try
	RequestID   int64
	URL         string
	Event       string // such as mass_request.done
	Data        json.RawMessage
	Status      DeliveryStatus
	Attempts    int // tries begun so far; the fencing token of the current one
	Failures    int // tries that failed since the last replay; the retry policy counts these
	LastStatus  int // of HTTP; 0 when there was no answer
	LastError   string
	CreatedAt   time.Time // when the request came to its end
	NextAt      time.Time // while pending: of the next try
	DeliveredAt time.Time
}

// WebhookID is the header webhook-id of the delivery's message.
func (d *Delivery) WebhookID() string { return "msg_" + d.MessageID }

// DeliveryOutcome is the end of one try of a delivery.
type DeliveryOutcome struct {
	DeliveryRef                // as claimed
	Status      DeliveryStatus // pending: another try follows
	Delay       time.Duration  // until then
	HTTPStatus  int
	Error       string
}

// DeliveryRef names one try of a delivery: the one that begins when so many were
// begun before, or, once claimed, the one under way.
type DeliveryRef struct {
	ID       int64
	Attempts int
	At       time.Time // not before; zero: at once
	Again    int       // counts the tasks for this same try: an earlier one got stuck
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

// TaskID is another for each try, so that a task that ended is never in the way
// of the next one.
func (r DeliveryRef) TaskID() string {
	id := "webhook_" + strconv.FormatInt(r.ID, 10) + "_" + strconv.Itoa(r.Attempts)
	if r.Again > 0 {
		id += "_" + strconv.Itoa(r.Again)
	}
	return id
}
