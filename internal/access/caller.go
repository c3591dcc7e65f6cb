package api

import (
	"context"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/store"
)

// anonymous is the actor of requests that nobody has to prove anything for.
const anonymous = "anonymous"

// origin says who makes the request, for what is stored of it.
func origin(ctx context.Context) store.Origin {
	x := exchangeOf(ctx)
	o := store.Origin{Actor: anonymous, RequestID: x.id, Client: x.client, TraceID: x.trace, SpanID: x.span}
	if who, ok := auth.IdentityOf(ctx); ok {
		o.Actor = who.Subject()
	}
	return o
}

// createdBy is the identity that a submission belongs to; "" when nobody has to
// prove who they are.
func createdBy(ctx context.Context) string {
	who, ok := auth.IdentityOf(ctx)
	if !ok {
		return ""
	}
	return who.Subject()
}
