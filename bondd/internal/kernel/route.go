package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// A routeInfo is one RTM_NEWROUTE, read as far as anything here needs it.
type routeInfo struct {
	table    uint32
	kind     byte // RTN_*
	protocol int
	dst      netip.Prefix
	metric   int
	ways     []way
	multi    bool // RTA_MULTIPATH: the ways share its traffic out
}

// A way is a link that a route leaves by, and the router behind it.
type way struct {
	index   int // 0: there is none
	gateway netip.Addr
	routed  bool // there is a router, whatever its address looks like
}

// parseRoute reads one RTM_NEWROUTE (fib_dump_info, net/ipv4/fib_semantics.c;
// rt6_fill_node, net/ipv6/route.c).
func parseRoute(data []byte) (*routeInfo, error) {
	if len(data) < unix.SizeofRtMsg {
		return nil, fmt.Errorf("decode route: %d bytes are less than an rtmsg", len(data))
	}
	family, bits := data[0], int(data[1])
	r := &routeInfo{table: uint32(data[4]), protocol: int(data[5]), kind: data[7]}
	dst := netip.IPv4Unspecified()
	if family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	ad, err := netlink.NewAttributeDecoder(data[unix.SizeofRtMsg:])
	if err != nil {
		return nil, fmt.Errorf("decode route: %w", err)
	}
	var only way
	for ad.Next() {
		switch ad.Type() {
		case unix.RTA_TABLE:
			r.table = ad.Uint32()
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.RTA_GATEWAY:
			only.gateway, _ = netip.AddrFromSlice(ad.Bytes())
			only.routed = true
		case unix.RTA_VIA: // a router of the other family
			only.routed = true
		case unix.RTA_OIF:
			only.index = int(ad.Uint32())
		case unix.RTA_PRIORITY:
			if p := ad.Uint32(); p <= math.MaxInt32 {
				r.metric = int(p)
			}
		case unix.RTA_MULTIPATH:
			r.multi = true
			if r.ways, err = parseWays(ad.Bytes()); err != nil {
				return nil, err
			}
		}
	}
	if err := ad.Err(); err != nil {
		return nil, fmt.Errorf("decode route: %w", err)
	}
	if !r.multi {
		r.ways = []way{only}
	}
	r.dst = netip.PrefixFrom(dst, bits)
	return r, nil
}

// parseWays reads RTA_MULTIPATH: rtnexthops, each with attributes of its own.
func parseWays(data []byte) ([]way, error) {
	var ways []way
	for len(data) > 0 {
		if len(data) < unix.SizeofRtNexthop {
			return nil, fmt.Errorf("decode route: %d bytes are less than an rtnexthop", len(data))
		}
		n := int(binary.NativeEndian.Uint16(data))
		if n < unix.SizeofRtNexthop || n > len(data) {
			return nil, fmt.Errorf("decode route: an rtnexthop of %d bytes in %d", n, len(data))
		}
		w := way{index: int(int32(binary.NativeEndian.Uint32(data[4:])))}
		ad, err := netlink.NewAttributeDecoder(data[unix.SizeofRtNexthop:n])
		if err != nil {
			return nil, fmt.Errorf("decode route: %w", err)
		}
		for ad.Next() {
			switch ad.Type() {
			case unix.RTA_GATEWAY:
				w.gateway, _ = netip.AddrFromSlice(ad.Bytes())
				w.routed = true
			case unix.RTA_VIA:
				w.routed = true
			}
		}
		if err := ad.Err(); err != nil {
			return nil, fmt.Errorf("decode route: %w", err)
		}
		ways = append(ways, w)
		data = data[min((n+3)&^3, len(data)):]
	}
	return ways, nil
}

// compared reports whether a route is of the kind that bondd makes.
func (r *routeInfo) compared() bool {
	return r.table == unix.RT_TABLE_MAIN && r.kind == unix.RTN_UNICAST && r.dst.IsValid()
}

func (r *routeInfo) route(w way) state.Route {
	return state.Route{
		Index:    w.index,
		Dst:      r.dst,
		Gateway:  w.gateway,
		Metric:   r.metric,
		Protocol: r.protocol,
		Shared:   r.multi,
	}
}

// addRoute reads one RTM_NEWROUTE into a network: those that bondd may compare with
// its own, unicast routes of the main table. kept are the links whose other routes
// are to be there as well.
func addRoute(n *state.Network, data []byte, kept map[int]bool) error {
	info, err := parseRoute(data)
	if err != nil {
		return err
	}
	switch {
	case info.compared() && info.multi && info.dst.Addr().Is6():
		// IPv6 makes one of several routes that were added one by one, as soon
		// as they have the same destination and metric.
		for _, w := range info.ways {
			if w.index != 0 {
				n.Routes = append(n.Routes, info.route(w))
			}
		}
	case info.compared() && !info.multi:
		r := info.route(info.ways[0])
		if r.Index == 0 {
			return nil
		}
		if kept[r.Index] {
			r.Message = string(data)
		}
		n.Routes = append(n.Routes, r)
	case info.table != unix.RT_TABLE_LOCAL && info.kind == unix.RTN_UNICAST &&
		info.protocol != unix.RTPROT_KERNEL && info.protocol != unix.RTPROT_RA:
		if index := info.only(); kept[index] {
			n.Others = append(
				n.Others,
				state.OtherRoute{Index: index, Text: info.text(n), Gateway: info.routed(), Message: string(data)},
			)
		}
	}
	return nil
}

// only is the link that all ways of a route leave by, or 0.
func (r *routeInfo) only() int {
	index := 0
	for i, w := range r.ways {
		if i > 0 && w.index != index {
			return 0
		}
		index = w.index
	}
	return index
}

func (r *routeInfo) routed() bool {
	for _, w := range r.ways {
		if w.routed {
			return true
		}
	}
	return false
}

// text describes a route of Others for a person.
func (r *routeInfo) text(n *state.Network) string {
	s := "to " + r.dst.String()
	for _, w := range r.ways {
		if w.gateway.IsValid() {
			s += " via " + w.gateway.String()
		}
	}
	if l := n.LinkByIndex(r.only()); l != nil {
		s += " by " + l.Name
	}
	if r.table != unix.RT_TABLE_MAIN {
		s += fmt.Sprintf(" in table %d", r.table)
	}
	return s
}
