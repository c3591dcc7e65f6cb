package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/internal/kpi"
	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	rebuildStep     = 500             // requests in one transaction of a rebuild
	rebuildProgress = 2 * time.Second // between two lines of progress
)

const readingsAbout = `Looks after the readings, which are made from the signals requests that ended done:

  status           say how far the readings follow the requests
  verify           compare all readings with the requests, what counts with a new decision, and the rollups with the readings
  rebuild          make the readings of all requests and all rollups again, or with --from and --to those of that time; readings of requests
                   that retention removed stay
  zone SITE ZONE   say in which IANA time zone a site is, such as Europe/Oslo

A worker keeps the readings up to date by itself. Without DATABASE_URL the database is that of a running mass dev.`

// runReadings looks after the readings.
func runReadings(ctx context.Context, in invocation) (err error) {
	words, flags := verb(in.args)
	var from, to string
	c, err := config.Load(config.Command{
		Name: "readings", Usage: "status|verify|rebuild|zone [SITE ZONE] [flags]", About: readingsAbout, Flags: func(fs *flag.FlagSet) {
			fs.StringVar(&from, "from", "", "rebuild only readings and rollups behind this time: a date or a local time of UTC, an RFC 3339 time, or such as now-7d")
			fs.StringVar(&to, "to", "", "rebuild only readings and rollups before this time; now by default when --from is given")
		},
	}, flags, in.getenv, in.stdout)
	if err != nil {
		return err
	}
	wanted := map[string]int{"status": 1, "verify": 1, "rebuild": 1, "zone": 3}
	if len(words) == 0 || wanted[words[0]] != len(words) {
		return errors.New("mass readings: want status, verify, rebuild, or zone SITE ZONE; see mass readings --help")
	}
	within, err := rebuildRange(words[0], from, to)
	if err != nil {
		return err
	}
	m, err := openManage(c, in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.store.Close()) }()
	switch words[0] {
	case "status":
		return m.readingsStatus(ctx)
	case "verify":
		return m.verifyReadings(ctx)
	case "rebuild":
		return m.rebuildReadings(ctx, within)
	}
	return m.setSiteZone(ctx, words[1], words[2])
}

// rebuildRange reads --from and --to; without both, the range is empty.
func rebuildRange(verb, from, to string) (kpi.Range, error) {
	switch {
	case from == "" && to == "":
		return kpi.Range{}, nil
	case verb != "rebuild":
		return kpi.Range{}, fmt.Errorf("mass readings %s: --from and --to are for rebuild", verb)
	case from == "":
		return kpi.Range{}, errors.New("mass readings rebuild: --to needs --from")
	case to == "":
		to = "now"
	}
	r, err := kpi.ParseRange(from, to, time.Now(), time.UTC)
	if err != nil {
		return r, fmt.Errorf("mass readings rebuild: --%w", err)
	}
	return r, nil
}

func (m *manage) readingsStatus(ctx context.Context) error {
	s, err := m.store.ReadingsStatus(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(m.in.stdout, "%d readings of %d sites; they follow the trail up to event %d of %d, since %s\n",
		s.Readings, s.Sites, s.Position, s.Newest, s.MovedAt.UTC().Format(time.RFC3339))
	if s.KeptFrom != nil {
		fmt.Fprintf(m.in.stdout, "retention removed the readings that begin before %s\n", s.KeptFrom.UTC().Format(time.RFC3339))
	}
	if s.DirtySince == nil {
		_, err = fmt.Fprintln(m.in.stdout, "all rollups are up to date")
		return err
	}
	_, err = fmt.Fprintf(m.in.stdout, "the rollups of %d times must be computed again, the oldest since %s; until then the readings answer for them\n",
		s.Dirty, s.DirtySince.UTC().Format(time.RFC3339))
	return err
}

// verifyReadings prints what it finds. It returns an error if something is wrong.
func (m *manage) verifyReadings(ctx context.Context) error {
	r, err := m.store.VerifyReadings(ctx)
	if err != nil {
		return err
	}
	for _, list := range []struct {
		what string
		ids  []int64
	}{
		{"requests that ended done and have no reading", r.Missing},
		{"readings of requests that are not done", r.Unfounded},
		{"readings that count otherwise than a new decision says", r.Miscounted},
	} {
		if len(list.ids) > 0 {
			fmt.Fprintf(m.in.stdout, "%s, of which up to 100 are listed: %v\n", list.what, list.ids)
		}
	}
	if !r.OK() {
		return errors.New("mass readings verify: the readings differ from the requests; if no request ended in the last seconds, run mass readings rebuild")
	}
	fmt.Fprintf(m.in.stdout, "all %d readings are right\n", r.Readings)
	return m.verifyRollups(ctx)
}

// verifyRollups prints what it finds. It returns an error if something is wrong.
// Rollups that are dirty are not wrong, because nothing is answered from them.
func (m *manage) verifyRollups(ctx context.Context) error {
	s, err := m.store.ReadingsStatus(ctx)
	if err != nil {
		return err
	}
	if s.Dirty > 0 {
		return fmt.Errorf("mass readings verify: the rollups of %d times wait for being computed again, so they cannot be compared; a worker does that, then repeat", s.Dirty)
	}
	r, err := m.store.VerifyRollups(ctx)
	if err != nil {
		return err
	}
	for _, text := range r.Wrong {
		fmt.Fprintln(m.in.stdout, text)
	}
	if len(r.Wrong) > 0 {
		return errors.New("mass readings verify: rollups differ from the readings; run mass readings rebuild")
	}
	_, err = fmt.Fprintf(m.in.stdout, "all rollups, of %d hours and %d days, are right\n", r.Hours, r.Days)
	return err
}

// rebuildReadings proceeds in steps, between which the projection goes on.
func (m *manage) rebuildReadings(ctx context.Context, within kpi.Range) error {
	var stored, removed int
	begun, reported := time.Now(), time.Now()
	for behind := int64(0); ; {
		last, step, err := m.store.RebuildReadings(ctx, behind, rebuildStep, within)
		if err != nil {
			return err
		}
		stored, removed = stored+step.Stored, removed+step.Removed
		if len(step.Skipped) > 0 {
			fmt.Fprintf(m.in.stderr, "these requests have a payload that this version cannot read: %v\n", step.Skipped)
		}
		if last == 0 {
			break
		}
		behind = last
		if time.Since(reported) >= rebuildProgress {
			reported = time.Now()
			fmt.Fprintf(m.in.stderr, "up to request %d: %d readings removed, %d made\n", last, removed, stored)
		}
	}
	rebuild := m.store.RebuildRollups
	if !within.Empty() {
		rebuild = func(ctx context.Context) error { return m.store.RebuildRollupsWithin(ctx, within) }
	}
	if err := rebuild(ctx); err != nil {
		return err
	}
	for total := 0; ; {
		hours, err := m.store.RollUp(ctx)
		if err != nil {
			return err
		}
		if hours == 0 {
			break
		}
		total += hours
		if time.Since(reported) >= rebuildProgress {
			reported = time.Now()
			fmt.Fprintf(m.in.stderr, "rollups of %d hours computed\n", total)
		}
	}
	_, err := fmt.Fprintf(m.in.stdout, "%d readings removed, %d made, in %v\n", removed, stored, time.Since(begun).Round(time.Millisecond))
	return err
}

func (m *manage) setSiteZone(ctx context.Context, site, zone string) error {
	if _, err := time.LoadLocation(zone); err != nil || zone == "" || zone == "Local" {
		return fmt.Errorf("mass readings zone: %q is not an IANA time zone, such as Europe/Oslo or UTC", zone)
	}
	err := m.store.SetSiteZone(ctx, site, zone, m.origin)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("mass readings zone: there is no reading of a site %q", site)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(m.in.stdout, "the site %s is in %s\n", site, zone)
	return err
}
