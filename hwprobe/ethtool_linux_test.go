package hwprobe

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/genetlink/genltest"
	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nlenc"
	"github.com/mdlayher/netlink/nltest"
	"golang.org/x/sys/unix"
)

var ethtoolFamily = genetlink.Family{ID: 21, Version: unix.ETHTOOL_GENL_VERSION, Name: unix.ETHTOOL_GENL_NAME}

// modesMessage encodes an ETHTOOL_MSG_LINKMODES_GET_REPLY.
func modesMessage(t *testing.T, index, speed uint32, duplex uint8, supported []byte) genetlink.Message {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	ae.Nested(unix.ETHTOOL_A_LINKMODES_HEADER, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(unix.ETHTOOL_A_HEADER_DEV_INDEX, index)
		return nil
	})
	ae.Nested(unix.ETHTOOL_A_LINKMODES_OURS, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(unix.ETHTOOL_A_BITSET_SIZE, uint32(len(supported)*8))
		ae.Bytes(unix.ETHTOOL_A_BITSET_VALUE, make([]byte, len(supported))) // nothing is advertised
		ae.Bytes(unix.ETHTOOL_A_BITSET_MASK, supported)
		return nil
	})
	ae.Uint32(unix.ETHTOOL_A_LINKMODES_SPEED, speed)
	ae.Uint8(unix.ETHTOOL_A_LINKMODES_DUPLEX, duplex)
	data, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return genetlink.Message{Data: data}
}

// TestAskDriver asks three links in turn, of which the second has fallen off its bus.
func TestAskDriver(t *testing.T) {
	answers := map[uint32]genetlink.Message{
		2: modesMessage(t, 2, 1000, 1, bitSet(unix.ETHTOOL_LINK_MODE_1000baseT_Full_BIT,
			unix.ETHTOOL_LINK_MODE_10baseT_Half_BIT, unix.ETHTOOL_LINK_MODE_Autoneg_BIT)),
		4: modesMessage(t, 4, 4294967295, 0xff, nil),
		5: modesMessage(t, 5, 10, 0, bitSet(400)),
	}
	var index uint32
	conn := genltest.Dial(genltest.ServeFamily(ethtoolFamily, genltest.CheckRequest(
		ethtoolFamily.ID, unix.ETHTOOL_MSG_LINKMODES_GET, netlink.Request,
		func(req genetlink.Message, _ netlink.Message) ([]genetlink.Message, error) {
			// A nested header that names the link and asks for compact bit sets: without the flag the kernel answers bit by bit.
			want := nltest.MustMarshalAttributes([]netlink.Attribute{{
				Type: unix.ETHTOOL_A_LINKMODES_HEADER | unix.NLA_F_NESTED,
				Data: nltest.MustMarshalAttributes([]netlink.Attribute{
					{Type: unix.ETHTOOL_A_HEADER_DEV_INDEX, Data: nlenc.Uint32Bytes(index)},
					{Type: unix.ETHTOOL_A_HEADER_FLAGS, Data: nlenc.Uint32Bytes(unix.ETHTOOL_FLAG_COMPACT_BITSETS)},
				}),
			}})
			if diff := cmp.Diff(want, req.Data); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			answer, ok := answers[index]
			if !ok {
				return nil, genltest.Error(int(unix.ENODEV))
			}
			return []genetlink.Message{answer}, nil
		})))
	defer conn.Close()
	for _, test := range []struct {
		index uint32
		want  Ethtool
		err   string
	}{
		{2, Ethtool{SpeedMbps: 1000, Duplex: "full", SupportedMbps: []int{10, 1000}}, ""},
		{3, Ethtool{}, "link modes: no such device"},
		{4, Ethtool{}, ""},
		{5, Ethtool{SpeedMbps: 10, Duplex: "half"}, ""},
	} {
		index = test.index
		var got Ethtool
		err := askDriver(conn, int(index), &got)
		if text := errorText(err); text != test.err {
			t.Errorf("link %d: error = %q, want %q", index, text, test.err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("link %d (-want +got):\n%s", index, diff)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAskDriverReportsErrors(t *testing.T) {
	torn := genetlink.Message{Data: []byte{8, 0, unix.ETHTOOL_A_LINKMODES_SPEED, 0, 1}}
	for _, test := range []struct {
		name   string
		answer []genetlink.Message
		err    error
		want   string
	}{
		{"a driver without modes", nil, genltest.Error(int(unix.EOPNOTSUPP)), ""},
		{"no permission", nil, genltest.Error(int(unix.EPERM)), "link modes: operation not permitted"},
		{"a torn answer", []genetlink.Message{torn}, nil, "decode link modes: "},
		{"two answers", []genetlink.Message{{}, {}}, nil, "link modes: 2 messages in the answer, expected 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := func(genetlink.Message, netlink.Message) ([]genetlink.Message, error) { return test.answer, test.err }
			conn := genltest.Dial(genltest.ServeFamily(ethtoolFamily, answer))
			defer conn.Close()
			var e Ethtool
			err := askDriver(conn, 2, &e)
			if text := errorText(err); !strings.HasPrefix(text, test.want) || (test.want == "") != (err == nil) {
				t.Errorf("error = %v, want %q", err, test.want)
			}
			if diff := cmp.Diff(Ethtool{}, e); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("a kernel without ethtool over netlink", func(t *testing.T) {
		conn := genltest.Dial(func(genetlink.Message, netlink.Message) ([]genetlink.Message, error) {
			return nil, genltest.Error(int(unix.ENOENT))
		})
		defer conn.Close()
		if err := askDriver(conn, 2, new(Ethtool)); errorText(err) != "this kernel has no ethtool over netlink" {
			t.Errorf("error = %v", err)
		}
	})
}

func FuzzParseModes(f *testing.F) {
	f.Add([]byte{8, 0, unix.ETHTOOL_A_LINKMODES_SPEED, 0, 1, 2, 3, 4})
	f.Fuzz(func(_ *testing.T, b []byte) { _ = parseModes(b, new(Ethtool)) })
}
