package kernel

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// What the kernel told of an address or a route is, with a few changes, what
// makes it again; `ip address restore` and `ip route restore` live on that.
// Nothing gets lost that bondd has no field for: a label, a source address, an
// MTU, a table.

// An attribute that golang.org/x/sys/unix does not name (include/uapi/linux/rtnetlink.h).
const rtaNhID = 30 // RTA_NH_ID

// restoreAddress is the request that puts an address back, on the link of that index.
func restoreAddress(told string, index int) (netlink.Message, error) {
	fixed, ad, err := split("address", told, unix.SizeofIfAddrmsg)
	if err != nil {
		return netlink.Message{}, err
	}
	binary.NativeEndian.PutUint32(fixed[4:], uint32(index))
	six := fixed[0] == unix.AF_INET6
	return message(unix.RTM_NEWADDR, netlink.Create|netlink.Replace, fixed, func(ae *netlink.AttributeEncoder) error {
		flags := uint32(fixed[2])
		for ad.Next() {
			if ad.Type() == unix.IFA_FLAGS {
				flags = ad.Uint32()
				continue
			}
			ae.Bytes(ad.Type()|ad.TypeFlags(), ad.Bytes())
		}
		if six {
			// It was in use a moment ago, and is to be again at once.
			flags = flags&^(unix.IFA_F_OPTIMISTIC|unix.IFA_F_TENTATIVE) | unix.IFA_F_NODAD
		}
		ae.Uint32(unix.IFA_FLAGS, flags)
		return ad.Err()
	})
}

// restoreRoute is the request that puts a route back, on the link of that index.
func restoreRoute(told string, index int) (netlink.Message, error) {
	fixed, ad, err := split("route", told, unix.SizeofRtMsg)
	if err != nil {
		return netlink.Message{}, err
	}
	// The rest tells of a state that the route is in (fib_create_info refuses it).
	binary.NativeEndian.PutUint32(fixed[8:], binary.NativeEndian.Uint32(fixed[8:])&unix.RTNH_F_ONLINK)
	// Behind others of its destination and metric, which bondd has made meanwhile.
	return message(unix.RTM_NEWROUTE, netlink.Create|netlink.Append, fixed, func(ae *netlink.AttributeEncoder) error {
		for ad.Next() {
			b := ad.Bytes()
			switch ad.Type() {
			case rtaNhID: // a nexthop object goes with its link; what it was is in the other attributes
				continue
			case unix.RTA_CACHEINFO:
				// rta_cacheinfo: its third field is the time left, in hundredths of a second.
				if len(b) >= 12 {
					if left := int32(binary.NativeEndian.Uint32(b[8:])); left > 0 {
						ae.Uint32(unix.RTA_EXPIRES, uint32(left)/100)
					}
				}
				continue
			case unix.RTA_OIF:
				ae.Uint32(unix.RTA_OIF, uint32(index))
				continue
			case unix.RTA_MULTIPATH:
				for at := 0; at+unix.SizeofRtNexthop <= len(b); {
					b[at+2] &= unix.RTNH_F_ONLINK
					binary.NativeEndian.PutUint32(b[at+4:], uint32(index))
					n := int(binary.NativeEndian.Uint16(b[at:]))
					if n < unix.SizeofRtNexthop {
						break
					}
					at += (n + 3) &^ 3
				}
			}
			ae.Bytes(ad.Type()|ad.TypeFlags(), b)
		}
		return ad.Err()
	})
}

// split takes a message apart into copies of its fixed header and of its attributes.
func split(what, told string, fixed int) ([]byte, *netlink.AttributeDecoder, error) {
	if len(told) < fixed {
		return nil, nil, fmt.Errorf("restore %s: what the kernel told of it is not there", what)
	}
	ad, err := netlink.NewAttributeDecoder([]byte(told[fixed:]))
	if err != nil {
		return nil, nil, fmt.Errorf("restore %s: %w", what, err)
	}
	return []byte(told[:fixed]), ad, nil
}

// restorable are the links whose addresses and routes bondd may have to put
// back: the bonds and the VLANs above them, which the kernel takes down with the bond.
func restorable(links []state.Link) map[int]bool {
	set := make(map[int]bool)
	for i := range links {
		if links[i].Bond != nil {
			set[links[i].Index] = true
		}
	}
	for more := len(set) > 0; more; {
		more = false
		for i := range links {
			if l := &links[i]; l.Kind == "vlan" && set[l.Lower] && !set[l.Index] {
				set[l.Index], more = true, true
			}
		}
	}
	return set
}
