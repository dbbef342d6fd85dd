package neighbour

import (
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// FrameLen is how many bytes of a frame a Filter lets by: answers are shorter.
const FrameLen = 256

// A Protocol is one in which hosts are asked: an EtherType (ETH_P_*), in the
// byte order of the host.
type Protocol uint16

// The protocols.
const (
	ARP       Protocol = unix.ETH_P_ARP
	Discovery Protocol = unix.ETH_P_IPV6
)

// ProtocolOf is the protocol in which the owner of an address is asked.
func ProtocolOf(ip netip.Addr) Protocol {
	if ip.Is4() {
		return ARP
	}
	return Discovery
}

// Filter returns the socket filter of a packet socket that is bound to p: only
// answers wake anybody, not the bulk of the traffic. What precisely they answer
// is for Parse.
func (p Protocol) Filter() []bpf.Instruction {
	if p == ARP {
		return []bpf.Instruction{
			bpf.LoadAbsolute{Off: etherLen + 6, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: arpReply, SkipTrue: 1},
			bpf.RetConstant{Val: FrameLen},
			bpf.RetConstant{Val: 0},
		}
	}
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: etherLen + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 3},
		bpf.LoadAbsolute{Off: etherLen + ipv6Len, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: neighAdvert, SkipTrue: 1},
		bpf.RetConstant{Val: FrameLen},
		bpf.RetConstant{Val: 0},
	}
}
