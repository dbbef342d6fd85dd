package hwprobe

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nltest"
	"golang.org/x/sys/unix"
)

// linkMessage encodes an RTM_NEWLINK message.
func linkMessage(t *testing.T, hwType uint16, index, flags uint32, attrs func(*netlink.AttributeEncoder)) netlink.Message {
	t.Helper()
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint16(b[2:], hwType)
	binary.NativeEndian.PutUint32(b[4:], index)
	binary.NativeEndian.PutUint32(b[8:], flags)
	ae := netlink.NewAttributeEncoder()
	attrs(ae)
	data, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWLINK, Flags: netlink.Multi}, Data: append(b, data...)}
}

// multipart answers the request as a dump does: the messages, then one that ends it.
func multipart(req []netlink.Message, msgs ...netlink.Message) []netlink.Message {
	msgs = append(msgs, netlink.Message{Header: netlink.Header{Type: netlink.Done}, Data: make([]byte, 4)})
	for i := range msgs {
		h := &msgs[i].Header
		h.Flags |= netlink.Multi
		h.Sequence, h.PID = req[0].Header.Sequence, req[0].Header.PID
	}
	return msgs
}

func linkInfo(ae *netlink.AttributeEncoder, kind, slaveKind string, permanent []byte) {
	ae.Nested(unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) error {
		if kind != "" {
			ae.String(unix.IFLA_INFO_KIND, kind)
		}
		if slaveKind != "" {
			ae.String(unix.IFLA_INFO_SLAVE_KIND, slaveKind)
			ae.Nested(unix.IFLA_INFO_SLAVE_DATA, func(ae *netlink.AttributeEncoder) error {
				ae.Bytes(unix.IFLA_BOND_SLAVE_PERM_HWADDR, permanent)
				return nil
			})
		}
		return nil
	})
}

func TestDumpLinks(t *testing.T) {
	msgs := []netlink.Message{
		linkMessage(t, unix.ARPHRD_LOOPBACK, 1, unix.IFF_UP, func(ae *netlink.AttributeEncoder) { ae.String(unix.IFLA_IFNAME, "lo") }),
		linkMessage(t, unix.ARPHRD_ETHER, 2, unix.IFF_UP, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.IFLA_IFNAME, "eth0")
			ae.Bytes(unix.IFLA_ADDRESS, mac(9))
			ae.Bytes(unix.IFLA_PERM_ADDRESS, mac(2))
			ae.Uint32(unix.IFLA_MASTER, 7)
			ae.Uint8(unix.IFLA_CARRIER, 1)
			ae.Uint32(unix.IFLA_CARRIER_DOWN_COUNT, 3)
			ae.Nested(unix.IFLA_PROP_LIST, func(ae *netlink.AttributeEncoder) error {
				ae.String(unix.IFLA_ALT_IFNAME, "enp3s0")
				ae.String(unix.IFLA_ALT_IFNAME, "left")
				return nil
			})
			ae.String(unix.IFLA_PARENT_DEV_NAME, "0000:03:00.0")
			ae.String(unix.IFLA_PARENT_DEV_BUS_NAME, "pci")
			linkInfo(ae, "", "bond", mac(3))
		}),
		linkMessage(t, unix.ARPHRD_ETHER, 3, unix.IFF_UP, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.IFLA_IFNAME, "veth1")
			ae.Bytes(unix.IFLA_ADDRESS, mac(9))
			ae.Uint32(unix.IFLA_MASTER, 7)
			ae.Uint8(unix.IFLA_CARRIER, 0)
			linkInfo(ae, "veth", "bond", mac(3))
		}),
		linkMessage(t, unix.ARPHRD_ETHER, 4, 0, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.IFLA_IFNAME, "veth2")
			ae.Bytes(unix.IFLA_ADDRESS, mac(4))
			ae.Uint8(unix.IFLA_CARRIER, 0)
			linkInfo(ae, "veth", "bridge", mac(8)) // another kind of slave: other attributes
		}),
	}
	dumps := 0
	conn := nltest.Dial(nltest.CheckRequest([]netlink.HeaderType{unix.RTM_GETLINK}, []netlink.HeaderFlags{netlink.Request | netlink.Dump},
		func(req []netlink.Message) ([]netlink.Message, error) {
			dumps++
			answer := slices.Clone(msgs)
			if dumps == 1 { // the first dump misses a link and says so
				answer = answer[1:]
				answer[0].Header.Flags |= netlink.DumpInterrupted
			}
			return multipart(req, answer...), nil
		}))
	defer conn.Close()
	got, err := dumpLinks(conn)
	if err != nil {
		t.Fatal(err)
	}
	want := []Link{
		{Index: 1, Name: "lo", Up: true},
		{Index: 2, Name: "eth0", Ethernet: true, Up: true, Enslaved: true, Address: mac(9), Permanent: mac(2), Carrier: ptr(true),
			LinkLosses: ptr(3), AltNames: []string{"enp3s0", "left"}, ParentBus: "pci", Parent: "0000:03:00.0"},
		{Index: 3, Name: "veth1", Ethernet: true, Up: true, Kind: "veth", Enslaved: true, Address: mac(9), Permanent: mac(3),
			Carrier: ptr(false)},
		{Index: 4, Name: "veth2", Ethernet: true, Kind: "veth", Address: mac(4)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	if dumps != 2 {
		t.Errorf("%d dumps, want 2: one interrupted, one whole", dumps)
	}
}

func TestDumpLinksGivesUp(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func([]netlink.Message) ([]netlink.Message, error)
		want   string
	}{
		{"when every dump is interrupted", func(req []netlink.Message) ([]netlink.Message, error) {
			m := linkMessage(t, unix.ARPHRD_ETHER, 2, 0, func(ae *netlink.AttributeEncoder) { ae.String(unix.IFLA_IFNAME, "eth0") })
			m.Header.Flags |= netlink.DumpInterrupted
			return multipart(req, m), nil
		}, "dump links: the links change faster than they can be read"},
		{"when the kernel refuses", func(req []netlink.Message) ([]netlink.Message, error) {
			return nltest.Error(int(unix.EPERM), req)
		}, "operation not permitted"},
		{"on a torn message", func(req []netlink.Message) ([]netlink.Message, error) {
			return multipart(req, netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWLINK}, Data: make([]byte, 8)}), nil
		}, "decode link: message of 8 bytes is shorter than its header"},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn := nltest.Dial(test.answer)
			defer conn.Close()
			if _, err := dumpLinks(conn); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %q in it", err, test.want)
			}
		})
	}
}

func FuzzParseLink(f *testing.F) {
	f.Add(make([]byte, unix.SizeofIfInfomsg))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseLink(b) })
}
