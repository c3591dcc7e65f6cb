package reference_test

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/internal/biocore/reference"
	"github.com/leomutto/pilot-in-a-box/internal/simulate"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// ask sends a body to the server and returns the answer.
func ask(t testing.TB, s *reference.Server, body []byte) (status int, answer []byte) {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/recommend", bytes.NewReader(body)))
	return w.Code, w.Body.Bytes()
}

// accepted asks for recommendations and requires that the answer passes every
// check.
func accepted(t testing.TB, s *reference.Server, document *signals.Document, body []byte) *biocore.Answer {
	t.Helper()
	status, raw := ask(t, s, body)
	require.Equal(t, http.StatusOK, status, "%s", raw)
	answer, faults := biocore.Decode(raw)
	require.Empty(t, faults, "%s", raw)
	require.Empty(t, biocore.Check(document, answer), "%s\n%s", body, raw)
	return answer
}

// simulated returns the valid signals requests of one simulated day.
func simulated(t testing.TB, seed uint64, day time.Time) []*signals.Document {
	t.Helper()
	var documents []*signals.Document
	for _, submission := range simulate.Day(seed, day) {
		var body struct {
			Payload json.RawMessage `json:"payload"`
		}
		require.NoError(t, json.Unmarshal(submission.Body, &body))
		document, faults := signals.Decode(body.Payload)
		if len(faults) > 0 || len(signals.Validate(document)) > 0 {
			continue // free-form, or wrong on purpose
		}
		document, _ = signals.Normalize(document)
		documents = append(documents, document)
	}
	require.Greater(t, len(documents), 100)
	return documents
}

// TestEveryAnswerPassesTheChecks asks about simulated days in all seasons, with
// limits and measurements changed or removed at random.
func TestEveryAnswerPassesTheChecks(t *testing.T) {
	t.Parallel()
	s := reference.New(reference.Options{})
	rng := rand.New(rand.NewPCG(1, 2))
	kinds := map[string]int{}
	for month := time.January; month <= time.December; month += 3 {
		for _, document := range simulated(t, uint64(month), time.Date(2026, month, 9, 0, 0, 0, 0, time.UTC)) {
			for range 3 {
				changed := *document
				vary(rng, &changed.Request)
				body := withWeather(t, rng, &changed)
				for _, r := range accepted(t, s, &changed, body).Response.Recommendations {
					kinds[r.Action.Type]++
				}
			}
		}
	}
	for _, kind := range []string{"setpoint_change", "fan_flow_change", "free_cooling", "batch_shift"} {
		require.Positive(t, kinds[kind], "%v: every rule was tried", kinds)
	}
}

// vary changes some limits and measurements of a request.
func vary(rng *rand.Rand, r *signals.Request) {
	number := func(low, high float64) signals.Number {
		return signals.Number(strconv.FormatFloat(low+rng.Float64()*(high-low), 'f', 2, 64))
	}
	for _, change := range []func(){
		func() { r.Constraints.Hard.MaxSetpointChangeC = number(0, 3) },
		func() { r.Constraints.Hard.MaxSetpointChangeC = "" },
		func() { r.Constraints.Hard.MaxRackInletP95C = number(20, 32) },
		func() { r.Constraints.Hard.MaxRackInletP95C = "" },
		func() { r.Constraints.Hard.MaxHotspotRackCount = number(0, 30) },
		func() { r.Constraints.Soft.MaxRiskScore = number(0, 1) },
		func() { r.Preferences.TopK = signals.Number(strconv.Itoa(1 + rng.IntN(5))) },
		func() { r.Preferences.TopK = "" },
		func() { r.Signals.Thermal.P95RackInletC = r.Constraints.Hard.MaxRackInletP95C },
		func() { r.Signals.Thermal.P95RackInletC = "" },
		func() { r.Signals.Thermal.ReturnTempC = "" },
		func() { r.Signals.Cooling = signals.Cooling{} },
		func() { r.Signals.Cooling.CoolingSetpointC = number(10, 30) },
		func() { r.Signals.Energy.CarbonIntensityGCO2PerKWh = number(0, 900) },
		func() { r.Signals.Energy.EnergyPriceUSDPerKWh = number(0, 1) },
	} {
		if rng.IntN(6) == 0 {
			change()
		}
	}
	if p95, avg := r.Signals.Thermal.P95RackInletC, r.Signals.Thermal.AvgRackInletC; p95.Given() && p95.Float() < avg.Float() {
		r.Signals.Thermal.AvgRackInletC = "" // keeps the request valid
	}
}

// withWeather encodes a document and usually adds the weather.
func withWeather(t testing.TB, rng *rand.Rand, document *signals.Document) []byte {
	t.Helper()
	body, err := json.Marshal(document)
	require.NoError(t, err)
	if rng.IntN(4) == 0 {
		return body
	}
	return weatherAdded(t, body, -10+35*rng.Float64())
}

// weatherAdded adds the wet-bulb temperature to the signals of a request.
func weatherAdded(t testing.TB, body []byte, wetBulbC float64) []byte {
	t.Helper()
	var root map[string]any
	require.NoError(t, json.Unmarshal(body, &root))
	root["request"].(map[string]any)["signals"].(map[string]any)["weather"] = map[string]any{"outdoor_wet_bulb_c": wetBulbC}
	body, err := json.Marshal(root)
	require.NoError(t, err)
	return body
}

// example returns the example request without weather, changed.
func example(t testing.TB, change func(*signals.Request)) (*signals.Document, []byte) {
	t.Helper()
	document, faults := signals.Decode(signals.Example())
	require.Empty(t, faults)
	document.Request.Signals.Weather = signals.Weather{}
	change(&document.Request)
	body, err := json.Marshal(document)
	require.NoError(t, err)
	return document, body
}

// adviceOn returns the action on a target, or nil.
func adviceOn(answer *biocore.Answer, target string) *biocore.Action {
	for i := range answer.Response.Recommendations {
		if a := &answer.Response.Recommendations[i].Action; a.Target == target {
			return a
		}
	}
	return nil
}

func TestSetpointRule(t *testing.T) {
	t.Parallel()
	s := reference.New(reference.Options{})
	for name, test := range map[string]struct {
		p95, limit, step, hotspots signals.Number
		want                       float64 // change in K; 0: no advice
	}{
		"headroom less margin":   {"26.1", "27", "1.5", "2", 0.4},
		"one kelvin at a time":   {"22", "27", "1.5", "2", 1},
		"the request's own step": {"22", "27", "0.3", "2", 0.3},
		"no step":                {"22", "27", "0", "2", 0},
		"no headroom":            {"26.6", "27", "1.5", "2", 0},
		"too hot":                {"27.8", "27", "1.5", "2", -0.8},
		"a little too hot":       {"27.1", "27", "1.5", "2", -0.5},
		"much too hot":           {"33", "27", "1.5", "2", -1},
		"hot spots":              {"24", "27", "1.5", "9", -0.5},
		"no limit":               {"24", "", "1.5", "2", 0},
	} {
		document, body := example(t, func(r *signals.Request) {
			r.Signals.Thermal.P95RackInletC, r.Signals.Thermal.HotspotRackCount, r.Signals.Thermal.AvgRackInletC = test.p95, test.hotspots, ""
			r.Constraints.Hard.MaxRackInletP95C, r.Constraints.Hard.MaxSetpointChangeC = test.limit, test.step
		})
		got := adviceOn(accepted(t, s, document, body), "cooling_setpoint_c")
		if test.want == 0 {
			require.Nil(t, got, name)
			continue
		}
		require.NotNil(t, got, name)
		require.InDelta(t, test.want, got.Delta, 1e-9, name)
		require.InDelta(t, 20+test.want, got.Suggested, 1e-9, name)
	}
}

func TestFanRuleFollowsTheCubeLaw(t *testing.T) {
	t.Parallel()
	s := reference.New(reference.Options{})
	for back, want := range map[signals.Number]float64{
		"32.0":  38.5 * 11.5 * 11.5 * 11.5 / 1728, // 11.5 K of 12 K
		"20.5":  38.5 * 0.9 * 0.9 * 0.9,           // at most a tenth of the flow at once
		"32.49": 0,                                // as designed
		"36":    0,                                // less air than by design
	} {
		document, body := example(t, func(r *signals.Request) { r.Signals.Thermal.ReturnTempC = back })
		got := adviceOn(accepted(t, s, document, body), "fan_power_kw")
		if want == 0 {
			require.Nil(t, got, back)
			continue
		}
		require.NotNil(t, got, back)
		require.InDelta(t, want, got.Suggested, 0.005, back)
	}
}

func TestFreeCoolingRule(t *testing.T) {
	t.Parallel()
	s := reference.New(reference.Options{})
	for wetBulbC, share := range map[float64]float64{-5: 0.8, 6: 0.8, 9.5: 0.4, 13: 0, 20: 0} {
		document, body := example(t, func(*signals.Request) {})
		got := adviceOn(accepted(t, s, document, weatherAdded(t, body, wetBulbC)), "chiller_kw")
		if share == 0 {
			require.Nil(t, got, wetBulbC)
			continue
		}
		require.NotNil(t, got, wetBulbC)
		require.InDelta(t, 142*(1-share), got.Suggested, 0.005, wetBulbC)
	}
}

func TestBatchRule(t *testing.T) {
	t.Parallel()
	s := reference.New(reference.Options{})
	for name, test := range map[string]struct {
		carbon, price signals.Number
		prefer        signals.Bool
		reason        string
	}{
		"clean and cheap":              {"100", "0.05", "true", ""},
		"dirty":                        {"400", "0.05", "false", "carbon_intensity"},
		"dear":                         {"100", "0.30", "true", "energy_price"},
		"both, lower carbon preferred": {"400", "0.30", "true", "carbon_intensity"},
		"both":                         {"400", "0.30", "", "energy_price"},
		"unknown":                      {"", "", "", ""},
	} {
		document, body := example(t, func(r *signals.Request) {
			r.Signals.Energy.CarbonIntensityGCO2PerKWh, r.Signals.Energy.EnergyPriceUSDPerKWh = test.carbon, test.price
			r.Constraints.Soft.PreferLowerCarbon = test.prefer
		})
		reason := ""
		for _, r := range accepted(t, s, document, body).Response.Recommendations {
			if r.Action.Target == "batch_pct" {
				reason = r.Explainability.ReasonCodes[0]
				require.InDelta(t, 48.8, r.Action.Suggested, 1e-9)
			}
		}
		require.Equal(t, test.reason, reason, name)
	}
}

func TestTheSameRequestGetsTheSameBytes(t *testing.T) {
	t.Parallel()
	_, body := example(t, func(*signals.Request) {})
	_, first := ask(t, reference.New(reference.Options{}), body)
	_, second := ask(t, reference.New(reference.Options{}), body)
	require.Equal(t, string(first), string(second))
}

func TestTheServerNamesItself(t *testing.T) {
	t.Parallel()
	s := reference.New(reference.Options{})
	for _, path := range []string{"/health", "/version"} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, http.StatusOK, w.Code, path)
		require.Contains(t, w.Body.String(), "reference model", path)
	}
	document, body := example(t, func(*signals.Request) {})
	answer := accepted(t, s, document, body)
	require.Equal(t, "reference model", answer.Response.Model.Name)
	for _, r := range answer.Response.Recommendations {
		require.Contains(t, r.Explainability.Narrative, "Reference model: ")
		require.Equal(t, []string{"reference model"}, r.Explainability.OrganismTags)
	}
}

func TestInvalidRequestsAreRefusedForGood(t *testing.T) {
	t.Parallel()
	s := reference.New(reference.Options{})
	changed := func(change func(*signals.Request)) string {
		_, body := example(t, change)
		return string(body)
	}
	for name, body := range map[string]string{
		"nothing":           "",
		"not JSON":          "{",
		"an array":          "[]",
		"no members":        "{}",
		"a text as number":  changed(func(r *signals.Request) { r.Signals.Energy.ITLoadKW = `"much"` }),
		"no IT load":        changed(func(r *signals.Request) { r.Signals.Energy.ITLoadKW = "" }),
		"control":           changed(func(r *signals.Request) { r.Constraints.Hard.NoControlActions = "false" }),
		"less than IT load": changed(func(r *signals.Request) { r.Signals.Energy.FacilityPowerKW = "1" }),
		"figures too large": changed(func(r *signals.Request) { r.Signals.Energy.EnergyPriceUSDPerKWh = "1e308" }),
	} {
		status, answer := ask(t, s, []byte(body))
		require.GreaterOrEqual(t, status, 400, name)
		require.Less(t, status, 500, name)
		var envelope biocore.ErrorAnswer
		require.NoError(t, json.Unmarshal(answer, &envelope), name)
		require.NotNil(t, envelope.Status.Retryable, name)
		require.False(t, *envelope.Status.Retryable, name)
		require.NotEmpty(t, envelope.Status.Code, name)
	}
	status, _ := ask(t, s, bytes.Repeat([]byte(" "), 2<<20))
	require.Equal(t, http.StatusRequestEntityTooLarge, status)
}

func TestTheTokenIsRequired(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(reference.New(reference.Options{Token: "hush"}))
	t.Cleanup(server.Close)
	for token, want := range map[string]int{"": 401, "Bearer other": 401, "Bearer hush": 200} {
		req, err := http.NewRequest(http.MethodGet, server.URL+"/health", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", token)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		require.Equal(t, want, res.StatusCode)
	}
}

func TestParseFailure(t *testing.T) {
	t.Parallel()
	for _, f := range reference.Failures() {
		parsed, err := reference.ParseFailure(string(f))
		require.NoError(t, err)
		require.Equal(t, f, parsed)
	}
	_, err := reference.ParseFailure("explode")
	require.ErrorContains(t, err, "none, hang, 429")
}
