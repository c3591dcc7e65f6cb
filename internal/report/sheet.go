package report

import (
	"strings"
	"unicode"

	"github.com/go-pdf/fpdf"

	"github.com/leomutto/pilot-in-a-box/internal/mv"
)

const (
	family   = "dejavu"
	margin   = 18.0 // millimeters
	footer   = 6.0
	bodySize = 9.0 // points
	lineStep = 4.4 // millimeters between lines of body text
)

// sheet is a document that is being written from top to bottom.
type sheet struct {
	*words
	f      *fpdf.Fpdf
	r      *mv.Result
	plots  *plots
	width  float64 // of the text, in millimeters
	bottom float64 // of the text
	height float64 // of the page

	pending []title // headings that wait for what follows them
}

// printable leaves out what the font cannot show, and turns white space into
// spaces. The library cannot measure runes beyond the basic plane.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\u00a0':
			return r
		case unicode.IsSpace(r):
			return ' '
		case r > 0xffff:
			return '\ufffd'
		case unicode.IsControl(r) || !unicode.IsPrint(r) && r != '\ufffd':
			return -1
		}
		return r
	}, text)
}

func (s *sheet) font(style string, size float64) {
	s.f.SetFont(family, style, size)
}

func (s *sheet) textColor(c color) { s.f.SetTextColor(c[0], c[1], c[2]) }
func (s *sheet) fillColor(c color) { s.f.SetFillColor(c[0], c[1], c[2]) }
func (s *sheet) lineColor(c color) { s.f.SetDrawColor(c[0], c[1], c[2]) }

// page starts a new page.
func (s *sheet) page() {
	s.f.AddPage()
	s.f.SetXY(margin, margin)
}

// title is a heading, or the text under it, that is drawn together with what
// follows it, so that none is left alone at the end of a page.
type title struct {
	text   string
	level  int     // 0 is a section, 1 a part of one, 2 text
	before float64 // space above, which the top of a page does without
	height float64
}

// need starts a new page unless so much height is left, together with the
// headings that wait, and draws these.
func (s *sheet) need(height float64) {
	for _, t := range s.pending {
		height += t.before + t.height
	}
	if s.f.GetY()+height > s.bottom {
		s.page()
	}
	waiting := s.pending
	s.pending = nil
	for _, t := range waiting {
		if s.f.GetY() > margin {
			s.space(t.before)
		}
		switch t.level {
		case 0:
			s.drawTitle(t, 13, blue, 1)
		case 1:
			s.drawTitle(t, 10, ink, 0.5)
		default:
			s.paragraph(t.text)
		}
	}
}

// drawTitle draws a heading and its bookmark.
func (s *sheet) drawTitle(t title, size float64, c color, after float64) {
	s.f.Bookmark(printable(t.text), t.level, s.f.GetY())
	s.font("B", size)
	s.textColor(c)
	s.f.SetX(margin)
	s.f.CellFormat(s.width, t.height-after, printable(t.text), "", 1, "L", false, 0, "")
	s.space(after)
}

func (s *sheet) space(height float64) { s.f.SetY(s.f.GetY() + height) }

// heading starts a section, which gets a bookmark.
func (s *sheet) heading(text string) {
	s.pending = append(s.pending, title{text, 0, 4, 8})
}

// subheading starts a part of a section.
func (s *sheet) subheading(text string) {
	s.pending = append(s.pending, title{text, 1, 2, 6})
}

// intro is a paragraph that stays on the page of the table after it.
func (s *sheet) intro(text string) {
	s.font("", bodySize)
	s.pending = append(s.pending, title{text, 2, 0, lineStep*float64(len(s.lines(text, s.width))) + 1.2})
}

// lines wraps a text in the current font.
func (s *sheet) lines(text string, width float64) []string {
	text = printable(text)
	if text == "" {
		return []string{""}
	}
	var out []string
	for _, part := range strings.Split(text, "\n") {
		out = append(out, s.f.SplitText(part, width)...)
	}
	return out
}

// paragraphIn sets lines at the current position, breaking pages between lines.
func (s *sheet) paragraphIn(style string, size, step float64, c color, text string) {
	s.font(style, size)
	lines := s.lines(text, s.width)
	s.need(step * float64(min(len(lines), 3)))
	s.font(style, size)
	s.textColor(c)
	for _, line := range lines {
		if s.f.GetY()+step > s.bottom {
			s.page()
			s.font(style, size)
			s.textColor(c)
		}
		s.f.SetX(margin)
		s.f.CellFormat(s.width, step, strings.TrimSpace(line), "", 1, "L", false, 0, "")
	}
	s.space(1.2)
}

func (s *sheet) paragraph(text string) { s.paragraphIn("", bodySize, lineStep, ink, text) }
func (s *sheet) strong(text string)    { s.paragraphIn("B", bodySize, lineStep, ink, text) }
func (s *sheet) small(text string)     { s.paragraphIn("", 7.5, 3.6, gray, text) }

// column is one column of a table.
type column struct {
	title string
	share float64 // of the width
	right bool    // aligned to the right, for numbers
}

const (
	cellSize    = 8.0
	cellStep    = 3.9
	cellPadding = 1.5
)

// table draws rows under a header. No row is cut. A table that fits on a page
// and is not tall starts on a page that holds all of it; a tall one repeats its
// header.
func (s *sheet) table(columns []column, rows [][]string) {
	widths := make([]float64, len(columns))
	total := 0.0
	for _, c := range columns {
		total += c.share
	}
	header := make([]string, len(columns))
	for i, c := range columns {
		widths[i], header[i] = c.share/total*s.width, c.title
	}
	height := s.rowHeight(header, widths, "B")
	tall := height
	for _, row := range rows {
		tall += s.rowHeight(row, widths, "")
	}
	if len(rows) == 0 || tall < 0.6*(s.bottom-margin) {
		s.need(tall)
	} else {
		s.need(height + s.rowHeight(rows[0], widths, ""))
	}
	s.row(columns, header, widths, true, false)
	for i, row := range rows {
		if s.f.GetY()+s.rowHeight(row, widths, "") > s.bottom {
			s.page()
			s.row(columns, header, widths, true, false)
		}
		s.row(columns, row, widths, false, i%2 == 1)
	}
	s.space(2)
}

func (s *sheet) rowHeight(cells []string, widths []float64, style string) float64 {
	s.font(style, cellSize)
	n := 1
	for i, c := range cells {
		n = max(n, len(s.lines(c, widths[i]-2*cellPadding)))
	}
	return float64(n)*cellStep + 2*0.6
}

// row draws one row of a table at the current position.
func (s *sheet) row(columns []column, cells []string, widths []float64, header, shaded bool) {
	style := ""
	if header {
		style = "B"
	}
	height := s.rowHeight(cells, widths, style)
	x, y := margin, s.f.GetY()
	if header || shaded {
		s.fillColor(paleSheet)
		s.f.Rect(x, y, s.width, height, "F")
	}
	s.textColor(ink)
	for i, c := range cells {
		align := "L"
		if columns[i].right {
			align = "R"
		}
		for k, line := range s.lines(c, widths[i]-2*cellPadding) {
			s.f.SetXY(x+cellPadding, y+0.6+float64(k)*cellStep)
			s.f.CellFormat(widths[i]-2*cellPadding, cellStep, strings.TrimSpace(line), "", 0, align, false, 0, "")
		}
		x += widths[i]
	}
	s.lineColor(pale)
	if header {
		s.lineColor(gray)
	}
	s.f.SetLineWidth(0.15)
	s.f.Line(margin, y+height, margin+s.width, y+height)
	s.f.SetXY(margin, y+height)
}

// facts is a table of two columns without a header.
func (s *sheet) facts(rows [][2]string) {
	widths := []float64{s.width * 0.3, s.width * 0.7}
	columns := []column{{}, {}}
	tall := 0.0
	for _, r := range rows {
		tall += s.rowHeight(r[:], widths, "")
	}
	if tall < 0.6*(s.bottom-margin) {
		s.need(tall)
	}
	for i, r := range rows {
		s.need(s.rowHeight(r[:], widths, ""))
		s.row(columns, r[:], widths, false, i%2 == 0)
	}
	s.space(2)
}

// picture draws a plot with its title and caption; they stay together.
func (s *sheet) picture(p *plot) {
	if p == nil {
		return
	}
	scale := s.width / p.w
	s.font("", 7.5)
	caption := s.lines(p.caption, s.width)
	s.need(6 + (p.h+4)*scale + float64(len(caption))*3.6 + 3)
	s.font("B", 9)
	s.textColor(ink)
	s.f.SetX(margin)
	s.f.CellFormat(s.width, 5, printable(p.title), "", 1, "L", false, 0, "")
	x, y := margin, s.f.GetY()+4*scale
	for i := range p.shapes {
		s.draw(&p.shapes[i], x, y, scale)
	}
	s.f.SetDashPattern(nil, 0)
	s.f.SetXY(margin, y+p.h*scale+1)
	s.small(p.caption)
	s.space(1)
}

// draw draws a shape of a plot whose corner lies at x and y.
func (s *sheet) draw(sh *shape, x, y, scale float64) {
	at := func(p point) (float64, float64) { return x + p[0]*scale, y + p[1]*scale }
	switch sh.kind {
	case lineShape, areaShape:
		for i, p := range sh.points {
			px, py := at(p)
			if i == 0 {
				s.f.MoveTo(px, py)
			} else {
				s.f.LineTo(px, py)
			}
		}
		if sh.kind == areaShape {
			s.fillColor(sh.color)
			s.f.DrawPath("f")
			return
		}
		s.lineColor(sh.color)
		s.f.SetLineWidth(sh.width * scale)
		if sh.dashed {
			s.f.SetDashPattern([]float64{1.2 * scale, 0.9 * scale}, 0)
		}
		s.f.DrawPath("D")
		if sh.dashed {
			s.f.SetDashPattern([]float64{}, 0)
		}
	case dotShape:
		s.fillColor(sh.color)
		for _, p := range sh.points {
			px, py := at(p)
			s.f.Rect(px-sh.size*scale/2, py-sh.size*scale/2, sh.size*scale, sh.size*scale, "F")
		}
	case textShape:
		s.font("", sh.size)
		s.textColor(sh.color)
		px, py := at(sh.points[0])
		text := printable(sh.text)
		switch width := s.f.GetStringWidth(text); sh.anchor {
		case "middle":
			px -= width / 2
		case "end":
			px -= width
		}
		s.f.Text(px, py, text)
	}
}

// footers writes the plan's hash and the page numbers, which are known only when
// the last page exists.
func (s *sheet) footers() {
	n := s.f.PageCount()
	left := s.say("footer", short(s.r.PlanSHA256), s.r.Software)
	for i := 1; i <= n; i++ {
		s.f.SetPage(i)
		// The library leaves out a font that it believes to be in use; each page
		// has its own state, so another size comes first.
		s.f.SetFont(family, "B", 8)
		s.f.SetFont(family, "", 7)
		s.textColor(gray)
		y := s.height - margin + 2
		s.f.SetXY(margin, y)
		s.f.CellFormat(s.width*0.8, 4, s.fit(printable(left), s.width*0.78), "", 0, "L", false, 0, "")
		s.f.SetXY(margin+s.width*0.8, y)
		s.f.CellFormat(s.width*0.2, 4, s.say("page", i, n), "", 0, "R", false, 0, "")
	}
}

// fit shortens a text to a width.
func (s *sheet) fit(text string, width float64) string {
	runes := []rune(text)
	for len(runes) > 0 && s.f.GetStringWidth(string(runes)) > width {
		runes = runes[:len(runes)-1]
	}
	if len(runes) < len([]rune(text)) && len(runes) > 0 {
		runes[len(runes)-1] = '…'
	}
	return string(runes)
}

// short is the beginning of a hash.
func short(hash string) string { return hash[:min(12, len(hash))] }
