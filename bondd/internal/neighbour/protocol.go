package neighbour

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// FrameLen is how many bytes of a frame a filter lets by: what is read is shorter.
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
	return filterAdverts()
}

// Watch returns the socket filter of a packet socket that is bound to p and is
// to hear what there is to hear of some addresses, those of p among them:
// answers about them, whatever their owners ask by ARP, and ARP requests with
// which somebody looks whether one of them is free. It takes up to 255.
func (p Protocol) Watch(about []netip.Addr) []bpf.Instruction {
	if p != ARP {
		return filterAdverts()
	}
	var values []uint32
	for _, a := range about {
		if a.Is4() {
			b := a.As4()
			values = append(values, binary.BigEndian.Uint32(b[:]))
		}
	}
	// The address in question: the sender's, or where there is none the wanted one.
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: etherLen + arpSenderIP, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1},
		bpf.LoadAbsolute{Off: etherLen + arpTargetIP, Size: 4},
	}
	for i, v := range values {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(values) - i)})
	}
	return append(program, bpf.RetConstant{Val: 0}, bpf.RetConstant{Val: FrameLen})
}

func filterAdverts() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: etherLen + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 3},
		bpf.LoadAbsolute{Off: etherLen + ipv6Len, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: neighAdvert, SkipTrue: 1},
		bpf.RetConstant{Val: FrameLen},
		bpf.RetConstant{Val: 0},
	}
}
