package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
)

// Site is a site of which there are readings, with what people said about it. A
// nil setting was not set.
type Site struct {
	ID          string    `db:"site_id"`
	Zone        string    `db:"zone"` // IANA time zone
	ZoneAssumed bool      `db:"zone_assumed"`
	FirstSeenAt time.Time `db:"first_seen_at"`
	SiteSettings
}

// SiteSettings are the optional settings of a site.
type SiteSettings struct {
	Country            *string  `db:"country"`      // ISO 3166-1 alpha-2
	Currency           *string  `db:"currency"`     // ISO 4217
	PUECategory        *int     `db:"pue_category"` // 1, 2 or 3 of ISO/IEC 30134-2
	MaxPUE             *float64 `db:"max_pue"`
	MaxP95InletC       *float64 `db:"max_p95_inlet_c"`
	MinCompletenessPct *float64 `db:"min_completeness_pct"`
	StaleAfterSeconds  *int     `db:"stale_after_seconds"`
}

const siteColumns = `site_id, zone, zone_assumed, first_seen_at, country, currency, pue_category, max_pue, max_p95_inlet_c, min_completeness_pct, stale_after_seconds`

// Sites returns up to limit sites behind a site id, in the order of their ids.
func (s *Store) Sites(ctx context.Context, behind string, limit int) ([]Site, error) {
	var list []Site
	err := s.db.SelectContext(ctx, &list, `SELECT `+siteColumns+` FROM sites WHERE site_id > $1 ORDER BY site_id LIMIT $2`, behind, limit)
	return list, wrap("list sites", err)
}

// Site returns a site, or ErrNotFound.
func (s *Store) Site(ctx context.Context, id string) (Site, error) {
	var site Site
	err := s.db.GetContext(ctx, &site, `SELECT `+siteColumns+` FROM sites WHERE site_id = $1`, id)
	return site, wrap("look up a site", notFound(NounSite, err))
}

// ChangeSite changes a site as change does with the site as it is now, and
// returns the site after it, or ErrNotFound. The trail records what changed, if
// anything did. A site whose zone was changed gets its rollups anew.
func (s *Store) ChangeSite(ctx context.Context, id string, by Origin, change func(*Site)) (site Site, err error) {
	err = s.transact(ctx, "change a site", func(tx *sqlx.Tx) error {
		var before Site
		err := tx.GetContext(ctx, &before, `SELECT `+siteColumns+` FROM sites WHERE site_id = $1 FOR UPDATE`, id)
		if err != nil {
			return notFound(NounSite, err)
		}
		site = before
		change(&site)
		changes := site.changedFrom(&before)
		if len(changes) == 0 {
			return nil
		}
		_, err = tx.NamedExecContext(ctx, `
            UPDATE sites SET zone = :zone, zone_assumed = :zone_assumed, country = :country, currency = :currency, pue_category = :pue_category,
                max_pue = :max_pue, max_p95_inlet_c = :max_p95_inlet_c, min_completeness_pct = :min_completeness_pct, stale_after_seconds = :stale_after_seconds
            WHERE site_id = :site_id`, &site)
		if err != nil {
			return err
		}
		if site.Zone != before.Zone {
			if err := dropRollups(ctx, tx, id); err != nil {
				return err
			}
		}
		return appendEvent(ctx, tx, by, "site_change", id+": "+strings.Join(changes, ", "))
	})
	return site, err
}

// changedFrom lists the settings that differ, such as "zone from UTC to
// Europe/Oslo".
func (s *Site) changedFrom(before *Site) (list []string) {
	note := func(name string, from, to any) {
		if from != to {
			list = append(list, fmt.Sprintf("%s from %v to %v", name, from, to))
		}
	}
	note("zone", before.Zone, s.Zone)
	note("zone_assumed", before.ZoneAssumed, s.ZoneAssumed)
	note("country", settingText(before.Country), settingText(s.Country))
	note("currency", settingText(before.Currency), settingText(s.Currency))
	note("pue_category", settingText(before.PUECategory), settingText(s.PUECategory))
	note("max_pue", settingText(before.MaxPUE), settingText(s.MaxPUE))
	note("max_p95_inlet_c", settingText(before.MaxP95InletC), settingText(s.MaxP95InletC))
	note("min_completeness_pct", settingText(before.MinCompletenessPct), settingText(s.MinCompletenessPct))
	note("stale_after_seconds", settingText(before.StaleAfterSeconds), settingText(s.StaleAfterSeconds))
	return list
}

// settingText is a setting in the words of the trail.
func settingText[T any](value *T) string {
	if value == nil {
		return "not set"
	}
	return fmt.Sprint(*value)
}

// SetSiteZone says in which IANA time zone a site is, or returns ErrNotFound. It
// is recorded in the trail.
func (s *Store) SetSiteZone(ctx context.Context, id, zone string, by Origin) error {
	_, err := s.ChangeSite(ctx, id, by, func(site *Site) { site.Zone, site.ZoneAssumed = zone, false })
	return err
}

// NoteKind says what a note of a site is about.
type NoteKind string

// The kinds of notes.
const (
	NoteMeasure     NoteKind = "measure"           // something was done to save energy
	NoteMaintenance NoteKind = "maintenance"       // equipment was serviced
	NoteEvent       NoteKind = "non_routine_event" // a change that no driver explains, in the sense of the IPMVP
	NoteCalibration NoteKind = "calibration"       // a meter was calibrated or replaced
	NoteRemark      NoteKind = "remark"
)

// NoteKinds lists the kinds of notes.
func NoteKinds() []NoteKind {
	return []NoteKind{NoteMeasure, NoteMaintenance, NoteEvent, NoteCalibration, NoteRemark}
}

// SiteNote is one version of a note.
type SiteNote struct {
	ID        int64      `db:"note_id"`
	Version   int        `db:"version"` // from 1 on
	Site      string     `db:"site"`
	Kind      NoteKind   `db:"kind"`
	From      time.Time  `db:"from_at"`
	To        *time.Time `db:"to_at"` // nil: it lasts
	Text      string     `db:"text"`
	Withdrawn bool       `db:"withdrawn"`
	Author    string     `db:"author"`     // of the version
	CreatedAt time.Time  `db:"created_at"` // of the version
}

const noteColumns = `note_id, version, site, kind, from_at, to_at, text, withdrawn, author, created_at`

// AddSiteNote stores a new note, of which Site, Kind, From, To and Text matter,
// or returns ErrNotFound of the site. It is recorded in the trail.
func (s *Store) AddSiteNote(ctx context.Context, note SiteNote, by Origin) (added SiteNote, err error) {
	err = s.transact(ctx, "add a note of a site", func(tx *sqlx.Tx) error {
		var there bool
		if err := tx.GetContext(ctx, &there, `SELECT true FROM sites WHERE site_id = $1`, note.Site); err != nil {
			return notFound(NounSite, err)
		}
		if err := tx.GetContext(ctx, &note.ID, `SELECT nextval('site_notes_id')`); err != nil {
			return err
		}
		note.Version, note.Author = 1, by.Actor
		added, err = storeNote(ctx, tx, &note, by, "note_add")
		return err
	})
	return added, err
}

// ChangeSiteNote stores a new version of a note, made by change from the version
// that the caller has seen. It returns ErrNotFound, or ErrConflict when there is
// a later version or the note was withdrawn. An error of change stops it.
func (s *Store) ChangeSiteNote(ctx context.Context, site string, id int64, version int, by Origin, change func(*SiteNote) error) (changed SiteNote, err error) {
	err = s.transact(ctx, "change a note of a site", func(tx *sqlx.Tx) error {
		var note SiteNote
		// Two corrections of one version meet at its row, and the second one then finds the version of the first.
		err := tx.GetContext(ctx, &note, `SELECT `+noteColumns+` FROM site_notes WHERE note_id = $1 AND site = $2 AND version = 1 FOR UPDATE`, id, site)
		if err != nil {
			return notFound(NounNote, err)
		}
		err = tx.GetContext(ctx, &note, `SELECT `+noteColumns+` FROM site_notes WHERE note_id = $1 ORDER BY version DESC LIMIT 1`, id)
		if err != nil {
			return err
		}
		switch {
		case note.Version != version:
			return &ConflictError{Noun: NounNote, Reason: fmt.Sprintf("the note has version %d by now", note.Version)}
		case note.Withdrawn:
			return &ConflictError{Noun: NounNote, Reason: "the note was withdrawn"}
		}
		if err := change(&note); err != nil {
			return err
		}
		note.Version, note.Author = version+1, by.Actor
		changed, err = storeNote(ctx, tx, &note, by, "note_change")
		return err
	})
	return changed, err
}

func storeNote(ctx context.Context, tx *sqlx.Tx, note *SiteNote, by Origin, action string) (stored SiteNote, err error) {
	err = tx.GetContext(ctx, &stored, `
        INSERT INTO site_notes (note_id, version, site, kind, from_at, to_at, text, withdrawn, author) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        RETURNING `+noteColumns, note.ID, note.Version, note.Site, note.Kind, note.From, note.To, note.Text, note.Withdrawn, note.Author)
	if err != nil {
		return stored, err
	}
	what := fmt.Sprintf("note %d version %d of %s: %s from %s", note.ID, note.Version, note.Site, note.Kind, note.From.UTC().Format(time.RFC3339))
	if note.To != nil {
		what += " to " + note.To.UTC().Format(time.RFC3339)
	}
	if note.Withdrawn {
		what += ", withdrawn"
	}
	return stored, appendEvent(ctx, tx, by, action, what)
}

// NoteKey is where a page of notes ended.
type NoteKey struct {
	From time.Time
	ID   int64
}

// SiteNotes returns up to limit notes of a site behind a key that overlap a time,
// in the order in which they begin: each in its latest version, without those
// that were withdrawn. kind "" means all.
func (s *Store) SiteNotes(ctx context.Context, site string, kind NoteKind, r kpi.Range, after NoteKey, limit int) ([]SiteNote, error) {
	var list []SiteNote
	err := s.db.SelectContext(ctx, &list, `
        SELECT `+noteColumns+` FROM site_notes n
        WHERE site = $1 AND $2 IN ('', kind) AND from_at < $4 AND coalesce(to_at, 'infinity') > $3 AND (from_at, note_id) > ($5, $6) AND NOT withdrawn
          AND NOT EXISTS (SELECT FROM site_notes later WHERE later.note_id = n.note_id AND later.version > n.version)
        ORDER BY from_at, note_id LIMIT $7`, site, string(kind), r.From, r.To, after.From, after.ID, limit)
	return list, wrap("list notes of a site", err)
}

// SiteNoteVersions returns all versions of a note, the oldest first, or
// ErrNotFound.
func (s *Store) SiteNoteVersions(ctx context.Context, site string, id int64) ([]SiteNote, error) {
	var list []SiteNote
	err := s.db.SelectContext(ctx, &list, `SELECT `+noteColumns+` FROM site_notes WHERE note_id = $1 AND site = $2 ORDER BY version`, id, site)
	if err == nil && len(list) == 0 {
		err = &NotFoundError{Noun: NounNote}
	}
	return list, wrap("look up a note of a site", err)
}
