package hwprobe

import (
	"slices"
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

// encode is a message with these attributes.
func encode(t *testing.T, attrs func(*netlink.AttributeEncoder)) genetlink.Message {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	attrs(ae)
	data, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return genetlink.Message{Data: data}
}

// bits encodes a bit set bit by bit, as the kernel does. A name that ends with "*" is one of a bit that is on.
func bits(ae *netlink.AttributeEncoder, attribute uint16, names ...string) {
	ae.Nested(attribute, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(unix.ETHTOOL_A_BITSET_SIZE, 121)
		ae.Nested(unix.ETHTOOL_A_BITSET_BITS, func(ae *netlink.AttributeEncoder) error {
			for i, name := range names {
				ae.Nested(unix.ETHTOOL_A_BITSET_BITS_BIT, func(ae *netlink.AttributeEncoder) error {
					name, on := strings.CutSuffix(name, "*")
					ae.Uint32(unix.ETHTOOL_A_BITSET_BIT_INDEX, uint32(i))
					ae.String(unix.ETHTOOL_A_BITSET_BIT_NAME, name)
					ae.Flag(unix.ETHTOOL_A_BITSET_BIT_VALUE, on)
					return nil
				})
			}
			return nil
		})
		return nil
	})
}

// modesMessage is an ETHTOOL_MSG_LINKMODES_GET_REPLY.
func modesMessage(t *testing.T, speed uint32, duplex uint8, ours, peer []string) genetlink.Message {
	return encode(t, func(ae *netlink.AttributeEncoder) {
		ae.Uint8(unix.ETHTOOL_A_LINKMODES_AUTONEG, 1)
		bits(ae, unix.ETHTOOL_A_LINKMODES_OURS, ours...)
		if peer != nil {
			bits(ae, unix.ETHTOOL_A_LINKMODES_PEER, peer...)
		}
		ae.Uint32(unix.ETHTOOL_A_LINKMODES_SPEED, speed)
		ae.Uint8(unix.ETHTOOL_A_LINKMODES_DUPLEX, duplex)
	})
}

// driver answers the questions of askDriver; a command without an answer is one the driver does not know.
type driver map[uint8]genetlink.Message

// serve is a connection to a kernel with drivers, by index of their links. An index without a driver is of a device that
// has fallen off its bus.
func serve(t *testing.T, drivers map[uint32]driver, asked *[]uint8) *genetlink.Conn {
	t.Helper()
	headers := map[uint8]uint16{
		unix.ETHTOOL_MSG_LINKMODES_GET: unix.ETHTOOL_A_LINKMODES_HEADER,
		unix.ETHTOOL_MSG_LINKSTATE_GET: unix.ETHTOOL_A_LINKSTATE_HEADER,
		unix.ETHTOOL_MSG_EEE_GET:       unix.ETHTOOL_A_EEE_HEADER,
		unix.ETHTOOL_MSG_WOL_GET:       unix.ETHTOOL_A_WOL_HEADER,
	}
	conn := genltest.Dial(genltest.ServeFamily(ethtoolFamily,
		func(req genetlink.Message, nreq netlink.Message) ([]genetlink.Message, error) {
			*asked = append(*asked, req.Header.Command)
			if flags := nreq.Header.Flags; flags != netlink.Request {
				t.Errorf("question %d has flags %v, want a request that is no dump", req.Header.Command, flags)
			}
			for index, d := range drivers {
				want := nltest.MustMarshalAttributes([]netlink.Attribute{{
					Type: headers[req.Header.Command] | unix.NLA_F_NESTED,
					Data: nltest.MustMarshalAttributes([]netlink.Attribute{
						{Type: unix.ETHTOOL_A_HEADER_DEV_INDEX, Data: nlenc.Uint32Bytes(index)},
					}),
				}})
				if !slices.Equal(want, req.Data) {
					continue
				}
				answer, ok := d[req.Header.Command]
				if !ok {
					return nil, genltest.Error(int(unix.EOPNOTSUPP))
				}
				return []genetlink.Message{answer}, nil
			}
			return nil, genltest.Error(int(unix.ENODEV))
		}))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestAskDriver asks links in turn, of which the second has fallen off its bus.
func TestAskDriver(t *testing.T) {
	drivers := map[uint32]driver{
		2: {
			unix.ETHTOOL_MSG_LINKMODES_GET: modesMessage(t, 1000, 1,
				[]string{"10baseT/Half", "1000baseT/Full*", "2500baseT/Full*", "Autoneg*", "TP"},
				[]string{"1000baseT/Full", "Autoneg"}),
			unix.ETHTOOL_MSG_LINKSTATE_GET: encode(t, func(ae *netlink.AttributeEncoder) {
				ae.Uint8(unix.ETHTOOL_A_LINKSTATE_LINK, 1)
				ae.Uint32(unix.ETHTOOL_A_LINKSTATE_SQI, 5)
				ae.Uint32(unix.ETHTOOL_A_LINKSTATE_SQI_MAX, 7)
			}),
			unix.ETHTOOL_MSG_EEE_GET: encode(t, func(ae *netlink.AttributeEncoder) {
				ae.Uint8(unix.ETHTOOL_A_EEE_ACTIVE, 0)
				ae.Uint8(unix.ETHTOOL_A_EEE_ENABLED, 1)
			}),
			unix.ETHTOOL_MSG_WOL_GET: encode(t, func(ae *netlink.AttributeEncoder) {
				bits(ae, unix.ETHTOOL_A_WOL_MODES, "phy", "magic*")
				ae.Bytes(unix.ETHTOOL_A_WOL_SOPASS, []byte("secret"))
			}),
		},
		4: {
			unix.ETHTOOL_MSG_LINKMODES_GET: modesMessage(t, 4294967295, 0xff, nil, nil),
			unix.ETHTOOL_MSG_LINKSTATE_GET: encode(t, func(ae *netlink.AttributeEncoder) {
				ae.Uint8(unix.ETHTOOL_A_LINKSTATE_LINK, 0)
				ae.Uint8(unix.ETHTOOL_A_LINKSTATE_EXT_STATE, unix.ETHTOOL_LINK_EXT_STATE_NO_CABLE)
			}),
		},
		5: {
			unix.ETHTOOL_MSG_LINKSTATE_GET: encode(t, func(ae *netlink.AttributeEncoder) {
				ae.Uint8(unix.ETHTOOL_A_LINKSTATE_EXT_STATE, 200) // younger than the table
			}),
		},
	}
	yes, noCarrier := true, false
	for _, test := range []struct {
		name  string
		index int
		want  Ethtool
		err   error
	}{
		{"a driver that tells all", 2, Ethtool{
			SpeedMbps: 1000, Duplex: "full", Autoneg: &yes, CarrierReported: &yes,
			Supported:  []string{"10baseT/Half", "1000baseT/Full", "2500baseT/Full", "Autoneg", "TP"},
			Advertised: []string{"1000baseT/Full", "2500baseT/Full", "Autoneg"},
			Partner:    []string{"1000baseT/Full", "Autoneg"},
			Signal:     &Signal{Quality: 5, Max: 7}, EEE: &EEE{Enabled: true}, WakeOn: []string{"magic"},
		}, nil},
		{"a dead card", 3, Ethtool{}, ErrDetached},
		{"a card without a cable", 4, Ethtool{Autoneg: &yes, CarrierReported: &yes, NoLink: "no cable"}, nil},
		{"a driver that does not know its link", 5, Ethtool{CarrierReported: &noCarrier}, nil},
	} {
		var asked []uint8
		conn := serve(t, drivers, &asked)
		var got Ethtool
		if err := askDriver(conn, test.index, &got); err != test.err {
			t.Errorf("%s: error = %v, want %v", test.name, err, test.err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if test.err != nil && len(asked) != 1 {
			t.Errorf("%s was asked %d questions, want one", test.name, len(asked))
		}
	}
}

func TestAskDriverReportsErrors(t *testing.T) {
	torn := genetlink.Message{Data: []byte{8, 0, unix.ETHTOOL_A_LINKMODES_SPEED, 0, 1}}
	for _, test := range []struct {
		name   string
		answer []genetlink.Message
		err    error
		unread []string
		want   string
	}{
		{name: "a driver that knows nothing", err: genltest.Error(int(unix.EOPNOTSUPP))},
		{name: "no permission", err: genltest.Error(int(unix.EPERM)), unread: []string{
			"link modes: only root may ask", "link state: only root may ask", "EEE: only root may ask",
			"wake-on-LAN: only root may ask",
		}},
		{name: "a driver that is busy", err: genltest.Error(int(unix.EBUSY)), unread: []string{
			"link modes: device or resource busy", "link state: device or resource busy", "EEE: device or resource busy",
			"wake-on-LAN: device or resource busy",
		}},
		{name: "two answers", answer: []genetlink.Message{{}, {}}, want: "link modes: 2 messages in the answer, expected 1"},
		{name: "torn answers", answer: []genetlink.Message{torn}, unread: []string{
			"link modes: decode the answer: ", "link state: decode the answer: ", "EEE: decode the answer: ",
			"wake-on-LAN: decode the answer: ",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn := genltest.Dial(genltest.ServeFamily(ethtoolFamily,
				func(genetlink.Message, netlink.Message) ([]genetlink.Message, error) { return test.answer, test.err }))
			defer conn.Close()
			var e Ethtool
			err := askDriver(conn, 2, &e)
			if text := errorText(err); text != test.want {
				t.Errorf("error = %q, want %q", text, test.want)
			}
			for i, got := range e.Unread {
				if i >= len(test.unread) || !strings.HasPrefix(got, test.unread[i]) {
					t.Errorf("unread %q, want %q", e.Unread, test.unread)
					break
				}
			}
			if len(e.Unread) != len(test.unread) {
				t.Errorf("unread %q, want %q", e.Unread, test.unread)
			}
			if e.Unread = nil; !cmp.Equal(e, Ethtool{}) {
				t.Errorf("told %+v, want nothing", e)
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

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// FuzzAnswers feeds the decoders what no kernel sends.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte{8, 0, unix.ETHTOOL_A_LINKMODES_SPEED, 0, 1, 2, 3, 4})
	f.Fuzz(func(_ *testing.T, b []byte) {
		for _, q := range questions {
			_ = q.parse(b, new(Ethtool))
		}
	})
}
