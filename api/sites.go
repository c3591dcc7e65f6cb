package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/figures"
	"github.com/leomutto/pilot-in-a-box/internal/kpi"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/store"
)

// maxNote is the longest text of a note, in characters.
const maxNote = 4000

type (
	// SiteChange is the body that changes a site. An absent member leaves the
	// setting as it is, and null clears it.
	SiteChange struct {
		Zone               *string  `json:"zone,omitempty" doc:"IANA time zone. A new zone makes the rollups of the site out of date; they are computed again" example:"Europe/Oslo"`
		Country            *string  `json:"country,omitempty" doc:"Country, by its code of ISO 3166-1" example:"NO"`
		Currency           *string  `json:"currency,omitempty" doc:"Currency of prices, by its code of ISO 4217" example:"EUR"`
		PUECategory        *int     `json:"pue_category,omitempty" minimum:"1" maximum:"3" doc:"Category of ISO/IEC 30134-2" example:"2"`
		MaxPUE             *float64 `json:"max_pue,omitempty" minimum:"1" maximum:"100" doc:"Limit of PUE" example:"1.5"`
		MaxP95InletC       *float64 `json:"max_p95_rack_inlet_c,omitempty" minimum:"-50" maximum:"100" doc:"Limit of the 95th percentile of the rack inlet temperatures, in °C" example:"27"`
		MinCompletenessPct *float64 `json:"min_completeness_pct,omitempty" minimum:"0" maximum:"100" doc:"Share of the time that readings should cover at least, in %" example:"95"`
		StaleAfterSeconds  *int     `json:"stale_after_seconds,omitempty" minimum:"1" maximum:"31536000" doc:"Age of the newest reading from which on the site is stale, in seconds" example:"900"`
	}
	// NoteRequest is the body that adds a note.
	NoteRequest struct {
		Kind store.NoteKind `json:"kind" enum:"measure,maintenance,non_routine_event,calibration,remark" doc:"What the note is about" example:"measure"`
		From string         `json:"from" doc:"Beginning: a date or a local time on the clock of the site, or an RFC 3339 time" example:"2026-03-01"`
		To   *string        `json:"to,omitempty" doc:"End, which is not included; absent: it lasts" example:"2026-03-08"`
		Text string         `json:"text" minLength:"1" maxLength:"4000" doc:"The note" example:"Supply air raised from 22 to 24 °C in hall 3"`
	}
	// NoteChange is the body that corrects or withdraws a note.
	NoteChange struct {
		Version   int             `json:"version" minimum:"1" doc:"The latest version, which this one corrects" example:"1"`
		Kind      *store.NoteKind `json:"kind,omitempty" enum:"measure,maintenance,non_routine_event,calibration,remark" doc:"What the note is about" example:"measure"`
		From      *string         `json:"from,omitempty" doc:"Beginning" example:"2026-03-01"`
		To        *string         `json:"to,omitempty" doc:"End, which is not included; null: it lasts" example:"2026-03-09"`
		Text      *string         `json:"text,omitempty" minLength:"1" maxLength:"4000" doc:"The note" example:"Supply air raised from 22 to 24 °C in halls 3 and 4"`
		Withdrawn *bool           `json:"withdrawn,omitempty" doc:"true: withdraw the note" example:"false"`
	}

	// OpinionRequest is the body that adds an opinion.
	OpinionRequest struct {
		Opinion string  `json:"opinion" enum:"agree,disagree" doc:"Whether you agree" example:"disagree"`
		Reason  *string `json:"reason,omitempty" minLength:"1" maxLength:"2000" doc:"Why; required when you disagree" example:"Hall 3 is being rebuilt"`
		RecID   *string `json:"rec_id,omitempty" minLength:"1" maxLength:"200" doc:"The recommendation of the answer that it is about; absent: all of them" example:"rec-1"`
	}

	siteInput struct {
		Site string `path:"site" minLength:"1" maxLength:"200" doc:"Site" example:"oslo-1"`
	}
	siteBodyInput struct {
		JSONBody
		Site string `path:"site" minLength:"1" maxLength:"200" doc:"Site" example:"oslo-1"`
	}
	noteBodyInput struct {
		JSONBody
		Site string `path:"site" minLength:"1" maxLength:"200" doc:"Site" example:"oslo-1"`
		Note int64  `path:"note" minimum:"1" doc:"Id of the note" example:"7"`
	}
	opinionBodyInput struct {
		JSONBody
		ID int64 `path:"id" minimum:"1" doc:"Id of BioCore's answer" example:"7"`
	}
	opinionOutput struct{ Body figures.Opinion }

	siteOutput struct{ Body figures.Site }
	noteOutput struct{ Body figures.Note }
	addedNote  struct {
		Location string `header:"Location" doc:"Path of the note" example:"/sites/oslo-1/notes/7"`
		Body     figures.Note
	}
)

func (s *Server) getSite(ctx context.Context, in *siteInput) (*siteOutput, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	site, err := s.store.Site(within, in.Site)
	if err != nil {
		return nil, err
	}
	return &siteOutput{figures.SiteView(&site)}, nil
}

func (s *Server) changeSite(ctx context.Context, in *siteBodyInput) (*siteOutput, error) {
	body, err := in.read(s.cfg.MaxBody)
	if err != nil {
		return nil, err
	}
	var given SiteChange
	// Members that the body has are those that Set was called for: null is one of them.
	seen := map[string]bool{}
	err = web.DecodeBody(body, marked(seen,
		web.SettingMember("zone", &given.Zone, parseZone),
		web.SettingMember("country", &given.Country, web.CodeIn(2, "NO")),
		web.SettingMember("currency", &given.Currency, web.CodeIn(3, "EUR")),
		web.SettingMember("pue_category", &given.PUECategory, web.CountIn(1, 3)),
		web.SettingMember("max_pue", &given.MaxPUE, web.NumberIn(1, 100)),
		web.SettingMember("max_p95_rack_inlet_c", &given.MaxP95InletC, web.NumberIn(-50, 100)),
		web.SettingMember("min_completeness_pct", &given.MinCompletenessPct, web.NumberIn(0, 100)),
		web.SettingMember("stale_after_seconds", &given.StaleAfterSeconds, web.CountIn(1, 365*24*3600)),
	)...)
	if err != nil {
		return nil, err
	}
	if len(seen) == 0 {
		return nil, web.InvalidBody(payload.Faults{{Pointer: "", Detail: "must have at least one setting"}})
	}
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	site, err := s.store.ChangeSite(within, in.Site, access.Origin(within), func(site *store.Site) { given.applyTo(site, seen) })
	if err != nil {
		return nil, err
	}
	return &siteOutput{figures.SiteView(&site)}, nil
}

// applyTo changes the settings that the body has.
func (c *SiteChange) applyTo(site *store.Site, seen map[string]bool) {
	if seen["zone"] {
		site.Zone, site.ZoneAssumed = time.UTC.String(), true // until somebody says otherwise
		if c.Zone != nil {
			site.Zone, site.ZoneAssumed = *c.Zone, false
		}
	}
	for name, apply := range map[string]func(){
		"country":              func() { site.Country = c.Country },
		"currency":             func() { site.Currency = c.Currency },
		"pue_category":         func() { site.PUECategory = c.PUECategory },
		"max_pue":              func() { site.MaxPUE = c.MaxPUE },
		"max_p95_rack_inlet_c": func() { site.MaxP95InletC = c.MaxP95InletC },
		"min_completeness_pct": func() { site.MinCompletenessPct = c.MinCompletenessPct },
		"stale_after_seconds":  func() { site.StaleAfterSeconds = c.StaleAfterSeconds },
	} {
		if seen[name] {
			apply()
		}
	}
}

// marked notes the names of the members that a body has.
func marked(seen map[string]bool, members ...web.Member) []web.Member {
	for i := range members {
		name, set := members[i].Name, members[i].Set
		members[i].Set = func(value jsontext.Value, faults *payload.Faults) {
			seen[name] = true
			set(value, faults)
		}
	}
	return members
}

func parseZone(value jsontext.Value) (string, error) {
	var name string
	_ = json.Unmarshal(value, &name) // what is no string stays "", which is no zone
	zone, err := figures.LoadZone(name)
	if err != nil {
		return "", err
	}
	return zone.String(), nil
}

func (s *Server) addNote(ctx context.Context, in *siteBodyInput) (*addedNote, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	zone, err := s.figures.ZoneOf(within, in.Site)
	if err != nil {
		return nil, err
	}
	body, err := in.read(s.cfg.MaxBody)
	if err != nil {
		return nil, err
	}
	note := store.SiteNote{Site: in.Site}
	err = web.DecodeBody(body,
		web.ChoiceMember("kind", true, &note.Kind, store.NoteKinds()),
		web.CheckedMember("from", true, &note.From, noteTime(zone)),
		web.SettingMember("to", &note.To, settingOf(noteTime(zone))),
		web.CheckedMember("text", true, &note.Text, parseNoteText))
	if err == nil {
		err = checkNote(&note)
	}
	if err != nil {
		return nil, err
	}
	added, err := s.store.AddSiteNote(within, note, access.Origin(within))
	if err != nil {
		return nil, err
	}
	return &addedNote{
		Location: figures.Path + "/" + url.PathEscape(in.Site) + "/notes/" + strconv.FormatInt(added.ID, 10), Body: figures.NoteView(&added, zone),
	}, nil
}

func (s *Server) changeNote(ctx context.Context, in *noteBodyInput) (*noteOutput, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	zone, err := s.figures.ZoneOf(within, in.Site)
	if err != nil {
		return nil, err
	}
	body, err := in.read(s.cfg.MaxBody)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var version *int
	var given store.SiteNote
	err = web.DecodeBody(body, marked(seen,
		web.SettingMember("version", &version, web.CountIn(1, 1<<30)),
		web.ChoiceMember("kind", false, &given.Kind, store.NoteKinds()),
		web.CheckedMember("from", false, &given.From, noteTime(zone)),
		web.SettingMember("to", &given.To, settingOf(noteTime(zone))),
		web.CheckedMember("text", false, &given.Text, parseNoteText),
		web.FlagMember("withdrawn", &given.Withdrawn))...)
	switch {
	case err != nil:
		return nil, err
	case version == nil:
		return nil, web.InvalidBody(payload.Faults{{Pointer: "/version", Detail: "is required"}})
	case len(seen) == 1:
		return nil, web.InvalidBody(payload.Faults{{Pointer: "", Detail: "must change something"}})
	}
	note, err := s.store.ChangeSiteNote(within, in.Site, in.Note, *version, access.Origin(within), func(note *store.SiteNote) error {
		applyNote(note, &given, seen)
		return checkNote(note)
	})
	if err != nil {
		return nil, err
	}
	return &noteOutput{figures.NoteView(&note, zone)}, nil
}

// applyNote changes what the body has.
func applyNote(note, given *store.SiteNote, seen map[string]bool) {
	if seen["kind"] {
		note.Kind = given.Kind
	}
	if seen["from"] {
		note.From = given.From
	}
	if seen["to"] {
		note.To = given.To
	}
	if seen["text"] {
		note.Text = given.Text
	}
	note.Withdrawn = given.Withdrawn
}

// checkNote returns a problem for a note that ends before it begins.
func checkNote(note *store.SiteNote) error {
	if note.To != nil && !note.From.Before(*note.To) {
		return web.InvalidBody(payload.Faults{{Pointer: "/to", Detail: "must be after from"}})
	}
	return nil
}

// noteTime parses a time of a note. A relative time would mean something else
// each day, and is refused.
func noteTime(zone *time.Location) func(string) (time.Time, error) {
	return func(text string) (time.Time, error) {
		at, err := kpi.ParseTime(text, time.Time{}, zone)
		if err != nil || strings.HasPrefix(text, "now") {
			return at, errors.New("must be a date such as 2026-03-01, a local time such as 2026-03-01T14:00, or an RFC 3339 time such as 2026-03-01T14:00:00Z")
		}
		return at, nil
	}
}

func parseNoteText(text string) (string, error) { return textUpTo(maxNote)(text) }

// textUpTo parses a text of at most a number of characters.
func textUpTo(most int) func(string) (string, error) {
	return func(text string) (string, error) {
		text = payload.CleanText(text)
		if n := utf8.RuneCountInString(text); n == 0 || n > most || strings.ContainsRune(text, 0) {
			return "", fmt.Errorf("must be a text of 1 to %d characters", most)
		}
		return text, nil
	}
}

// opinionChoice is what a body may say.
type opinionChoice string

const (
	agree    opinionChoice = "agree"
	disagree opinionChoice = "disagree"

	maxOpinionReason = 2000 // characters
	maxRecID         = 200  // characters, as in BioCore's answer
)

// addOpinion stores what an operator thinks of a recommendation. Nothing follows
// from it.
func (s *Server) addOpinion(ctx context.Context, in *opinionBodyInput) (*opinionOutput, error) {
	body, err := in.read(s.cfg.MaxBody)
	if err != nil {
		return nil, err
	}
	opinion := store.Opinion{Recommendation: in.ID}
	var choice opinionChoice
	err = web.DecodeBody(body,
		web.ChoiceMember("opinion", true, &choice, []opinionChoice{agree, disagree}),
		web.CheckedMember("reason", false, &opinion.Reason, textUpTo(maxOpinionReason)),
		web.CheckedMember("rec_id", false, &opinion.RecID, textUpTo(maxRecID)))
	if err != nil {
		return nil, err
	}
	if opinion.Agrees = choice == agree; !opinion.Agrees && opinion.Reason == "" {
		return nil, web.InvalidBody(payload.Faults{{Pointer: "/reason", Detail: "is required when you disagree"}})
	}
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	added, err := s.store.AddOpinion(within, opinion, access.Origin(within))
	if err != nil {
		return nil, err
	}
	return &opinionOutput{figures.OpinionView(&added)}, nil
}

// settingOf makes a parser of strings a parser of JSON values.
func settingOf[T any](parse func(string) (T, error)) func(jsontext.Value) (T, error) {
	return func(value jsontext.Value) (T, error) {
		var text string
		_ = json.Unmarshal(value, &text) // what is no string stays "", which parse refuses
		return parse(text)
	}
}
