package signals

import (
	"testing"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

func BenchmarkAppendStruct(b *testing.B) {
	doc, faults := Decode(Example())
	if len(faults) > 0 {
		b.Fatal(faults)
	}
	derived, _ := Derive(doc)
	warning := Warning{Pointer: "/request/signals/energy/pue_current", Detail: "is 2.5, more than 2 % off facility_power_kw / it_load_kw (1.3)"}
	dst := make([]byte, 0, 8192)
	b.Run("Document", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst, _ = payload.AppendStruct(dst[:0], doc)
		}
	})
	b.Run("Derived", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst, _ = payload.AppendStruct(dst[:0], &derived)
		}
	})
	b.Run("Warning", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst, _ = payload.AppendStruct(dst[:0], &warning)
		}
	})
}
