package kernel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// vlanFilter is the name of NETIF_F_HW_VLAN_CTAG_FILTER (net/ethtool/common.c).
const vlanFilter = "rx-vlan-filter"

// open takes a bond up without VLAN 0. The kernel would give the bond that VLAN
// as it comes up, because it claims to filter VLANs (vlan_vid0_add,
// net/8021q/vlan.c), and the bond each of its slaves. A card that knows a VLAN
// makes every change of its carrier go through a table of 8,192, before anybody
// is told: a third of the time of a failover. Cards that filter VLANs themselves
// have their VLAN 0 all the same, and VLANs on the bond are told to its slaves
// as ever, for the filter is on again afterwards.
func (c *Client) open(ctx context.Context, bond string) error {
	// A kernel that cannot switch it off has nothing to lose but that time.
	off := c.setFeature(ctx, bond, vlanFilter, false)
	err := c.Do(ctx, state.SetUp{Link: bond, Up: true})
	if off == nil {
		err = errors.Join(err, c.setFeature(ctx, bond, vlanFilter, true))
	}
	return err
}

// setFeature switches a feature of a link on or off (ETHTOOL_MSG_FEATURES_SET,
// Documentation/networking/ethtool-netlink.rst).
func (c *Client) setFeature(ctx context.Context, link, feature string, on bool) error {
	fail := func(err error) error { return fmt.Errorf("set feature %s of %s to %t: %w", feature, link, on, err) }
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fail(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	family, err := conn.GetFamily(unix.ETHTOOL_GENL_NAME)
	if err != nil {
		return fail(err)
	}
	data, err := featureRequest(link, feature, on)
	if err != nil {
		return fail(err)
	}
	c.writes.Add(1)
	_, err = conn.Execute(genetlink.Message{
		Header: genetlink.Header{Command: unix.ETHTOOL_MSG_FEATURES_SET, Version: unix.ETHTOOL_GENL_VERSION},
		Data:   data,
	}, family.ID, netlink.Request|netlink.Acknowledge)
	if err != nil {
		return fail(err)
	}
	return nil
}

// featureRequest is the message that asks for one feature: a bit set with a mask
// of that bit alone, which is there without a value for "off".
func featureRequest(link, feature string, on bool) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(unix.ETHTOOL_A_FEATURES_HEADER, func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.ETHTOOL_A_HEADER_DEV_NAME, link)
		ae.Uint32(unix.ETHTOOL_A_HEADER_FLAGS, unix.ETHTOOL_FLAG_OMIT_REPLY)
		return nil
	})
	ae.Nested(unix.ETHTOOL_A_FEATURES_WANTED, func(ae *netlink.AttributeEncoder) error {
		ae.Nested(unix.ETHTOOL_A_BITSET_BITS, func(ae *netlink.AttributeEncoder) error {
			ae.Nested(unix.ETHTOOL_A_BITSET_BITS_BIT, func(ae *netlink.AttributeEncoder) error {
				ae.String(unix.ETHTOOL_A_BITSET_BIT_NAME, feature)
				ae.Flag(unix.ETHTOOL_A_BITSET_BIT_VALUE, on)
				return nil
			})
			return nil
		})
		return nil
	})
	return ae.Encode()
}
