package access

import (
	"context"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

// anonymous is the actor of requests that need no identity.
const anonymous = "anonymous"

// Origin returns who makes a request and by what HTTP request, as the audit
// trail stores it.
func Origin(ctx context.Context) store.Origin {
	x := web.ExchangeOf(ctx)
	o := store.Origin{Actor: anonymous, RequestID: x.ID, Client: x.Client, TraceID: x.TraceID, SpanID: x.SpanID}
	if caller, ok := auth.IdentityOf(ctx); ok {
		o.Actor = caller.Subject()
	}
	return o
}

// CreatedBy returns the identity that a submission belongs to; "" when the
// request needed none.
func CreatedBy(ctx context.Context) string {
	caller, ok := auth.IdentityOf(ctx)
	if !ok {
		return ""
	}
	return caller.Subject()
}
