package state

import "time"

// A LinkReply is what ethtool says of one link.
type LinkReply uint8

// The replies.
const (
	// NotAsked: it was not asked this time, because its device takes long, or did
	// not reply lately. What it said last stands.
	NotAsked LinkReply = iota
	// Unknown: its driver does not tell. Its carrier alone counts.
	Unknown
	// SaysUp and SaysDown are the driver's own words.
	SaysUp
	SaysDown
	// NoDevice: there is no such interface, or its driver has lost the device
	// beneath it.
	NoDevice
	// Failed: the request failed, see LinkState.Err.
	Failed
)

func (r LinkReply) String() string {
	if int(r) < len(linkReplyNames) {
		return linkReplyNames[r]
	}
	return "undefined"
}

var linkReplyNames = [...]string{"not asked", "unknown", "up", "down", "no device", "failed"}

// A LinkState is what ethtool says of one link (ETHTOOL_MSG_LINKSTATE_GET,
// Documentation/networking/ethtool-netlink.rst).
type LinkState struct {
	Index int // of the interface
	Reply LinkReply
	Err   error     // why it Failed or there is NoDevice; else nil
	Asked time.Time // when the request was sent
}
