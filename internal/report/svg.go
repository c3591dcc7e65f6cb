package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
)

// svg draws a plot as an SVG file, in millimeters.
func (p *plot) svg() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%gmm" height="%gmm" viewBox="0 -4 %g %g" role="img">`+"\n", p.w, p.h+4, p.w, p.h+4)
	fmt.Fprintf(&b, "<title>%s</title>\n<desc>%s</desc>\n", escaped(p.title), escaped(p.caption))
	fmt.Fprintf(&b, `<rect x="0" y="-4" width="%g" height="%g" fill="#ffffff"/>`+"\n", p.w, p.h+4)
	for _, s := range p.shapes {
		s.svg(&b)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (s *shape) svg(b *bytes.Buffer) {
	paint := fmt.Sprintf("#%02x%02x%02x", s.color[0], s.color[1], s.color[2])
	switch s.kind {
	case lineShape:
		dash := ""
		if s.dashed {
			dash = ` stroke-dasharray="1.2 0.9"`
		}
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="%g"%s/>`+"\n", svgPoints(s.points), paint, s.width, dash)
	case areaShape:
		fmt.Fprintf(b, `<polygon points="%s" fill="%s"/>`+"\n", svgPoints(s.points), paint)
	case dotShape:
		fmt.Fprintf(b, `<path fill="%s" d="`, paint)
		for _, p := range s.points {
			fmt.Fprintf(b, "M%.2f %.2fh%gv%gh-%gz", p[0]-s.size/2, p[1]-s.size/2, s.size, s.size, s.size)
		}
		b.WriteString("\"/>\n")
	case textShape:
		// A point is 0.3528 mm.
		fmt.Fprintf(b, `<text x="%.2f" y="%.2f" font-family="DejaVu Sans Condensed, sans-serif" font-size="%.2f" fill="%s" text-anchor="%s">%s</text>`+"\n",
			s.points[0][0], s.points[0][1], s.size*0.3528, paint, s.anchor, escaped(s.text))
	}
}

func svgPoints(points []point) string {
	var text strings.Builder
	for i, p := range points {
		if i > 0 {
			text.WriteByte(' ')
		}
		fmt.Fprintf(&text, "%.2f,%.2f", p[0], p[1])
	}
	return text.String()
}

func escaped(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a buffer takes everything
	return b.String()
}
