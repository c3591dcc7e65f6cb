package mv

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// PlanSchema and ResultSchema are the versions of the two JSON documents.
const (
	PlanSchema   = "mass.mv.plan/1"
	ResultSchema = "mass.mv.result/1"
)

// Auto is the name of the rule that chooses a model by cross-validation.
const Auto = "auto"

// Plan is what is decided before the reporting period: how the data is read,
// which periods count, which model or rule applies. IPMVP names the options A
// (key parameter), B (all parameters), C (whole facility) and D (simulation).
type Plan struct {
	Schema   string `json:"schema"`
	Title    string `json:"title,omitempty"`
	Measure  string `json:"measure,omitempty"`  // what is done to save energy
	Boundary string `json:"boundary,omitempty"` // of the measurement
	Option   string `json:"ipmvp_option,omitempty"`

	Layout    Layout `json:"layout"`
	Daily     bool   `json:"daily"` // shorter rows are summed into days
	Baseline  Period `json:"baseline"`
	Reporting Period `json:"reporting"`

	Target           Target   `json:"target"`
	Model            string   `json:"model"` // "auto", or the name of a model
	Confidence       float64  `json:"confidence"`
	Seed             uint64   `json:"seed"`
	WithoutITReason  string   `json:"without_it_reason,omitempty"`
	ExpectedFraction *float64 `json:"expected_fraction,omitempty"` // assumed saving, a share of the load

	BaselineSHA256 string `json:"baseline_sha256,omitempty"` // of the baseline rows when the plan was frozen
}

// Check completes the defaults, moves the periods to the zone of the table, and
// refuses a plan that contradicts itself.
func (p *Plan) Check(t *Table) error {
	if t.Len() == 0 {
		return fmt.Errorf("the table has no rows")
	}
	zone := t.Start[0].Location()
	for _, at := range []*time.Time{&p.Baseline.From, &p.Baseline.To, &p.Reporting.From, &p.Reporting.To} {
		if !at.IsZero() {
			*at = at.In(zone)
		}
	}
	if p.Schema == "" {
		p.Schema = PlanSchema
	}
	if p.Schema != PlanSchema {
		return fmt.Errorf("the plan has the schema %q; this program reads %q", p.Schema, PlanSchema)
	}
	if p.Model == "" {
		p.Model = Auto
	}
	if p.Confidence == 0 {
		p.Confidence = 0.90
	}
	if p.Seed == 0 {
		p.Seed = 1
	}
	if p.Target == "" {
		p.Target = Facility
		if t.driver("IT") != nil {
			p.Target = Overhead
		}
	}
	if p.Target != Facility && p.Target != Overhead {
		return fmt.Errorf("the target %q is neither facility nor overhead", p.Target)
	}
	known := false
	for _, c := range confidenceLevels {
		known = known || math.Abs(c-p.Confidence) < 1e-9
	}
	if !known {
		return fmt.Errorf("the confidence %v is not one of %v", p.Confidence, confidenceLevels)
	}
	if p.Model != Auto {
		if _, err := parseModel(p.Model); err != nil {
			return err
		}
	}
	if !p.Baseline.From.Before(p.Baseline.To) {
		return fmt.Errorf("the baseline must end after it starts")
	}
	if !p.Reporting.From.IsZero() && !p.Reporting.From.Before(p.Reporting.To) {
		return fmt.Errorf("the reporting period must end after it starts")
	}
	return nil
}

// Canonical is the JSON over which a plan is hashed: one line, members in the
// order of the type, and the periods with the offsets of their zone. Decoding it
// and encoding it again gives the same bytes. It is an error if a number of the
// plan is NaN or infinite.
func (p Plan) Canonical() ([]byte, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode the plan: %w", err)
	}
	return b, nil
}

// SHA256 is the hash of the canonical JSON of the plan, in hexadecimal. It is
// empty if the plan has no canonical JSON.
func (p Plan) SHA256() string {
	b, err := p.Canonical()
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// SHA256 is the hash of the rows of a period as they were read: stamps, hours
// and all values. Rows outside the period do not change it.
func (t *Table) SHA256(p Period) string {
	h := sha256.New()
	rows := t.within(p)
	var line []byte
	line = fmt.Appendf(line, "%s|%s %s", rows.Interval, rows.Load.Name, rows.Load.Unit)
	for _, d := range rows.Drivers {
		line = fmt.Appendf(line, "|%s %s %s", d.Name, d.Role, d.Unit)
	}
	for i, at := range rows.Start {
		line = strconv.AppendInt(append(line, '\n'), at.Unix(), 10)
		line = strconv.AppendFloat(append(line, '|'), rows.Hours[i], 'g', -1, 64)
		line = strconv.AppendFloat(append(line, '|'), rows.Load.Values[i], 'g', -1, 64)
		for _, d := range rows.Drivers {
			line = strconv.AppendFloat(append(line, '|'), d.Values[i], 'g', -1, 64)
		}
		h.Write(line)
		line = line[:0]
	}
	h.Write(line)
	return hex.EncodeToString(h.Sum(nil))
}
