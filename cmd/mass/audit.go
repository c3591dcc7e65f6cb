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
	auditProgress = 2 * time.Second // between two lines of progress
	auditStep     = 5000            // events of an export that are in memory at once
)

// auditFlags are those of mass audit.
type auditFlags struct {
	anchor string

	format   string
	filter   store.AuditFilter
	from, to string
}

// runAudit verifies the trail or takes it out.
func runAudit(ctx context.Context, in invocation) (err error) {
	words, flags := verb(in.args)
	var f auditFlags
	c, err := config.Load("audit", flags, in.getenv, in.stdout, func(fs *flag.FlagSet) {
		fs.StringVar(&f.anchor, "anchor", "", "verify: hash of a seal that was written down elsewhere, in hexadecimal; it must be in the chain")
		fs.StringVar(&f.format, "format", trail.NDJSON, "export: ndjson or csv")
		fs.StringVar(&f.from, "from", "", "verify: number of the first seal to look at, what is before it is trusted; export: only events at this time (RFC 3339) or later")
		fs.StringVar(&f.to, "to", "", "export: only events before this time (RFC 3339)")
		fs.Int64Var(&f.filter.RequestID, "request", 0, "export: only events of this MassRequest")
		fs.StringVar(&f.filter.Actor, "actor", "", "export: only what they did, such as user:12")
		fs.StringVar(&f.filter.Action, "action", "", "export: only events of this kind")
		fs.StringVar(&f.filter.HTTPRequestID, "http-request", "", "export: only what this HTTP request made happen")
	})
	if err != nil {
		return err
	}
	if len(words) != 1 || words[0] != "verify" && words[0] != "export" {
		return errors.New("mass audit: want verify or export")
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

// verifyAudit says what it found; its error is that the trail is broken.
func (m *manage) verifyAudit(ctx context.Context, f auditFlags) error {
	v := store.Verification{}
	if f.from != "" {
		var err error
		if v.From, err = strconv.ParseInt(f.from, 10, 64); err != nil || v.From < 1 {
			return fmt.Errorf("mass audit verify: --from: %q is not the number of a seal", f.from)
		}
	}
	if f.anchor != "" {
		var err error
		if v.Anchor, err = hex.DecodeString(f.anchor); err != nil || len(v.Anchor) != 32 {
			return errors.New("mass audit verify: --anchor is not the hash of a seal: want 64 hexadecimal digits")
		}
	}
	told := time.Now()
	v.Progress = func(s store.Seal, r store.Report) {
		if time.Since(told) >= auditProgress {
			told = time.Now()
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
		return errors.New("mass audit verify: the trail is not what was sealed")
	}
	if err != nil {
		return err
	}
	if v.Anchor != nil {
		fmt.Fprintln(m.in.stdout, "anchor     found in the chain")
	}
	if r.Unsealed > 0 {
		_, err = fmt.Fprintf(m.in.stdout, "not sealed up to %d events, the oldest of %s (%v ago): a change of these would not be noticed\n",
			r.Unsealed, r.Oldest.Format(time.RFC3339), time.Since(r.Oldest).Round(time.Second))
		return err
	}
	_, err = fmt.Fprintln(m.in.stdout, "not sealed nothing")
	return err
}

func (m *manage) exportAudit(ctx context.Context, f auditFlags) error {
	if f.format != trail.CSV && f.format != trail.NDJSON {
		return fmt.Errorf("mass audit export: --format: %q is neither csv nor ndjson", f.format)
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
			return fmt.Errorf("mass audit export: --%s: want RFC 3339 such as 2026-03-01T10:00:00Z, not %q", bound.name, bound.text)
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

// described is the export for the trail, as the API says it.
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
