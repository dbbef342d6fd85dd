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
// ones, knows no reason why a link is down, and panics on modes younger than itself.
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
		Version:  unix.ByteSliceToString(info.Version[:]),
		Firmware: unix.ByteSliceToString(info.Fw_version[:]),
	}
	if e.Firmware == "N/A" {
		e.Firmware = ""
	}
	return e
}

// questions are what a driver is asked, in this order. Each answer is decoded into an Ethtool.
var questions = []struct {
	name    string
	command uint8
	header  uint16
	parse   func([]byte, *Ethtool) error
}{
	{"link modes", unix.ETHTOOL_MSG_LINKMODES_GET, unix.ETHTOOL_A_LINKMODES_HEADER, parseModes},
	{"link state", unix.ETHTOOL_MSG_LINKSTATE_GET, unix.ETHTOOL_A_LINKSTATE_HEADER, parseState},
	{"EEE", unix.ETHTOOL_MSG_EEE_GET, unix.ETHTOOL_A_EEE_HEADER, parseEEE},
	{"wake-on-LAN", unix.ETHTOOL_MSG_WOL_GET, unix.ETHTOOL_A_WOL_HEADER, parseWake},
}

// askDriver asks everything over one connection. A question that the driver does not know is no error; one that it does
// not answer is noted, and the next one is asked. It ends with an error where no further answer can be expected.
func askDriver(conn *genetlink.Conn, index int, e *Ethtool) error {
	family, err := conn.GetFamily(unix.ETHTOOL_GENL_NAME)
	if errors.Is(err, unix.ENOENT) {
		return errors.New("this kernel has no ethtool over netlink")
	}
	if err != nil {
		return fmt.Errorf("look up ethtool: %w", cause(err))
	}
	for _, q := range questions {
		data, err := ask(conn, family.ID, q.command, q.header, index)
		switch {
		case errors.Is(err, unix.EOPNOTSUPP):
			continue
		case errors.Is(err, unix.ENODEV):
			return ErrDetached
		case errors.Is(err, unix.EPERM):
			e.Unread = append(e.Unread, q.name+": only root may ask")
			continue
		case err != nil && isErrno(err):
			e.Unread = append(e.Unread, q.name+": "+cause(err).Error())
			continue
		case err != nil:
			return fmt.Errorf("%s: %w", q.name, err) // the connection is of no use any more
		}
		told := *e
		if err := q.parse(data, &told); err != nil {
			e.Unread = append(e.Unread, q.name+": decode the answer: "+err.Error())
			continue
		}
		*e = told
	}
	return nil
}

// isErrno says whether the kernel itself has answered with an error, and not the connection failed.
func isErrno(err error) bool {
	var errno unix.Errno
	var op *netlink.OpError
	return errors.As(err, &errno) && (!errors.As(err, &op) || !op.Timeout())
}

// cause is the kernel's error number inside an error of the netlink library, which says nothing more than that.
func cause(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// ask sends one question about one link and returns the attributes of the answer. Bit sets are answered bit by bit and
// with names.
func ask(conn *genetlink.Conn, family uint16, command uint8, header uint16, index int) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(header, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(unix.ETHTOOL_A_HEADER_DEV_INDEX, uint32(index))
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
		case unix.ETHTOOL_A_LINKMODES_AUTONEG:
			on := ad.Uint8() == 1 // AUTONEG_ENABLE
			e.Autoneg = &on
		case unix.ETHTOOL_A_LINKMODES_OURS:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				e.Supported, e.Advertised = parseBits(ad)
				return nil
			})
		case unix.ETHTOOL_A_LINKMODES_PEER:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				e.Partner, _ = parseBits(ad)
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

// parseBits decodes a bit set that is told bit by bit: the names of those that are listed, which are the mask, and of
// those that are on. In a set without a mask all that are listed are on.
func parseBits(ad *netlink.AttributeDecoder) (listed, on []string) {
	for ad.Next() {
		if ad.Type() != unix.ETHTOOL_A_BITSET_BITS {
			continue
		}
		ad.Nested(func(ad *netlink.AttributeDecoder) error {
			for ad.Next() {
				if ad.Type() != unix.ETHTOOL_A_BITSET_BITS_BIT {
					continue
				}
				ad.Nested(func(ad *netlink.AttributeDecoder) error {
					var name string
					var value bool
					for ad.Next() {
						switch ad.Type() {
						case unix.ETHTOOL_A_BITSET_BIT_NAME:
							name = ad.String()
						case unix.ETHTOOL_A_BITSET_BIT_VALUE:
							value = true
						}
					}
					if name == "" {
						return nil
					}
					listed = append(listed, name)
					if value {
						on = append(on, name)
					}
					return nil
				})
			}
			return nil
		})
	}
	return listed, on
}

// noLinkReasons are the words for enum ethtool_link_ext_state (include/uapi/linux/ethtool.h).
var noLinkReasons = []string{
	"autonegotiation failed", "link training failed", "the ends do not match", "bad signal", "no cable", "cable fault",
	"fault in the card's memory", "calibration failed", "power budget exceeded", "overheated", "module fault",
}

// parseState decodes one ETHTOOL_MSG_LINKSTATE_GET_REPLY.
func parseState(b []byte, e *Ethtool) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	reported := false // the kernel leaves the link out if the driver has no answer
	var quality, best *int
	for ad.Next() {
		switch ad.Type() {
		case unix.ETHTOOL_A_LINKSTATE_LINK:
			reported = true
		case unix.ETHTOOL_A_LINKSTATE_SQI:
			n := int(ad.Uint32())
			quality = &n
		case unix.ETHTOOL_A_LINKSTATE_SQI_MAX:
			n := int(ad.Uint32())
			best = &n
		case unix.ETHTOOL_A_LINKSTATE_EXT_STATE:
			if n := int(ad.Uint8()); n < len(noLinkReasons) {
				e.NoLink = noLinkReasons[n]
			}
		}
	}
	e.CarrierReported = &reported
	if quality != nil && best != nil {
		e.Signal = &Signal{Quality: *quality, Max: *best}
	}
	return ad.Err()
}

// parseEEE decodes one ETHTOOL_MSG_EEE_GET_REPLY.
func parseEEE(b []byte, e *Ethtool) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	var eee EEE
	for ad.Next() {
		switch ad.Type() {
		case unix.ETHTOOL_A_EEE_ENABLED:
			eee.Enabled = ad.Uint8() != 0
		case unix.ETHTOOL_A_EEE_ACTIVE:
			eee.Active = ad.Uint8() != 0
		}
	}
	e.EEE = &eee
	return ad.Err()
}

// parseWake decodes one ETHTOOL_MSG_WOL_GET_REPLY. It holds a password too, which is left where it is.
func parseWake(b []byte, e *Ethtool) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	for ad.Next() {
		if ad.Type() == unix.ETHTOOL_A_WOL_MODES {
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				_, e.WakeOn = parseBits(ad)
				return nil
			})
		}
	}
	return ad.Err()
}
