package drill

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"bondd.internal/bondd/internal/state"
)

func bytesOf(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	own4   = peer{state.MAC{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("192.0.2.2")}
	other4 = peer{state.MAC{2, 0, 0, 0, 1, 0}, netip.MustParseAddr("192.0.2.1")}
	own6   = peer{state.MAC{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("2001:db8::2")}
	other6 = peer{state.MAC{2, 0, 0, 0, 1, 0}, netip.MustParseAddr("2001:db8::1")}
)

func TestQuestion(t *testing.T) {
	for _, tt := range []struct {
		name       string
		own, other peer
		want       string
	}{
		{"ARP to one", own4, other4, `020000000100 020000000001 0806
			0001 0800 06 04 0001 020000000001 c0000202 000000000000 c0000201`},
		{"ARP to everybody", own4, peer{everybody, other4.ip}, `ffffffffffff 020000000001 0806
			0001 0800 06 04 0001 020000000001 c0000202 000000000000 c0000201`},
		{"IPv6 to one", own6, other6, `020000000100 020000000001 86dd
			60000000 0020 3a ff 20010db8000000000000000000000002 20010db8000000000000000000000001
			87 00 ec73 00000000 20010db8000000000000000000000001 0101 020000000001`},
		{"IPv6 to everybody", own6, peer{everybody, other6.ip}, `3333ff000001 020000000001 86dd
			60000000 0020 3a ff 20010db8000000000000000000000002 ff0200000000000000000001ff000001
			87 00 1c28 00000000 20010db8000000000000000000000001 0101 020000000001`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := hex.EncodeToString(bytesOf(t, tt.want))
			if got := hex.EncodeToString(question(tt.own, tt.other)); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestIsAnswer(t *testing.T) {
	arp := `020000000001 020000000100 0806 0001 0800 06 04 0002 020000000100 c0000201 020000000001 c0000202`
	advert := `020000000001 020000000100 86dd 60000000 0020 3a ff 20010db8000000000000000000000001 20010db8000000000000000000000002
		88 00 0000 60000000 20010db8000000000000000000000001 0201 020000000100`
	for _, tt := range []struct {
		name       string
		frame      string
		own, other netip.Addr
		want       bool
	}{
		{"ARP reply", arp, own4.ip, other4.ip, true},
		{"ARP reply, padded", arp + strings.Repeat("00", 18), own4.ip, other4.ip, true},
		{"ARP reply of another", arp, own4.ip, netip.MustParseAddr("192.0.2.3"), false},
		{"ARP reply to another", arp, netip.MustParseAddr("192.0.2.3"), other4.ip, false},
		{"ARP request", strings.Replace(arp, "04 0002", "04 0001", 1), own4.ip, other4.ip, false},
		{"ARP reply cut off", arp[:len(arp)-2], own4.ip, other4.ip, false},
		{"advertisement", advert, own6.ip, other6.ip, true},
		{"advertisement of another", advert, own6.ip, netip.MustParseAddr("2001:db8::3"), false},
		{"advertisement to another", advert, netip.MustParseAddr("2001:db8::3"), other6.ip, false},
		{"advertisement that was routed", strings.Replace(advert, "3a ff", "3a fe", 1), own6.ip, other6.ip, false},
		{"solicitation", strings.Replace(advert, "88 00", "87 00", 1), own6.ip, other6.ip, false},
		{"advertisement cut off", advert[:len(advert)-2*(8+4)], own6.ip, other6.ip, false},
		{"ARP for IPv6", arp, own6.ip, other6.ip, false},
		{"advertisement for IPv4", advert, own4.ip, other4.ip, false},
		{"nothing", "", own4.ip, other4.ip, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, got := isAnswer(bytesOf(t, tt.frame), tt.own, tt.other)
			if got != tt.want || got && from != other4.mac {
				t.Errorf("%t from %s, want %t", got, from, tt.want)
			}
		})
	}
}
