package report

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/go-pdf/fpdf"

	"github.com/leomutto/pilot-in-a-box/internal/mv"
)

//go:embed fonts/*.ttf
var fontFiles embed.FS

// Options say how a report is written.
type Options struct {
	Language string // en or es; empty means en
	Paper    string // A4 or letter; empty means A4

	uncompressed bool // tests read the streams of the pages
}

// Papers are the sizes that a report can be printed on.
func Papers() []string { return []string{"A4", "letter"} }

// paperSizes maps each paper to the name that the library knows.
var paperSizes = map[string]string{"": "A4", "A4": "A4", "a4": "A4", "letter": "Letter", "Letter": "Letter"}

// PDF draws the report. The error says which option is not known, or that the
// result is not one of this version.
func PDF(r *mv.Result, o Options) ([]byte, error) {
	w, err := o.words(r)
	if err != nil {
		return nil, err
	}
	size, ok := paperSizes[o.Paper]
	if !ok {
		return nil, fmt.Errorf("there is no paper %q; use A4 or letter", o.Paper)
	}
	s, err := newSheet(w, r, size, !o.uncompressed)
	if err != nil {
		return nil, err
	}
	s.write()
	var out bytes.Buffer
	if err := s.f.Output(&out); err != nil {
		return nil, fmt.Errorf("draw the report: %w", err)
	}
	return out.Bytes(), nil
}

// Picture is one plot as a file.
type Picture struct {
	Name string // such as load.svg
	SVG  []byte
}

// Plots draws the plots of the report as SVG. It is empty for a result without
// a model.
func Plots(r *mv.Result, o Options) ([]Picture, error) {
	w, err := o.words(r)
	if err != nil {
		return nil, err
	}
	var out []Picture
	for _, p := range drawPlots(w, r).all() {
		out = append(out, Picture{p.name + ".svg", p.svg()})
	}
	return out, nil
}

func (o Options) words(r *mv.Result) (*words, error) {
	if r == nil || r.Schema != mv.ResultSchema {
		return nil, errors.New("the result is not of the schema " + mv.ResultSchema)
	}
	if o.Language == "" {
		o.Language = "en"
	}
	return loadWords(o.Language)
}

// newSheet opens an empty document with its fonts, dates and names.
func newSheet(w *words, r *mv.Result, size string, compress bool) (*sheet, error) {
	f := fpdf.New("P", "mm", size, "")
	f.SetCatalogSort(true) // else the order of fonts is that of a map
	f.SetCompression(compress)
	f.SetAutoPageBreak(false, 0)
	f.SetMargins(margin, margin, margin)
	f.SetCellMargin(0)
	for _, font := range []struct{ style, file string }{{"", "DejaVuSansCondensed.ttf"}, {"B", "DejaVuSansCondensed-Bold.ttf"}} {
		b, err := fontFiles.ReadFile("fonts/" + font.file)
		if err != nil {
			return nil, fmt.Errorf("read the font %s: %w", font.file, err)
		}
		f.AddUTF8FontFromBytes(family, font.style, b)
	}
	at := endOfData(r)
	f.SetCreationDate(at)
	f.SetModificationDate(at)
	f.SetTitle(printable(w.say("title")+titleOf(r)), true)
	f.SetAuthor("MASS", true)
	f.SetCreator(printable(r.Software), true)
	f.SetProducer("MASS", true)
	f.SetSubject(r.PlanSHA256, true)
	f.SetLang(w.language)
	width, height := f.GetPageSize()
	s := &sheet{f: f, words: w, r: r, width: width - 2*margin, bottom: height - margin - footer, height: height}
	s.plots = drawPlots(w, r)
	return s, f.Error()
}

func titleOf(r *mv.Result) string {
	if r.Plan.Title == "" {
		return ""
	}
	return ": " + r.Plan.Title
}

// endOfData is the date of the document: a clock would change its bytes.
func endOfData(r *mv.Result) time.Time {
	at := r.Plan.Reporting.To
	if at.IsZero() {
		at = r.Plan.Baseline.To
	}
	if at.IsZero() {
		at = time.Unix(0, 0)
	}
	return at.UTC()
}
