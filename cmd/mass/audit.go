package main

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/internal/trail"
	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	auditProgress = 2 * time.Second // between two lines of progress of a verification
	auditStep     = 5000            // events of an export that are held in memory at once
)

// auditFlags are the flags of mass audit.
type auditFlags struct {
	anchor string

	format   string
	filter   store.AuditFilter
	from, to string
}

const auditAbout = `verify checks the hash chain of the audit trail: it fails if a sealed event was changed or removed.
export writes audit events to standard output, and records the export in the trail.
Without DATABASE_URL both use the database of a running mass dev.`

func (f *auditFlags) add(fs *flag.FlagSet) {
	fs.StringVar(&f.anchor, "anchor", "", "verify: hash of a seal, in hexadecimal, that was recorded elsewhere; the chain must contain it")
	fs.StringVar(&f.format, "format", trail.NDJSON, "export: ndjson or csv")
	fs.StringVar(&f.from, "from", "", "verify: number of the first seal to check; earlier seals are trusted. export: only events at or after this time (RFC 3339)")
	fs.StringVar(&f.to, "to", "", "export: only events before this time (RFC 3339)")
	fs.Int64Var(&f.filter.RequestID, "request", 0, "export: only events of the MassRequest with this id")
	fs.StringVar(&f.filter.Actor, "actor", "", "export: only events that this actor caused, such as user:12")
	fs.StringVar(&f.filter.Action, "action", "", "export: only events with this action, such as bulk")
	fs.StringVar(&f.filter.HTTPRequestID, "http-request", "", "export: only events that the HTTP request with this id caused")
}

// runAudit verifies or exports the audit trail.
func runAudit(ctx context.Context, in invocation) (err error) {
	words, flags := verb(in.args)
	var f auditFlags
	c, err := config.Load(config.Command{
		Name: "audit", Usage: "verify|export [flags]", About: auditAbout, Flags: f.add,
	}, flags, in.getenv, in.stdout)
	if err != nil {
		return err
	}
	if len(words) != 1 || words[0] != "verify" && words[0] != "export" {
		return errors.New("mass audit: want verify or export; see mass audit --help")
	}
	m, err := openManage(c, in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.store.Close()) }()
	if words[0] == "verify" {
		return m.verifyAudit(ctx, f)
	}
	return m.exportAudit(ctx, f)
}

// verifyAudit prints what it finds. It returns an error if the trail is broken.
func (m *manage) verifyAudit(ctx context.Context, f auditFlags) error {
	v := store.Verification{}
	if f.from != "" {
		var err error
		if v.From, err = strconv.ParseInt(f.from, 10, 64); err != nil || v.From < 1 {
			return fmt.Errorf("mass audit verify: --from must be the number of a seal, not %q", f.from)
		}
	}
	if f.anchor != "" {
		var err error
		if v.Anchor, err = hex.DecodeString(f.anchor); err != nil || len(v.Anchor) != 32 {
			return errors.New("mass audit verify: --anchor must be the hash of a seal, 64 hexadecimal digits")
		}
	}
	lastProgress := time.Now()
	v.Progress = func(s store.Seal, r store.Report) {
		if time.Since(lastProgress) >= auditProgress {
			lastProgress = time.Now()
			fmt.Fprintf(m.in.stderr, "%d seals, %d events verified, up to event %d of %s\n", r.Seals, r.Events, s.LastEvent, s.SealedAt.UTC().Format(time.RFC3339))
		}
	}
	r, err := m.store.VerifyTrail(ctx, v)
	if r.Seals > 0 {
		fmt.Fprintf(m.in.stdout, "verified   %d events in %d seals, up to %v\n", r.Events, r.Seals, &r.Last)
	}
	var broken *store.BrokenTrail
	if errors.As(err, &broken) {
		fmt.Fprintf(m.in.stdout, "BROKEN     %v\n", broken)
		return errors.New("mass audit verify: the audit trail was changed after it was sealed")
	}
	if err != nil {
		return err
	}
	if v.Anchor != nil {
		fmt.Fprintln(m.in.stdout, "anchor     found in the chain")
	}
	if r.Unsealed > 0 {
		_, err = fmt.Fprintf(m.in.stdout, "unsealed   up to %d events, the oldest from %s (%v ago); changes to these cannot be detected\n",
			r.Unsealed, r.Oldest.Format(time.RFC3339), time.Since(r.Oldest).Round(time.Second))
		return err
	}
	_, err = fmt.Fprintln(m.in.stdout, "unsealed   no events")
	return err
}

// exportAudit writes the events that the flags select, and records the export's
// start and end in the trail.
func (m *manage) exportAudit(ctx context.Context, f auditFlags) error {
	if f.format != trail.CSV && f.format != trail.NDJSON {
		return fmt.Errorf("mass audit export: --format must be csv or ndjson, not %q", f.format)
	}
	for _, bound := range []struct {
		name, text string
		into       *time.Time
	}{{"from", f.from, &f.filter.From}, {"to", f.to, &f.filter.Before}} {
		if bound.text == "" {
			continue
		}
		var err error
		if *bound.into, err = time.Parse(time.RFC3339Nano, bound.text); err != nil {
			return fmt.Errorf("mass audit export: --%s must be a time in RFC 3339 such as 2026-03-01T10:00:00Z, not %q", bound.name, bound.text)
		}
	}
	span, err := m.store.AuditSpan(ctx, f.filter)
	if err != nil {
		return err
	}
	what := f.described()
	if err := m.store.RecordExport(ctx, m.origin, "export", what); err != nil {
		return err
	}
	count, err := m.writeAudit(ctx, f, span, m.in.stdout)
	outcome := "complete"
	if err != nil {
		outcome = "cut off"
	}
	detail := fmt.Sprintf("%d events, %s: %s", count, outcome, what)
	err = errors.Join(err, m.store.RecordExport(context.WithoutCancel(ctx), m.origin, "export_end", detail))
	fmt.Fprintln(m.in.stderr, detail)
	return err
}

func (m *manage) writeAudit(ctx context.Context, f auditFlags, rest store.Span, out io.Writer) (count int, err error) {
	w := trail.NewWriter(out, f.format)
	for !rest.Empty() {
		var found []store.AuditEvent
		if found, rest, err = m.store.WalkAudit(ctx, f.filter, rest, false, auditStep); err != nil {
			return count, err
		}
		if err = w.Write(found); err != nil {
			return count, err
		}
		count += len(found)
	}
	return count, w.Flush()
}

// described names the export's format and filters, in the words of the API, for
// the event that records it.
func (f *auditFlags) described() string {
	text := f.format
	add := func(name, value string) {
		if value != "" {
			text += fmt.Sprintf(" %s=%q", name, value)
		}
	}
	if f.filter.RequestID != 0 {
		text += fmt.Sprintf(" mass_request_id=%d", f.filter.RequestID)
	}
	add("actor", f.filter.Actor)
	add("action", f.filter.Action)
	add("http_request_id", f.filter.HTTPRequestID)
	add("from", f.from)
	add("to", f.to)
	if text == f.format {
		text += " all"
	}
	return text
}
