package web_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/fixture"
)

// failovers is a history of two bonds in turn, the newest has number n.
func failovers(n int) *state.Snapshot {
	s := fixture.Several()
	s.History = nil
	for i := range n {
		s.History = append(s.History, &state.Failover{Seq: uint64(n - i), Bond: []string{"bond0", "bond1"}[(n-i)%2]})
	}
	return s
}

func TestHistory(t *testing.T) {
	s := failovers(7)
	s.History[1].Bond = "bond9" // no longer configured
	_, server := start(t, s)
	for query, want := range map[string][]uint64{
		"":                    {7, 6, 5, 4, 3, 2, 1},
		"?limit=2":            {7, 6},
		"?limit=1000":         {7, 6, 5, 4, 3, 2, 1},
		"?bond=bond1":         {7, 5, 3, 1},
		"?bond=bond1&limit=3": {7, 5, 3},
		"?bond=bond2":         {}, // never switched
		"?bond=bond9":         {6},
	} {
		got := do(t, server, http.MethodGet, "/api/v1/history"+query)
		var history report.History
		if err := json.Unmarshal([]byte(got.body), &history); err != nil {
			t.Fatalf("%s: %v\n%s", query, err, got.body)
		}
		numbers := []uint64{}
		for _, sw := range history.Failovers {
			numbers = append(numbers, sw.Seq)
		}
		if !reflect.DeepEqual(numbers, want) {
			t.Errorf("%s: %v, want %v", query, numbers, want)
		}
	}
}

func TestHistoryOfNothing(t *testing.T) {
	_, server := start(t, fixture.Starting())
	if got := do(t, server, http.MethodGet, "/api/v1/history"); got.code != http.StatusOK || !strings.Contains(got.body, `"failovers": []`) {
		t.Errorf("%d %s", got.code, got.body)
	}
}

func TestHistoryRefusesWhatItDoesNotUnderstand(t *testing.T) {
	_, server := start(t, failovers(3))
	for query, want := range map[string]string{
		"?limit=0":      `limit="0": want a number from 1 to 1000`,
		"?limit=-1":     "from 1 to 1000",
		"?limit=1001":   "from 1 to 1000",
		"?limit=":       "from 1 to 1000",
		"?limit=ten":    "from 1 to 1000",
		"?limit=1e3":    "from 1 to 1000",
		"?bond=eth0":    `there is no bond "eth0", only: bond0, bond1, bond2`,
		"?bond=":        `there is no bond ""`,
		"?bond=%3Cb%3E": `there is no bond "<b>"`,
	} {
		got := do(t, server, http.MethodGet, "/api/v1/history"+query)
		if got.code != http.StatusBadRequest || !strings.Contains(got.body, want) || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: %d %s, want 400 with %q in plain text", query, got.code, got.body, want)
		}
	}
}
