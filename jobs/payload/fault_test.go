package payload

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
)

func TestFaultsError(t *testing.T) {
	t.Parallel()
	require.NoError(t, Faults(nil).Err())
	require.NoError(t, Faults{}.Err())
	require.Equal(t, "no faults", Faults(nil).Error())
	require.EqualError(t, Faults{{"", "must be a JSON object"}}.Err(), "1 fault: payload: must be a JSON object")
	require.EqualError(t, Faults{{"/a", "must be ≥ 0"}, {"/b\nc", "is\todd"}}.Err(), "2 faults: /a: must be ≥ 0; /b\ufffdc: is\ufffdodd")

	var wrapped Faults
	require.True(t, errors.As(fmt.Errorf("run: %w", Faults{{"/a", "x"}}), &wrapped))
	require.Len(t, wrapped, 1)
}

func TestFaultsAreBounded(t *testing.T) {
	t.Parallel()
	hostile := jsontext.Pointer("").AppendToken(strings.Repeat("~/ä", 1<<18)).AppendToken("b")
	var faults Faults
	for range 500 {
		faults.Add(hostile, "is %s", strings.Repeat("x", 1<<16))
	}
	require.True(t, faults.Full())
	require.Len(t, faults, maxFaults)
	require.LessOrEqual(t, len(faults[0].Pointer), maxPointer+2*len("…"))
	require.LessOrEqual(t, len(faults[0].Detail), maxDetail+len("…"))
	require.True(t, jsontext.Pointer(faults[0].Pointer).IsValid(), "never cut inside an escape")
	require.Less(t, len(faults.Error()), 2*maxErrorText+100)
	require.Regexp(t, `^100 faults: .*; and \d+ more$`, faults.Error())

	encoded, err := json.Marshal(Faults{{"/a", "b"}})
	require.NoError(t, err)
	require.JSONEq(t, `[{"pointer":"/a","detail":"b"}]`, string(encoded))
}

func TestFaultsHoldNothingPostgresRefuses(t *testing.T) {
	t.Parallel()
	faults := Check([]byte(`{"a\u0000b": 1}`), Limits{})
	require.Equal(t, Faults{{"/a\ufffdb", "contains U+0000, which cannot be stored"}}, faults)
}
