package hwprobe

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// with is a machine that has run for an hour, with two cards, as changed.
func with(change func(a, b *NIC)) *Machine {
	a, b := e0, e1
	for _, n := range []*NIC{&a, &b} {
		n.LinkUp, n.SpeedMbps, n.Duplex, n.LinkLosses = ptr(true), ptr(1000), "full", ptr(0)
		n.SupportedMbps = []int{100, 1000}
		n.AER = &AER{}
		*n = on(*n, "r0")
		n.Path[0].AER = &AER{}
	}
	change(&a, &b)
	return &Machine{Host: Host{UptimeSeconds: 3600}, NICs: []NIC{a, b}}
}

func TestObserve(t *testing.T) {
	later := func(m *Machine) *Machine { m.UptimeSeconds = 3660; return m }
	same := "pass speed: the links of eth0 and eth1 run at 1000 Mb/s full"
	for _, test := range []struct {
		name    string
		before  *Machine
		now     *Machine
		want    []string
		verdict Verdict
	}{
		{"all well", nil, with(func(_, _ *NIC) {}), []string{same}, VerdictPass},
		{"a detached card", nil, with(func(_, b *NIC) { b.Detached, b.SpeedMbps = true, nil }),
			[]string{"warn detached: eth1 is detached: its device pci 0000:04:00.0 no longer answers"}, VerdictWarn},
		{"no cable", nil, with(func(_, b *NIC) { b.LinkUp, b.NoLink, b.SpeedMbps = ptr(false), "no cable", nil }),
			[]string{"warn link: eth1 has no link: no cable"}, VerdictWarn},
		{"no link", nil, with(func(_, b *NIC) { b.LinkUp, b.SpeedMbps = ptr(false), nil }),
			[]string{"warn link: eth1 has no link"}, VerdictWarn},
		{"interfaces that are down, of whose links nothing is known", nil, with(func(a, b *NIC) {
			a.LinkUp, a.SpeedMbps, b.LinkUp, b.SpeedMbps = nil, nil, nil, nil
		}), []string{}, VerdictPass},
		{"half duplex on both", nil, with(func(a, b *NIC) { a.Duplex, b.Duplex = "half", "half" }), []string{
			"warn duplex: the link of eth0 is half duplex", "warn duplex: the link of eth1 is half duplex",
			"pass speed: the links of eth0 and eth1 run at 1000 Mb/s half",
		}, VerdictWarn},
		{"different speeds", nil, with(func(_, b *NIC) { b.SpeedMbps = ptr(100) }), []string{
			"info speed: the link of eth1 runs at 100 Mb/s, and the card can do 1000 Mb/s",
			"warn speed: the links are not alike: eth0 1000 full, eth1 100 full",
		}, VerdictWarn},
		{"slower than both ends offer", nil, with(func(a, b *NIC) {
			a.SpeedMbps, a.Partner, b.SpeedMbps = ptr(100), []string{"100baseT/Full", "1000baseT/Full", "10000baseT/Full"}, ptr(100)
		}), []string{
			"warn speed: the link of eth0 runs at 100 Mb/s, although both its ends offer 1000 Mb/s",
			"info speed: the link of eth1 runs at 100 Mb/s, and the card can do 1000 Mb/s",
			"pass speed: the links of eth0 and eth1 run at 100 Mb/s full",
		}, VerdictWarn},
		{"a weak signal", nil, with(func(a, b *NIC) { a.Signal, b.Signal = &Signal{2, 7}, &Signal{6, 7} }),
			[]string{"warn link: the signal on the cable of eth0 is weak: 2 of 7", same}, VerdictWarn},
		{"links lost at the start", nil, with(func(a, _ *NIC) { a.LinkLosses = ptr(2) }), []string{same}, VerdictPass},
		{"a link that flaps", nil, with(func(a, _ *NIC) { a.LinkLosses = ptr(20) }), []string{
			"warn carrier-flaps: eth0 has lost its link 20 times in the 60 minutes since the machine was started", same,
		}, VerdictWarn},
		{"a link that was lost often in a long time", nil, func() *Machine {
			m := with(func(a, _ *NIC) { a.LinkLosses = ptr(20) })
			m.UptimeSeconds = 100 * 3600
			return m
		}(), []string{same}, VerdictPass},
		{"a link lost since the last look", with(func(a, _ *NIC) { a.LinkLosses = ptr(20) }),
			later(with(func(a, _ *NIC) { a.LinkLosses = ptr(21) })),
			[]string{"warn carrier-flaps: eth0 has lost its link once in the last 60 seconds", same}, VerdictWarn},
		{"a link that flapped once and is quiet", with(func(a, _ *NIC) { a.LinkLosses = ptr(20) }),
			later(with(func(a, _ *NIC) { a.LinkLosses = ptr(20) })), []string{same}, VerdictPass},
		{"corrected errors", nil, with(func(a, _ *NIC) { a.AER = &AER{Correctable: 3, Kinds: map[string]int{"BadTLP": 2, "BadDLLP": 1}} }),
			[]string{same, "info pcie-errors: eth0 has reported 3 corrected PCIe errors since the machine was started (BadDLLP, BadTLP)"}, VerdictPass},
		{"corrected errors on the way, told once", nil, with(func(a, b *NIC) { a.Path[0].AER, b.Path[0].AER = &AER{Correctable: 1}, &AER{Correctable: 1} }),
			[]string{same, "info pcie-errors: the root port r0 before eth0 and eth1 has reported 1 corrected PCIe errors since the machine was started"}, VerdictPass},
		{"errors that could not be corrected", nil, with(func(a, _ *NIC) { a.AER = &AER{Fatal: 1, NonFatal: 1} }),
			[]string{same, "warn pcie-errors: eth0 has reported 2 PCIe errors that could not be corrected since the machine was started"}, VerdictWarn},
		{"corrected errors that rise", with(func(a, _ *NIC) { a.AER = &AER{Correctable: 3} }),
			later(with(func(a, _ *NIC) { a.AER = &AER{Correctable: 5} })),
			[]string{same, "warn pcie-errors: eth0 has reported 2 corrected PCIe errors since the last look"}, VerdictWarn},
		{"old errors that do not rise", with(func(a, _ *NIC) { a.AER = &AER{Correctable: 3, Fatal: 1} }),
			later(with(func(a, _ *NIC) { a.AER = &AER{Correctable: 3, Fatal: 1} })), []string{same}, VerdictPass},
		{"a new card in the old one's place", with(func(a, _ *NIC) { a.Address, a.LinkLosses = "0000:09:00.0", ptr(50) }),
			later(with(func(_, _ *NIC) {})), []string{same}, VerdictPass},
	} {
		r := test.now.Observe(test.before, []string{"eth0", "eth1", "gone"})
		if diff := cmp.Diff(test.want, sentences(r)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if r.Verdict != test.verdict {
			t.Errorf("%s: verdict %s, want %s", test.name, r.Verdict, test.verdict)
		}
	}
}

// TestMachineJudgeSumsUp: the machine's report has the findings of both kinds, and the worst verdict.
func TestMachineJudgeSumsUp(t *testing.T) {
	m := with(func(_, b *NIC) { b.LinkUp, b.SpeedMbps = ptr(false), nil })
	r := m.Judge(Policy{}, nil)
	if r.Verdict != VerdictWarn || len(r.Members) != 2 || len(r.NICs) != 2 || len(r.Choices) != 1 || r.Machine == nil {
		t.Errorf("report %+v", r)
	}
	if r := Judge(m.NICs, Policy{}, nil); r.Verdict != VerdictWarn { // one root port
		t.Errorf("verdict %s", r.Verdict)
	}
}
