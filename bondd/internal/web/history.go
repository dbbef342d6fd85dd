package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
)

// history answers with the flight recorder, newest first. The parameter bond
// asks for the failovers of one bond, limit for the latest ones only.
func (h *handler) history(w http.ResponseWriter, r *http.Request) {
	s := h.src.Snapshot()
	bond, limit, err := historyQuery(s, r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	found := report.HistoryFrom(s, bond, limit)
	found.SnapshotAgeSeconds = s.Age(time.Now()).Seconds()
	h.writeJSON(w, http.StatusOK, found)
}

// historyQuery reads what is asked for. A bond has to be configured, or to have
// been while something of it is recorded. Its errors are for who asks.
func historyQuery(s *state.Snapshot, query url.Values) (bond string, limit int, err error) {
	limit = state.MaxHistory
	if text := query.Get("limit"); query.Has("limit") {
		limit, err = strconv.Atoi(text)
		if err != nil || limit < 1 || limit > state.MaxHistory {
			return "", 0, fmt.Errorf("limit=%q: want a number from 1 to %d", text, state.MaxHistory)
		}
	}
	bond = query.Get("bond")
	known := func(sw *state.Failover) bool { return sw.Bond == bond }
	if query.Has("bond") && s.Bond(bond) == nil && !slices.ContainsFunc(s.History, known) {
		var names []string
		for i := range s.Bonds {
			names = append(names, s.Bonds[i].Name)
		}
		return "", 0, fmt.Errorf("there is no bond %q, only: %s", bond, strings.Join(names, ", "))
	}
	return bond, limit, nil
}
