package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	keyExpiresSoon  = 14 * 24 * time.Hour
	adviceSealsStop = "see \"When sealing stops\" in docs/audit.md; until this is repaired, new events can be changed without a trace"
)

// askRole compares the privileges of the role with those that
// deploy/sql/grants.sql gives.
func askRole(ctx context.Context, p *Patient) []Finding {
	missing, err := p.Store.MissingPrivileges(ctx)
	if err != nil {
		return trouble("role", "", err)
	}
	excess, err := p.Store.ExcessPrivileges(ctx)
	if err != nil {
		return trouble("role", "", err)
	}
	var list []Finding
	if len(missing) > 0 {
		list = append(list, Finding{
			Topic: "role", Level: Fail, Detail: "the role lacks " + strings.Join(missing, ", "),
			Advice: "run deploy/sql/grants.sql in this database as a superuser, and make the login a member of mass_app: GRANT mass_app TO its name",
		})
	}
	switch {
	case len(excess) > 0 && p.Development:
		list = append(list, Finding{
			Topic: "role", Level: OK,
			Detail: "the roles are not separated: the role of mass dev may change the audit trail (" + strings.Join(excess, ", ") + "), which is right for development only",
		})
	case len(excess) > 0:
		list = append(list, Finding{
			Topic: "role", Level: Fail, Detail: "the role may do more than it needs, and could change the audit trail: " + strings.Join(excess, ", "),
			Advice: "connect as a login that is a member of mass_app only, and for workers also of mass_sealer; deploy/sql/grants.sql makes these roles, and takes what they must not have",
		})
	}
	if len(list) == 0 {
		list = append(list, Finding{Topic: "role", Level: OK, Detail: "the role has the privileges that it needs, and none that could change the audit trail"})
	}
	return list
}

// askSeals looks whether the audit trail is being sealed. A system in which no
// worker runs has no leader that could, and other findings say so.
func askSeals(ctx context.Context, p *Patient) []Finding {
	status, err := p.Store.SealStatus(ctx)
	if err != nil {
		return trouble("seals", "", err)
	}
	if problem := status.Problem(); problem != "" {
		return []Finding{{Topic: "seals", Level: Fail, Detail: problem, Advice: adviceSealsStop}}
	}
	may, err := p.Store.MaySeal(ctx)
	if err != nil {
		return trouble("seals", "", err)
	}
	detail := "no event waits for a seal"
	if !status.Waiting.IsZero() {
		detail = "the first event without a seal is " + short(max(0, status.Now.Sub(status.Waiting))) + " old"
	}
	if !may {
		detail += "; this role cannot seal, which is right for an API: the role of the workers must be a member of mass_sealer"
	}
	return []Finding{{Topic: "seals", Level: OK, Detail: detail}}
}

// askKeys warns of API keys that end soon, because a machine stops with its key.
func askKeys(ctx context.Context, p *Patient) []Finding {
	keys, err := p.Store.ExpiringKeys(ctx, keyExpiresSoon, listed+1)
	switch {
	case errors.Is(err, store.ErrNotAllowed):
		return []Finding{{
			Topic: "keys", Level: Warn, Detail: "this role may not read the API keys, so their expiry was not checked",
			Advice: "run mass doctor with the DATABASE_URL of an API",
		}}
	case err != nil:
		return trouble("keys", "", err)
	case len(keys) == 0:
		return []Finding{{Topic: "keys", Level: OK, Detail: "no API key expires within 14 days"}}
	}
	texts := make([]string, len(keys))
	for i, k := range keys {
		texts[i] = fmt.Sprintf("%d (%s) at %s", k.ID, k.Name, k.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return []Finding{{
		Topic: "keys", Level: Warn, Detail: "API keys that expire within 14 days: " + some(texts),
		Advice: "create new keys, give them to the machines that use these, and let these expire",
	}}
}
