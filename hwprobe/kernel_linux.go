package hwprobe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// kernelTimeout bounds the questions to the kernel. All of them wait for its one lock over the network configuration,
// which a driver that is loading its firmware may hold for seconds.
const kernelTimeout = 10 * time.Second

// skipStats is RTEXT_FILTER_SKIP_STATS of include/uapi/linux/rtnetlink.h: the dump leaves the counters out.
const skipStats = 1 << 3

// dumpAttempts is how often a dump is repeated that the kernel marks as inconsistent.
const dumpAttempts = 5

// netKernel is the running kernel, asked over rtnetlink, the ethtool generic netlink family and the ethtool ioctl.
type netKernel struct{}

// Links asks in a goroutine of its own, because a system call that waits for a lock in the kernel heeds no deadline of
// ours. If the time is up, the goroutine is left behind; it ends when the kernel answers or its sockets' deadline passes.
func (netKernel) Links(ctx context.Context) ([]Link, error) {
	ctx, cancel := context.WithTimeout(ctx, kernelTimeout)
	defer cancel()
	type answer struct {
		links []Link
		err   error
	}
	answerC := make(chan answer, 1)
	go func() {
		links, err := readLinks(ctx)
		answerC <- answer{links, err}
	}()
	select {
	case a := <-answerC:
		return a.links, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the kernel: %w", ctx.Err())
	}
}

// readLinks lists the links by rtnetlink and adds what ethtool knows. Only rtnetlink must answer: an old kernel has no
// ethtool family, and many drivers answer only some of its questions.
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
	links, err := dumpLinks(conn)
	if err != nil {
		return nil, err
	}
	modes := readModes(deadline)
	for i := range links {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		l := &links[i]
		l.Driver, l.Firmware = driverInfo(l.Name)
		if m, ok := modes[l.Index]; ok {
			l.SpeedMbps, l.Duplex, l.SupportedMbps = m.speed, m.duplex, m.supported
		}
	}
	return links, nil
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
	up := binary.NativeEndian.Uint32(b[8:])&unix.IFF_UP != 0
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return Link{}, err
	}
	var permanent, beforeBond net.HardwareAddr
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
			if carrier := ad.Uint8() != 0; up {
				l.Carrier = &carrier
			}
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
func parseLinkInfo(ad *netlink.AttributeDecoder) (kind string, beforeBond net.HardwareAddr) {
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

// linkModes is what ethtool knows of a link's speed: 0, "" and nil if unknown.
type linkModes struct {
	speed     int // megabits per second
	duplex    string
	supported []int // megabits per second, ascending
}

// readModes asks ethtool for the modes of all links, by interface index. It is nil if ethtool does not answer.
func readModes(deadline time.Time) map[int]linkModes {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return nil
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil
	}
	modes, err := dumpModes(conn)
	if err != nil {
		return nil
	}
	return modes
}

// dumpModes is ETHTOOL_MSG_LINKMODES_GET for all links. It is not left to the library mdlayher/ethtool, which returns
// the advertised modes without the supported ones and panics on modes younger than itself.
func dumpModes(conn *genetlink.Conn) (map[int]linkModes, error) {
	family, err := conn.GetFamily(unix.ETHTOOL_GENL_NAME)
	if err != nil {
		return nil, fmt.Errorf("look up ethtool family: %w", err)
	}
	ae := netlink.NewAttributeEncoder()
	ae.Nested(unix.ETHTOOL_A_LINKMODES_HEADER, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(unix.ETHTOOL_A_HEADER_FLAGS, unix.ETHTOOL_FLAG_COMPACT_BITSETS)
		return nil
	})
	data, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode link modes request: %w", err)
	}
	msgs, err := conn.Execute(genetlink.Message{
		Header: genetlink.Header{Command: unix.ETHTOOL_MSG_LINKMODES_GET, Version: unix.ETHTOOL_GENL_VERSION},
		Data:   data,
	}, family.ID, netlink.Request|netlink.Dump)
	if err != nil {
		return nil, fmt.Errorf("dump link modes: %w", err)
	}
	modes := make(map[int]linkModes, len(msgs))
	for _, m := range msgs {
		index, lm, err := parseModes(m.Data)
		if err != nil {
			return nil, fmt.Errorf("decode link modes: %w", err)
		}
		modes[index] = lm
	}
	return modes, nil
}

// parseModes decodes one ETHTOOL_MSG_LINKMODES_GET_REPLY.
func parseModes(b []byte) (index int, lm linkModes, err error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return 0, linkModes{}, err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.ETHTOOL_A_LINKMODES_HEADER:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					if ad.Type() == unix.ETHTOOL_A_HEADER_DEV_INDEX {
						index = int(ad.Uint32())
					}
				}
				return nil
			})
		case unix.ETHTOOL_A_LINKMODES_OURS:
			// The value of this bit set are the advertised modes, its mask the supported ones.
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					if ad.Type() == unix.ETHTOOL_A_BITSET_MASK {
						lm.supported = modeSpeeds(ad.Bytes())
					}
				}
				return nil
			})
		case unix.ETHTOOL_A_LINKMODES_SPEED:
			// SPEED_UNKNOWN is all ones.
			if speed := int32(ad.Uint32()); speed > 0 {
				lm.speed = int(speed)
			}
		case unix.ETHTOOL_A_LINKMODES_DUPLEX:
			switch ad.Uint8() {
			case 0: // DUPLEX_HALF
				lm.duplex = "half"
			case 1: // DUPLEX_FULL
				lm.duplex = "full"
			}
		}
	}
	return index, lm, ad.Err()
}

// driverInfo asks by ioctl for what netlink does not tell. Both answers are empty if the driver has none.
func driverInfo(name string) (driver, firmware string) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", ""
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, name)
	if err != nil {
		return "", ""
	}
	firmware = unix.ByteSliceToString(info.Fw_version[:])
	if firmware == "N/A" {
		firmware = ""
	}
	return unix.ByteSliceToString(info.Driver[:]), firmware
}
