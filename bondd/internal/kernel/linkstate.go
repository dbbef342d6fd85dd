package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// linkStateRequestSize is the size of one request: two headers, and inside the
// attribute of the request's header that of the interface's index.
const linkStateRequestSize = unix.SizeofNlMsghdr + unix.GENL_HDRLEN + unix.SizeofNlAttr + unix.SizeofNlAttr + 4

// appendLinkStateRequest appends the request for one link. It is not
// acknowledged: there is one reply to it, or one error.
func appendLinkStateRequest(b []byte, family uint16, seq uint32, index int) []byte {
	ne := binary.NativeEndian
	b = ne.AppendUint32(b, linkStateRequestSize)
	b = ne.AppendUint16(b, family)
	b = ne.AppendUint16(b, unix.NLM_F_REQUEST)
	b = ne.AppendUint32(b, seq)
	b = ne.AppendUint32(b, 0) // the kernel knows who asks
	b = append(b, unix.ETHTOOL_MSG_LINKSTATE_GET, unix.ETHTOOL_GENL_VERSION, 0, 0)
	b = ne.AppendUint16(b, unix.SizeofNlAttr+unix.SizeofNlAttr+4)
	b = ne.AppendUint16(b, unix.ETHTOOL_A_LINKSTATE_HEADER|unix.NLA_F_NESTED)
	b = ne.AppendUint16(b, unix.SizeofNlAttr+4)
	b = ne.AppendUint16(b, unix.ETHTOOL_A_HEADER_DEV_INDEX)
	return ne.AppendUint32(b, uint32(index))
}

// A linkStateReply is one message that answers such a request.
type linkStateReply struct {
	seq    uint32 // of the request
	index  int    // of the interface; 0 in an error
	answer state.LinkReply
	err    error
}

// errReply: what came back cannot be decoded.
var errReply = errors.New("the reply is malformed")

// nextLinkState splits the first message off a datagram. ok is false for a
// message that answers nothing.
func nextLinkState(b []byte, family uint16) (r linkStateReply, ok bool, rest []byte, err error) {
	if len(b) < unix.SizeofNlMsghdr {
		return r, false, nil, errReply
	}
	size := int(binary.NativeEndian.Uint32(b))
	kind := binary.NativeEndian.Uint16(b[4:])
	if size < unix.SizeofNlMsghdr || size > len(b) {
		return r, false, nil, errReply
	}
	r.seq = binary.NativeEndian.Uint32(b[8:])
	body, rest := b[unix.SizeofNlMsghdr:size], b[min((size+3)&^3, len(b)):]
	switch {
	case kind == unix.NLMSG_ERROR:
		if len(body) < 4 {
			return r, false, nil, errReply
		}
		errno := -int32(binary.NativeEndian.Uint32(body))
		if errno <= 0 {
			return r, false, rest, nil
		}
		r.answer, r.err = replyOf(unix.Errno(errno))
		return r, true, rest, nil
	case kind == family && len(body) >= unix.GENL_HDRLEN && body[0] == unix.ETHTOOL_MSG_LINKSTATE_GET_REPLY:
		if !r.read(body[unix.GENL_HDRLEN:]) {
			return r, false, nil, errReply
		}
		return r, true, rest, nil
	}
	return r, false, rest, nil
}

// replyOf says what an error means. The kernel's own words for a device that
// is not present are ENODEV (ethnl_ops_begin, net/ethtool/netlink.c); ENXIO is
// what drivers say of one that does not respond.
func replyOf(errno unix.Errno) (state.LinkReply, error) {
	switch errno {
	case unix.EOPNOTSUPP:
		return state.Unknown, nil
	case unix.ENODEV, unix.ENXIO:
		return state.NoDevice, errno
	}
	return state.Failed, errno
}

// read takes what matters from the attributes of a reply. It reports whether
// they could be walked to their end. A driver that does not tell has no
// attribute for its link (linkstate_fill_reply, net/ethtool/linkstate.c).
func (r *linkStateReply) read(b []byte) bool {
	r.answer = state.Unknown
	for len(b) > 0 {
		kind, value, rest := attribute(b)
		if rest == nil {
			return false
		}
		switch kind {
		case unix.ETHTOOL_A_LINKSTATE_HEADER:
			r.index = number(inside(value, unix.ETHTOOL_A_HEADER_DEV_INDEX))
		case unix.ETHTOOL_A_LINKSTATE_LINK:
			if len(value) != 1 {
				return false
			}
			r.answer = state.SaysDown
			if value[0] != 0 {
				r.answer = state.SaysUp
			}
		}
		b = rest
	}
	return r.index != 0
}

// take puts a reply into the list of what was asked, the first request of
// which had this number. It reports whether the reply was awaited.
func take(links []state.LinkState, first uint32, r *linkStateReply) (bool, error) {
	i := r.seq - first
	if uint64(i) >= uint64(len(links)) || links[i].Reply != state.NotAsked {
		return false, nil // it answers a request that was given up
	}
	if r.index != 0 && r.index != links[i].Index {
		return false, fmt.Errorf("%w: it is about interface %d, asked was %d", errReply, r.index, links[i].Index)
	}
	links[i].Reply, links[i].Err = r.answer, r.err
	return true, nil
}

// takeAll takes every reply in a datagram, and returns how many were awaited.
func takeAll(links []state.LinkState, first uint32, b []byte, family uint16) (taken int, err error) {
	for len(b) > 0 {
		r, ok, rest, err := nextLinkState(b, family)
		if err != nil {
			return taken, err
		}
		b = rest
		if !ok {
			continue
		}
		awaited, err := take(links, first, &r)
		if err != nil {
			return taken, err
		}
		if awaited {
			taken++
		}
	}
	return taken, nil
}
