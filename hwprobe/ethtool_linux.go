package hwprobe

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// readEthtool asks the driver of one link over the ethtool generic netlink family and by the ethtool ioctl. It names
// the link by its index, and never asks for all links in one dump: the kernel ends such a dump at the first device that
// is not present, and one dead card would cost the answers of all the others.
//
// The questions are not left to the library mdlayher/ethtool, which returns the advertised modes without the supported
// ones and panics on modes younger than itself.
func readEthtool(ctx context.Context, l Link) (Ethtool, error) {
	e := driverInfo(l.Name)
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return e, fmt.Errorf("open generic netlink: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return e, fmt.Errorf("set deadline of generic netlink: %w", err)
		}
	}
	err = askDriver(conn, l.Index, &e)
	return e, err
}

// askDriver asks everything over one connection. After an error the connection is of no use any more.
func askDriver(conn *genetlink.Conn, index int, e *Ethtool) error {
	family, err := conn.GetFamily(unix.ETHTOOL_GENL_NAME)
	if errors.Is(err, unix.ENOENT) {
		return errors.New("this kernel has no ethtool over netlink")
	}
	if err != nil {
		return fmt.Errorf("look up ethtool: %w", cause(err))
	}
	return readModes(conn, family.ID, index, e)
}

// cause is the kernel's error number inside an error of the netlink library, which says nothing more than that.
func cause(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// driverInfo asks by ioctl for what netlink does not tell. It is empty if the driver has no answer.
func driverInfo(name string) Ethtool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Ethtool{}
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, name)
	if err != nil {
		return Ethtool{}
	}
	e := Ethtool{
		Driver:   unix.ByteSliceToString(info.Driver[:]),
		Firmware: unix.ByteSliceToString(info.Fw_version[:]),
	}
	if e.Firmware == "N/A" {
		e.Firmware = ""
	}
	return e
}

// readModes is ETHTOOL_MSG_LINKMODES_GET for one link. That the driver does not know the question is no error.
func readModes(conn *genetlink.Conn, family uint16, index int, e *Ethtool) error {
	data, err := ask(conn, family, unix.ETHTOOL_MSG_LINKMODES_GET, unix.ETHTOOL_A_LINKMODES_HEADER, index)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("link modes: %w", cause(err))
	}
	told := *e
	if err := parseModes(data, &told); err != nil {
		return fmt.Errorf("decode link modes: %w", err)
	}
	*e = told
	return nil
}

// ask sends one question about one link and returns the attributes of the answer.
func ask(conn *genetlink.Conn, family uint16, command uint8, header uint16, index int) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(header, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(unix.ETHTOOL_A_HEADER_DEV_INDEX, uint32(index))
		ae.Uint32(unix.ETHTOOL_A_HEADER_FLAGS, unix.ETHTOOL_FLAG_COMPACT_BITSETS)
		return nil
	})
	data, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	msgs, err := conn.Execute(genetlink.Message{
		Header: genetlink.Header{Command: command, Version: unix.ETHTOOL_GENL_VERSION},
		Data:   data,
	}, family, netlink.Request)
	if err != nil {
		return nil, err
	}
	if len(msgs) != 1 {
		return nil, fmt.Errorf("%d messages in the answer, expected 1", len(msgs))
	}
	return msgs[0].Data, nil
}

// parseModes decodes one ETHTOOL_MSG_LINKMODES_GET_REPLY.
func parseModes(b []byte, e *Ethtool) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.ETHTOOL_A_LINKMODES_OURS:
			// The value of this bit set are the advertised modes, its mask the supported ones.
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					if ad.Type() == unix.ETHTOOL_A_BITSET_MASK {
						e.SupportedMbps = modeSpeeds(ad.Bytes())
					}
				}
				return nil
			})
		case unix.ETHTOOL_A_LINKMODES_SPEED:
			// SPEED_UNKNOWN is all ones.
			if speed := int32(ad.Uint32()); speed > 0 {
				e.SpeedMbps = int(speed)
			}
		case unix.ETHTOOL_A_LINKMODES_DUPLEX:
			switch ad.Uint8() {
			case 0: // DUPLEX_HALF
				e.Duplex = "half"
			case 1: // DUPLEX_FULL
				e.Duplex = "full"
			}
		}
	}
	return ad.Err()
}
