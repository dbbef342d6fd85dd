package report

import (
	"fmt"
	"net/netip"
	"slices"
)

// IsForeign reports whether another program has put an address on the bond.
func (b Bond) IsForeign(a netip.Prefix) bool { return slices.Contains(b.ForeignAddresses, a) }

// IsForeignGateway reports whether every default route by this gateway is another
// program's.
func (b Bond) IsForeignGateway(g netip.Addr) bool {
	routes := 0
	for _, r := range b.ForeignRoutes {
		if r.Via != nil && *r.Via == g && r.To.Bits() == 0 {
			routes++
		}
	}
	all := 0
	for _, o := range b.Gateways {
		if o == g {
			all++
		}
	}
	return routes > 0 && routes >= all
}

// Text is the route in words.
func (r Route) Text() string {
	s := r.To.String()
	if r.To.Bits() == 0 {
		s = "default"
	}
	if r.Via != nil {
		s += " via " + r.Via.String()
	}
	if r.Metric != 0 {
		s += fmt.Sprintf(" metric %d", r.Metric)
	}
	return s
}
