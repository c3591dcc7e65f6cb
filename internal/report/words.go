package report

import (
	"embed"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/leomutto/pilot-in-a-box/internal/mv"
)

//go:embed words/*.json
var wordFiles embed.FS

// Languages are those that a report can be written in.
func Languages() []string { return []string{"en", "es"} }

// words are the texts of one language.
type words struct {
	language string
	texts    map[string]string
	codes    map[string]string // meaning of each code; empty where the Result's own words serve
	point    string            // decimal separator
	group    string            // separator of thousands
}

// loadWords reads the texts of a language.
func loadWords(language string) (*words, error) {
	w := &words{language: language, point: ".", group: ","}
	switch language {
	case "en":
	case "es":
		w.point, w.group = ",", "\u00a0"
	default:
		return nil, fmt.Errorf("there is no report in the language %q; use one of %s", language, strings.Join(Languages(), ", "))
	}
	if err := readWords(language, &w.texts); err != nil {
		return nil, err
	}
	if language == "en" {
		return w, nil
	}
	return w, readWords("codes_"+language, &w.codes)
}

func readWords(name string, into *map[string]string) error {
	b, err := wordFiles.ReadFile("words/" + name + ".json")
	if err != nil {
		return fmt.Errorf("read the words %s: %w", name, err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("read the words %s: %w", name, err)
	}
	return nil
}

// say is the text of a key with its values filled in. A key without a text is
// shown as it is; a test holds that there is none.
func (w *words) say(key string, values ...any) string {
	text, ok := w.texts[key]
	if !ok {
		return key
	}
	if len(values) == 0 {
		return text
	}
	return fmt.Sprintf(text, values...)
}

// either is the text of the first key where ok, else that of the second.
func (w *words) either(ok bool, yes, no string) string {
	if ok {
		return w.say(yes)
	}
	return w.say(no)
}

// known is the text of a key such as "verdict.fine", or the word itself where
// the language has none.
func (w *words) known(theme, word string) string {
	if text, ok := w.texts[theme+"."+word]; ok {
		return text
	}
	return word
}

// meaning is what a finding means, in the language of the report.
func (w *words) meaning(f mv.Finding) string {
	if text, ok := w.codes[f.Code]; ok {
		return text
	}
	return f.Meaning
}

// number writes v with the given number of significant digits; digits in front
// of the point are never rounded away.
func (w *words) number(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return w.say("not_defined")
	}
	behind := 0
	if v != 0 {
		behind = digits - 1 - int(math.Floor(math.Log10(math.Abs(v))))
	}
	if behind > 9 {
		return w.separated(strconv.FormatFloat(v, 'e', digits-1, 64))
	}
	return w.fixed(v, max(behind, 0))
}

// exact writes all digits of v.
func (w *words) exact(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return w.say("not_defined")
	}
	return w.separated(strconv.FormatFloat(v, 'f', -1, 64))
}

// column writes the numbers of a column with the same decimals: so many digits
// for the largest of them.
func (w *words) column(digits int, values []float64) []string {
	largest := 0.0
	for _, v := range values {
		largest = math.Max(largest, math.Abs(v))
	}
	behind := 0
	if largest > 0 && !math.IsInf(largest, 0) {
		behind = max(0, min(9, digits-1-int(math.Floor(math.Log10(largest)))))
	}
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = w.fixed(v, behind)
	}
	return out
}

// fixed writes v with so many digits behind the point.
func (w *words) fixed(v float64, behind int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return w.say("not_defined")
	}
	text := strconv.FormatFloat(v, 'f', behind, 64)
	if strings.Trim(text, "-0.") == "" {
		text = strings.TrimPrefix(text, "-")
	}
	return w.separated(text)
}

// separated puts the separators of the language into a number.
func (w *words) separated(text string) string {
	whole, rest, hasRest := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "\u2212", whole[1:]
	}
	for i := len(whole) - 3; i > 0 && !strings.Contains(whole, "e"); i -= 3 {
		whole = whole[:i] + w.group + whole[i:]
	}
	if hasRest {
		whole += w.point + rest
	}
	return sign + whole
}

// whole writes a count.
func (w *words) whole(n int) string { return w.fixed(float64(n), 0) }

// percent writes a share with its sign of percent.
func (w *words) percent(share float64, digits int) string {
	return w.number(100*share, digits) + "\u00a0%"
}

// maybe writes a figure that may not be defined.
func (w *words) maybe(v *float64, write func(float64) string) string {
	if v == nil {
		return w.say("not_defined")
	}
	return write(*v)
}
