package kpi

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestValuesAreListedInTheOrderOfTheirNames(t *testing.T) {
	t.Parallel()
	var v Values
	want := map[string]float64{}
	of := reflect.ValueOf(&v).Elem()
	for i := range of.NumField() {
		x := float64(i + 1)
		want[of.Type().Field(i).Tag.Get("db")] = x
		if of.Field(i).Kind() == reflect.Pointer {
			of.Field(i).Set(reflect.ValueOf(&x))
		} else {
			of.Field(i).SetFloat(x)
		}
	}
	for i, x := range v.List() {
		if assert.NotNil(t, x, ValueNames()[i]) {
			assert.Equal(t, float64(i+1), *x, "%s", ValueNames()[i])
		}
	}
	assert.Len(t, ValueNames(), of.NumField())
	assert.Equal(t, want, v.Named())
	assert.Len(t, (&Values{}).Named(), 2, "the two that every reading has")
}
