package mv

import (
	"slices"
	"strings"
)

// Severity says what a finding means for the claim.
type Severity string

const (
	// Note is information only.
	Note Severity = "note"
	// Warning leaves the figures standing, with a doubt that a reader must see.
	Warning Severity = "warning"
	// Refusal means that no figure may be claimed.
	Refusal Severity = "refusal"
)

// Code describes one kind of finding. Codes are stable: programs may switch on
// them, and a code is never given a second meaning.
type Code struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Meaning  string   `json:"meaning"`
}

// Finding is one code with the facts of the data at hand.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Meaning  string   `json:"meaning"`
	Detail   string   `json:"detail,omitempty"` // the facts: counts, stamps, names, figures with units
	Count    int      `json:"count,omitempty"`  // rows, days or months concerned
}

// codeTable lists every code. 1xx come from reading, 2xx from the data, 3xx
// from models and uncertainty.
var codeTable = []Code{
	{"MV101", Warning, "A row has no time stamp and was left out."},
	{"MV102", Warning, "A time stamp could not be read, and its row was left out."},
	{"MV103", Refusal, "The time stamps have no offset, and no time zone was declared."},
	{"MV104", Refusal, "It was not declared whether a stamp marks the start or the end of its interval."},
	{"MV105", Refusal, "A unit was not declared, or is not known."},
	{"MV106", Refusal, "A declared column is not in the file."},
	{"MV107", Warning, "A value is not a number and counts as missing."},
	{"MV108", Note, "A row occurs more than once with the same values; one copy was kept."},
	{"MV109", Warning, "A time stamp occurs more than once with different values; the conflicting values count as missing."},
	{"MV110", Note, "The rows were not in the order of time and were sorted."},
	{"MV111", Warning, "A local time does not exist in the declared zone, because the clock skipped it; its row was left out."},
	{"MV112", Warning, "A stamp does not lie on the grid of the interval, and its row was left out."},
	{"MV113", Refusal, "The interval of the rows could not be determined."},
	{"MV114", Refusal, "The file has no usable row."},
	{"MV115", Warning, "A row has the wrong number of fields and was left out."},
	{"MV116", Refusal, "The file is not valid CSV or is too large."},
	{"MV117", Note, "Local times that occur twice were told apart by their order."},
	{"MV201", Warning, "The baseline is shorter than one year, so it does not cover a full cycle."},
	{"MV202", Warning, "More than 10 % of a period is missing."},
	{"MV203", Warning, "Months have less than 90 % of their readings."},
	{"MV204", Note, "The longest gap in the readings is longer than one day."},
	{"MV205", Warning, "Days have less than half of their readings."},
	{"MV206", Refusal, "The reporting period overlaps the baseline."},
	{"MV207", Warning, "Readings are negative."},
	{"MV208", Warning, "Readings are more than three interquartile ranges above the median."},
	{"MV209", Note, "Zero readings count as missing, as CalTRACK 2.2.1 asks for electricity."},
	{"MV210", Warning, "A reading repeats unchanged for a long run; the meter may have been stuck."},
	{"MV211", Warning, "The level of a series changes by a factor near 1,000; a unit may have changed."},
	{"MV212", Refusal, "The load grows like a counter; it looks like a register reading and not like energy of an interval."},
	{"MV213", Warning, "The facility uses less than its IT (PUE below 1)."},
	{"MV214", Warning, "A series lacks exactly the hour of a clock change while another has it; check the clock of that series."},
	{"MV215", Warning, "A driver is missing, so the rows were masked."},
	{"MV216", Note, "Gaps of a temperature of at most 6 hours were interpolated."},
	{"MV217", Warning, "More than 10 % of the reporting rows lie outside the range of the baseline's drivers."},
	{"MV218", Warning, "A driver is constant and was left out."},
	{"MV219", Warning, "A temperature is implausible for its declared unit."},
	{"MV220", Note, "The reporting period is shorter than one year; the figures are interim."},
	{"MV221", Refusal, "There are too few rows for the parameters of any model."},
	{"MV222", Warning, "A driver is a linear combination of others and was left out."},
	{"MV223", Warning, "Reporting rows fall on an hour of the week that the baseline never saw, and were masked."},
	{"MV224", Note, "The model predicts negative loads; they are kept, since clipping would bias the saving."},
	{"MV225", Refusal, "A period has no usable row."},
	{"MV226", Note, "The load falls back sharply a few times, as a counter does when it wraps."},
	{"MV227", Warning, "The model has fewer than five degrees of freedom, so its interval rests on very few rows."},
	{"MV228", Refusal, "The name of a driver has a meaning in the names of models, so the column must be renamed."},
	{"MV301", Warning, "A model was refused, because a slope has the wrong sign."},
	{"MV302", Warning, "The effective number of observations does not exceed the number of parameters; the figures are not fit for a claim."},
	{"MV303", Warning, "Residuals differ by calendar month; the model misses something, and its interval is not to be trusted."},
	{"MV304", Warning, "Residuals differ along a driver; the model has the wrong shape, and its interval is not to be trusted."},
	{"MV305", Warning, "The placebo test failed: periods without any measure show savings too often."},
	{"MV306", Refusal, "A model without the IT load is refused, because an IT meter exists and the plan gives no reason."},
	{"MV307", Note, "Zero lies inside the interval: no saving has been shown."},
	{"MV308", Note, "The fractional savings uncertainty is not defined, because the saving is zero."},
	{"MV309", Note, "The residuals alternate, so the effective number of observations was limited to the actual one."},
	{"MV310", Warning, "The savings of the candidate models differ by more than the interval of the chosen one."},
	{"MV311", Warning, "The change of PUE does not measure the saving: the IT load alone moves PUE."},
	{"MV312", Warning, "A lasting change of the residuals was found; consider a non-routine adjustment."},
	{"MV313", Warning, "CV(RMSE) or NMBE exceeds the threshold of Guideline 14 for this interval."},
	{"MV314", Refusal, "No model fits the data and keeps its signs."},
	{"MV315", Warning, "The fractional savings uncertainty exceeds 50 % at 68 % confidence (Guideline 14)."},
	{"MV316", Warning, "The plan was frozen for other baseline data."},
}

// Codes lists every code that a Result may contain, in order.
func Codes() []Code { return slices.Clone(codeTable) }

// found makes a finding from its code; an unknown code is a mistake in this
// package, and every code in use is covered by a test.
func found(code string, count int, detail string) Finding {
	i := slices.IndexFunc(codeTable, func(c Code) bool { return c.Code == code })
	if i < 0 {
		panic("mv: unknown code " + code)
	}
	c := codeTable[i]
	return Finding{Code: c.Code, Severity: c.Severity, Meaning: c.Meaning, Detail: detail, Count: count}
}

// Refused is the error of an input that no figure can be derived from.
type Refused struct{ Findings []Finding }

func (r *Refused) Error() string {
	var text []string
	for _, f := range r.Findings {
		if f.Severity == Refusal {
			text = append(text, strings.TrimSpace(f.Code+" "+f.Meaning+" "+f.Detail))
		}
	}
	return strings.Join(text, "\n")
}

// refuse returns an error if one of the findings is a refusal, else nil.
func refuse(findings []Finding) error {
	if slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == Refusal }) {
		return &Refused{Findings: findings}
	}
	return nil
}
