package figures

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Note is one version of a note of a site.
type Note struct {
	ID        int64          `json:"id" doc:"Id of the note, the same for all its versions" example:"7"`
	Version   int            `json:"version" doc:"Version, from 1 on. A correction is a new version" example:"1"`
	Site      string         `json:"site_id" doc:"Site" example:"oslo-1"`
	Kind      store.NoteKind `json:"kind" enum:"measure,maintenance,non_routine_event,calibration,remark" doc:"What the note is about" example:"measure"`
	From      string         `json:"from" format:"date-time" doc:"Beginning of what the note is about, on the clock of the site" example:"2026-03-01T00:00:00+01:00"`
	To        *string        `json:"to" format:"date-time" doc:"Its end, which is not included; null: it lasts" example:"2026-03-08T00:00:00+01:00"`
	Text      string         `json:"text" doc:"The note" example:"Supply air raised from 22 to 24 °C in hall 3"`
	Withdrawn bool           `json:"withdrawn" doc:"true: the note was withdrawn by this version" example:"false"`
	Author    string         `json:"author" doc:"Who wrote the version" example:"user:12"`
	CreatedAt string         `json:"created_at" format:"date-time" doc:"When the version was written" example:"2026-03-01T11:00:00Z"`
}

// NoteView returns a note as clients see it, with times on the clock of a zone.
func NoteView(n *store.SiteNote, zone *time.Location) Note {
	view := Note{
		ID: n.ID, Version: n.Version, Site: n.Site, Kind: n.Kind, From: stamp(n.From, zone), Text: n.Text,
		Withdrawn: n.Withdrawn, Author: n.Author, CreatedAt: stamp(n.CreatedAt, time.UTC),
	}
	if n.To != nil {
		to := stamp(*n.To, zone)
		view.To = &to
	}
	return view
}

// NoteList is one page of notes.
type NoteList struct {
	Items []Note  `json:"items" nullable:"false" doc:"Notes in the order in which what they are about begins, each in its latest version, without those that were withdrawn"`
	Next  *string `json:"next" doc:"Path and query of the next page; null on the last one" example:"/sites/oslo-1/notes?after=1772359200000000-7&limit=50"`
}

type (
	// NotesInput is the query of Notes.
	NotesInput struct {
		Site  string `path:"site" minLength:"1" maxLength:"200" doc:"Site" example:"oslo-1"`
		Kind  string `query:"kind" enum:"measure,maintenance,non_routine_event,calibration,remark" doc:"Only notes of this kind" example:"measure"`
		From  string `query:"from" default:"now-4y" maxLength:"40" doc:"Only notes about a time that ends after this one; in the forms of /kpis" example:"2026-03-01"`
		To    string `query:"to" default:"now+1y" maxLength:"40" doc:"Only notes about a time that begins before this one" example:"2026-04-01"`
		Limit int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"Maximum number of notes on a page" example:"50"`
		After string `query:"after" maxLength:"60" doc:"Where the page before ended, from its next" example:"1772359200000000-7"`
	}
	// NotesOutput is the answer of Notes.
	NotesOutput struct{ Body NoteList }

	// NoteInput is the query of NoteVersions.
	NoteInput struct {
		Site string `path:"site" minLength:"1" maxLength:"200" doc:"Site" example:"oslo-1"`
		Note int64  `path:"note" minimum:"1" doc:"Id of the note" example:"7"`
	}
)

// Notes lists the notes of a site.
func (f *Figures) Notes(ctx context.Context, in *NotesInput) (*NotesOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	after, err := parseReadingKey(in.After)
	if err != nil {
		return nil, web.InvalidParameter("after", err.Error())
	}
	a, err := f.understand(ctx, &Question{Site: in.Site, From: in.From, To: in.To})
	if err != nil {
		return nil, err
	}
	found, err := f.store.SiteNotes(ctx, in.Site, store.NoteKind(in.Kind), a.times, store.NoteKey{From: after.Start, ID: after.Request}, in.Limit+1)
	if err != nil {
		return nil, err
	}
	page := NoteList{Items: make([]Note, 0, len(found))}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		next := nextNotes(in, a.times, &found[in.Limit-1])
		page.Next = &next
	}
	for i := range found {
		page.Items = append(page.Items, NoteView(&found[i], a.zone))
	}
	return &NotesOutput{page}, nil
}

// nextNotes has the instants of the range, so that it stays the same from page to
// page.
func nextNotes(in *NotesInput, times kpi.Range, last *store.SiteNote) string {
	query := url.Values{
		"from": {stamp(times.From, time.UTC)}, "to": {stamp(times.To, time.UTC)}, "limit": {strconv.Itoa(in.Limit)},
		"after": {fmt.Sprintf("%d-%d", last.From.UnixMicro(), last.ID)},
	}
	if in.Kind != "" {
		query.Set("kind", in.Kind)
	}
	return Path + "/" + url.PathEscape(in.Site) + "/notes?" + query.Encode()
}

// NoteVersions lists all versions of a note, the oldest first.
func (f *Figures) NoteVersions(ctx context.Context, in *NoteInput) (*NotesOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	zone, err := f.ZoneOf(ctx, in.Site)
	if err != nil {
		return nil, err
	}
	found, err := f.store.SiteNoteVersions(ctx, in.Site, in.Note)
	if err != nil {
		return nil, err
	}
	list := NoteList{Items: make([]Note, len(found))}
	for i := range found {
		list.Items[i] = NoteView(&found[i], zone)
	}
	return &NotesOutput{list}, nil
}

// ZoneOf returns the time zone of a site. Its error may be store.ErrNotFound.
func (f *Figures) ZoneOf(ctx context.Context, id string) (*time.Location, error) {
	site, err := f.store.Site(ctx, id)
	if err != nil {
		return nil, err
	}
	return LoadZone(site.Zone)
}
