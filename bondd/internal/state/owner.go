package state

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Protocol numbers by which bondd knows what it added itself: of addresses
// (IFA_PROTO, include/uapi/linux/if_addr.h) and of routes (rtm_protocol). Both
// kinds of number are told apart by convention alone; these two are in no list
// of the kernel's, iproute2's or FRR's. 176 is 0xb0.
const (
	ProtocolStatic = 176 // as the configuration says
	ProtocolLease  = 177 // as DHCP said
)

// Who the kernel itself marks as having added an address (IFAPROT_*).
const (
	addressKernelFirst = 1 // IFAPROT_KERNEL_LO
	addressKernelLast  = 3 // IFAPROT_KERNEL_LL
)

// An Owner says who an address or a route belongs to.
type Owner uint8

// The owners.
const (
	OwnerForeign       Owner = iota // another program
	OwnerKernel                     // the kernel made it by itself, or from a router's advertisement
	OwnerConfiguration              // bondd, as the configuration says
	OwnerLease                      // bondd, as DHCP said
)

// Owned are what a bond has that is bondd's although the kernel may not say so:
// it carries no mark, because the kernel knows none or because something else
// added it before the configuration named it. They are remembered over a restart
// of bondd, and void with the bond.
type Owned struct {
	Index     int            `json:"index"` // of the bond
	Addresses []OwnedAddress `json:"addresses,omitempty"`
	Routes    []OwnedRoute   `json:"routes,omitempty"`
}

// Equal reports whether two are the same.
func (c *Owned) Equal(o *Owned) bool {
	return c.Index == o.Index && slices.Equal(c.Addresses, o.Addresses) && slices.Equal(c.Routes, o.Routes)
}

// IsZero reports whether there is nothing.
func (c Owned) IsZero() bool { return len(c.Addresses) == 0 && len(c.Routes) == 0 }

// An OwnedAddress is one address, and not another of the same prefix that
// somebody adds later.
type OwnedAddress struct {
	Prefix  netip.Prefix `json:"prefix"`
	Created uint32       `json:"created"` // as Address has it
	Leased  bool         `json:"leased,omitempty"`
}

// A OwnedRoute is one route.
type OwnedRoute struct {
	Dst      netip.Prefix `json:"to"`
	Gateway  netip.Addr   `json:"via,omitzero"`
	Metric   int          `json:"metric"`
	Protocol int          `json:"protocol"`
	Leased   bool         `json:"leased,omitempty"`
}

// Address says who an address belongs to.
func (c *Owned) Address(a *Address) Owner {
	switch p := a.Protocol; {
	case p == ProtocolStatic:
		return OwnerConfiguration
	case p == ProtocolLease:
		return OwnerLease
	case p >= addressKernelFirst && p <= addressKernelLast:
		return OwnerKernel
	case p != 0 || a.Index != c.Index:
		return OwnerForeign
	}
	for i := range c.Addresses {
		if o := &c.Addresses[i]; o.Prefix == a.Prefix && o.Created == a.Created {
			return owner(o.Leased)
		}
	}
	return OwnerForeign
}

// Route says who a route belongs to.
func (c *Owned) Route(r *Route) Owner {
	switch p := r.Protocol; {
	case p == unix.RTPROT_KERNEL || p == unix.RTPROT_RA || p == unix.RTPROT_REDIRECT:
		return OwnerKernel
	case p == ProtocolStatic && !r.Shared:
		return OwnerConfiguration
	case p == ProtocolLease && !r.Shared:
		return OwnerLease
	case r.Index != c.Index:
		return OwnerForeign
	}
	for i := range c.Routes {
		if o := &c.Routes[i]; o.Dst == r.Dst && o.Gateway == r.Gateway && o.Metric == r.Metric && o.Protocol == r.Protocol {
			return owner(o.Leased)
		}
	}
	return OwnerForeign
}

func owner(leased bool) Owner {
	if leased {
		return OwnerLease
	}
	return OwnerConfiguration
}
