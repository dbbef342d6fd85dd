package hwprobe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// kernelTimeout bounds the list of the links. It waits for the kernel's one lock over the network configuration, which
// a driver that is loading its firmware may hold for seconds.
const kernelTimeout = 10 * time.Second

// skipStats is RTEXT_FILTER_SKIP_STATS of include/uapi/linux/rtnetlink.h: the dump leaves the counters out.
const skipStats = 1 << 3

// dumpAttempts is how often a dump is repeated that the kernel marks as inconsistent.
const dumpAttempts = 5

// netKernel is the running kernel, asked over rtnetlink, the ethtool generic netlink family and the ethtool ioctl.
type netKernel struct{}

// Host asks for release and uptime, which no driver can hold up.
func (netKernel) Host() Host {
	var h Host
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		h.Release = unix.ByteSliceToString(name.Release[:])
	}
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err == nil {
		h.UptimeSeconds = int(since.Sec)
	}
	return h
}

// Links lists the links as rtnetlink describes them.
func (netKernel) Links(ctx context.Context) ([]Link, error) {
	return bounded(ctx, kernelTimeout, readLinks)
}

// Ethtool asks the driver of one link.
func (netKernel) Ethtool(ctx context.Context, l Link) (Ethtool, error) {
	return bounded(ctx, nicTimeout, func(ctx context.Context) (Ethtool, error) { return readEthtool(ctx, l) })
}

// readLinks lists the links by rtnetlink, which asks no driver and wakes no card.
func readLinks(ctx context.Context) ([]Link, error) {
	deadline, _ := ctx.Deadline()
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("set deadline of rtnetlink: %w", err)
	}
	return dumpLinks(conn)
}

// dumpLinks reads all links of the network namespace in one consistent dump.
func dumpLinks(conn *netlink.Conn) ([]Link, error) {
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{
		Type: unix.IFLA_EXT_MASK,
		Data: binary.NativeEndian.AppendUint32(nil, skipStats),
	}})
	if err != nil {
		return nil, fmt.Errorf("encode link dump: %w", err)
	}
	request := netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request | netlink.Dump},
		Data:   append(make([]byte, unix.SizeofIfInfomsg), attrs...),
	}
	for range dumpAttempts {
		msgs, err := conn.Execute(request)
		if err != nil {
			return nil, fmt.Errorf("dump links: %w", err)
		}
		links := make([]Link, 0, len(msgs))
		interrupted := false
		for _, m := range msgs {
			interrupted = interrupted || m.Header.Flags&netlink.DumpInterrupted != 0
			if m.Header.Type != unix.RTM_NEWLINK {
				continue
			}
			l, err := parseLink(m.Data)
			if err != nil {
				return nil, fmt.Errorf("decode link: %w", err)
			}
			links = append(links, l)
		}
		if !interrupted {
			return links, nil
		}
	}
	return nil, errors.New("dump links: the links change faster than they can be read")
}

// parseLink decodes the payload of an RTM_NEWLINK message: struct ifinfomsg, then attributes.
func parseLink(b []byte) (Link, error) {
	if len(b) < unix.SizeofIfInfomsg {
		return Link{}, fmt.Errorf("message of %d bytes is shorter than its header", len(b))
	}
	l := Link{
		Ethernet: binary.NativeEndian.Uint16(b[2:]) == unix.ARPHRD_ETHER,
		Index:    int(int32(binary.NativeEndian.Uint32(b[4:]))),
	}
	l.Up = binary.NativeEndian.Uint32(b[8:])&unix.IFF_UP != 0
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return Link{}, err
	}
	var permanent, beforeBond MAC
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			l.Name = ad.String()
		case unix.IFLA_ADDRESS:
			l.Address = bytes.Clone(ad.Bytes())
		case unix.IFLA_PERM_ADDRESS:
			permanent = bytes.Clone(ad.Bytes())
		case unix.IFLA_MASTER:
			l.Enslaved = ad.Uint32() != 0
		case unix.IFLA_CARRIER:
			if carrier := ad.Uint8() != 0; l.Up {
				l.Carrier = &carrier
			}
		case unix.IFLA_CARRIER_DOWN_COUNT:
			losses := int(ad.Uint32())
			l.LinkLosses = &losses
		case unix.IFLA_PARENT_DEV_NAME:
			l.Parent = ad.String()
		case unix.IFLA_PARENT_DEV_BUS_NAME:
			l.ParentBus = ad.String()
		case unix.IFLA_PROP_LIST:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					if ad.Type() == unix.IFLA_ALT_IFNAME {
						l.AltNames = append(l.AltNames, ad.String())
					}
				}
				return nil
			})
		case unix.IFLA_LINKINFO:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				l.Kind, beforeBond = parseLinkInfo(ad)
				return nil
			})
		}
	}
	// A driver may know no permanent address (veth does not); the bond still remembers the one its slave came with.
	l.Permanent = permanent
	if len(permanent) == 0 {
		l.Permanent = beforeBond
	}
	return l, ad.Err()
}

// parseLinkInfo decodes IFLA_LINKINFO: the link's own kind, and, of a bond's slave, the address it had before.
func parseLinkInfo(ad *netlink.AttributeDecoder) (kind string, beforeBond MAC) {
	var slaveKind string
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_INFO_KIND:
			kind = ad.String()
		case unix.IFLA_INFO_SLAVE_KIND: // comes before the data
			slaveKind = ad.String()
		case unix.IFLA_INFO_SLAVE_DATA:
			if slaveKind != "bond" {
				continue
			}
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					if ad.Type() == unix.IFLA_BOND_SLAVE_PERM_HWADDR {
						beforeBond = bytes.Clone(ad.Bytes())
					}
				}
				return nil
			})
		}
	}
	return kind, beforeBond
}
