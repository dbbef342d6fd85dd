package report

import (
	"testing"
	"time"

	"bondd.internal/bondd/internal/state"
)

// The time of a failover begins when the failure was found, and what found it may
// have been late: both are said.
func TestFailoverMessage(t *testing.T) {
	at := time.Date(2026, 3, 14, 15, 4, 26, 0, time.UTC)
	for want, s := range map[string]*state.Failover{
		"traffic moved from eth0 to eth1 in 2.80 ms: eth0 lost its link": {From: "eth0", To: "eth1", Reason: state.ReasonLink,
			Cause: "eth0 lost its link", FoundBy: state.WatchEvent},
		"traffic moved from eth0 to eth1 in 2.80 ms: eth0 lost its link, found by a poll within 100ms": {From: "eth0", To: "eth1",
			Reason: state.ReasonLink, Cause: "eth0 lost its link", FoundBy: state.WatchPoll, FoundWithin: 100 * time.Millisecond},
		"traffic moved from eth0 to eth1 in 2.80 ms: nothing answers through eth0, found by probes within 1.2s": {From: "eth0", To: "eth1",
			Reason: state.ReasonPath, Cause: "nothing answers through eth0", FoundBy: state.WatchPath, FoundWithin: 1200 * time.Millisecond},
		"eth0 lost its link and is out of the bond after 2.80 ms at most": {From: "eth0", Reason: state.ReasonLink, Written: at},
		"the kernel moved traffic from eth0 to eth1":                      {From: "eth0", To: "eth1", Reason: state.ReasonKernel},
	} {
		if got := FailoverMessage(s, 2800*time.Microsecond); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
