package kernel

import (
	"fmt"
	"testing"
	"time"
)

// Lines as the drivers of Linux 6.12 log them.
func TestLinkDownLine(t *testing.T) {
	for _, tt := range []struct {
		text string
		down bool
	}{
		{"e1000: eth0 NIC Link is Down", true},
		{"e1000e 0000:00:19.0 eth0: NIC Link is Down", true},
		{"igb 0000:01:00.0 eth0: igb: eth0 NIC Link is Down", true},
		{"igc 0000:02:00.0 eth0: NIC Link is Down", true},
		{"ixgbe 0000:01:00.0 eth0: NIC Link is Down", true},
		{"i40e 0000:01:00.0 eth0: NIC Link is Down", true},
		{"e100 0000:00:03.0 eth0: NIC Link is Down", true},
		{"r8169 0000:03:00.0 eth0: Link is Down", true},
		{"tg3 0000:02:00.0 eth0: Link is down", true},
		{"bnx2 0000:02:00.0 eth0: NIC Copper Link is Down", true},
		{"pcnet32 0000:00:03.0 eth0: link down", true},
		{"8139too 0000:00:03.0 eth0: link down", true},
		{"sky2 0000:02:00.0 eth0: Link is down", true},
		{"alx 0000:02:00.0 eth0: Link Down", true},
		{"atlantic 0000:01:00.0 eth0: atlantic: link change old 1000 new 0", true},
		{"vmxnet3 0000:03:00.0 eth0: NIC Link is Down", true},
		{"r8152 2-1:1.0 eth0: carrier off", true},
		{"Atheros(R) L2 Ethernet Driver: eth0 NIC Link is Down", true},

		{"e1000: eth0 NIC Link is Up 1000 Mbps Full Duplex, Flow Control: RX", false},
		{"r8169 0000:03:00.0 eth0: Link is Up - 1Gbps/Full - flow control rx/tx", false},
		{"atlantic 0000:01:00.0 eth0: atlantic: link change old 0 new 1000", false},
		{"bond0: (slave eth0): link status definitely down, disabling slave", false},
		{"bond0: (slave eth0): link status down for active interface, disabling it in 200 ms", false},
		{"IPv6: ADDRCONF(NETDEV_UP): eth0: link is not ready", false},
		{"br0: port 1(eth0) entered disabled state", false},
	} {
		if got := linkDownLine.MatchString(tt.text); got != tt.down {
			t.Errorf("%q is taken for a lost link: %t", tt.text, got)
		}
		if !names(tt.text, "eth0") || names(tt.text, "eth") || names(tt.text, "eth00") || names(tt.text, "th0") || names(tt.text, "") {
			t.Errorf("%q is taken to be about another link than eth0", tt.text)
		}
	}
	if names("r8169 0000:03:00.0 eth0.20: Link is Down", "eth0") || names("e1000: my-eth0 NIC Link is Down", "eth0") {
		t.Error("a name within another is taken for it")
	}
	if !names("eth01: eth0: Link is Down", "eth0") {
		t.Error("a name is not found behind one that it begins")
	}
}

func TestParseRecord(t *testing.T) {
	for _, tt := range []struct {
		record string
		want   record
		ok     bool
	}{
		{"6,1234,5678901234,-;e1000: eth0 NIC Link is Down\n", record{5678901234 * time.Microsecond, "e1000: eth0 NIC Link is Down"}, true},
		{"6,339,5140900,-,caller=T1;r8169 0000:03:00.0 eth0: Link is Down\n SUBSYSTEM=pci\n DEVICE=+pci:0000:03:00.0\n", record{5140900 * time.Microsecond, "r8169 0000:03:00.0 eth0: Link is Down"}, true},
		{"15,340,7,c;bondd: bond0: eth0 -> eth1; as asked\n", record{7 * time.Microsecond, "bondd: bond0: eth0 -> eth1; as asked"}, true},
		{"6,1,2,-;", record{2 * time.Microsecond, ""}, true},
		{"6,1,2,-", record{}, false},
		{"6,1;text", record{}, false},
		{"6,1,soon,-;text", record{}, false},
		{"", record{}, false},
	} {
		if got, ok := parseRecord([]byte(tt.record)); got != tt.want || ok != tt.ok {
			t.Errorf("%q is read as %+v, %t; want %+v, %t", tt.record, got, ok, tt.want, tt.ok)
		}
	}
}

// The marker is compared with what the log gives back, which escapes what is
// not printable.
func TestMarkerText(t *testing.T) {
	for what, want := range map[string]string{
		"bond0: eth0 -> eth1 (link)": "bondd: bond0: eth0 -> eth1 (link)",
		"a\nb\\c\x7f→":               "bondd: a?b?c??",
		"":                           "bondd: ",
	} {
		if got := markerText(what); got != want {
			t.Errorf("%q becomes %q, want %q", what, got, want)
		}
	}
	if got := markerText(fmt.Sprintf("%5000d", 1)); len(got) > 250 {
		t.Errorf("a marker has %d bytes", len(got))
	}
}
