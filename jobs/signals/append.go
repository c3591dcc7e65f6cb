package signals

import (
	"math"
	"reflect"
	"strconv"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// AppendJSON appends d as JSON, exactly as go-json-experiment/json writes it.
func (d *Document) AppendJSON(dst []byte) []byte {
	return appendObject(dst, documentShape(), reflect.ValueOf(d).Elem())
}

func appendObject(dst []byte, s *shape, v reflect.Value) []byte {
	dst = append(dst, '{')
	start := len(dst)
	for i := range s.fields {
		f, member := &s.fields[i], v.Field(i)
		if !f.required && isZero(f, member) {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(dst, f.key...)
		switch f.kind {
		case object:
			dst = appendObject(dst, f.object, member)
		case number, boolean:
			dst = appendLiteral(dst, member.String())
		default:
			dst = payload.AppendString(dst, member.String())
		}
	}
	return append(dst, '}')
}

func isZero(f *field, v reflect.Value) bool {
	if f.kind == object {
		return v.IsZero()
	}
	return v.Len() == 0
}

// AppendJSON appends d as JSON, exactly as go-json-experiment/json writes it.
func (d *Derived) AppendJSON(dst []byte) []byte {
	dst = appendFigure(dst, `{"pue":`, d.PUE)
	dst = appendFigure(dst, `,"dcie_pct":`, d.DCiEPct)
	dst = appendFigure(dst, `,"overhead_kw":`, d.OverheadKW)
	dst = appendFigure(dst, `,"cooling_kw":`, d.CoolingKW)
	dst = appendFigure(dst, `,"cooling_share_pct":`, d.CoolingSharePct)
	dst = appendFigure(dst, `,"delta_t_c":`, d.DeltaTC)
	dst = appendFigure(dst, `,"inlet_headroom_c":`, d.InletHeadroomC)
	dst = append(dst, `,"inlet_compliance":`...)
	if d.InletCompliance != nil {
		dst = payload.AppendString(dst, *d.InletCompliance)
	} else {
		dst = append(dst, "null"...)
	}
	dst = appendFigure(dst, `,"energy_kwh":`, d.EnergyKWh)
	dst = appendFigure(dst, `,"cost_usd":`, d.CostUSD)
	dst = appendFigure(dst, `,"co2e_kg":`, d.CO2eKg)
	dst = appendFigure(dst, `,"cue_kg_per_kwh":`, d.CUEKgPerKWh)
	return append(dst, '}')
}

// appendFigure appends key and the figure, in the format of ECMAScript as RFC 8785, section 3.2.2.3, asks for; null when
// there is none.
func appendFigure(dst []byte, key string, figure *float64) []byte {
	dst = append(dst, key...)
	if figure == nil {
		return append(dst, "null"...)
	}
	if abs := math.Abs(*figure); abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, *figure, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, *figure, 'e', -1, 64)
	if n := len(dst); dst[n-3] == '-' && dst[n-2] == '0' { // 1e-09 is 1e-9
		dst = append(dst[:n-2], dst[n-1])
	}
	return dst
}

// AppendJSON appends w as JSON, exactly as go-json-experiment/json writes it.
func (w *Warning) AppendJSON(dst []byte) []byte {
	dst = payload.AppendString(append(dst, `{"pointer":`...), w.Pointer)
	dst = payload.AppendString(append(dst, `,"detail":`...), w.Detail)
	return append(dst, '}')
}
