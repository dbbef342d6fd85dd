package report

import (
	"testing"

	"bondd.internal/bondd/internal/state"
)

// Every condition and every fault of LACP has an entry, and there is none for
// anything else.
func TestTable(t *testing.T) {
	for _, c := range state.Conditions() {
		if e := conditions[c]; e.word == "" || e.level == "" || e.sentence == nil {
			t.Errorf("%s: the entry is %+v", c, e)
		}
		if e := conditions[c]; !c.Usable() && e.level == Good {
			t.Errorf("%s is not usable, and its level is good", c)
		}
	}
	if n := len(state.Conditions()); len(conditions) != n {
		t.Errorf("%d entries for %d conditions", len(conditions), n)
	}
	for _, f := range state.LACPFaults() {
		if faults[f] == "" {
			t.Errorf("fault %d of LACP has no sentence", f)
		}
	}
	if n := len(state.LACPFaults()); len(faults) != n {
		t.Errorf("%d sentences for %d faults of LACP", len(faults), n)
	}
}
