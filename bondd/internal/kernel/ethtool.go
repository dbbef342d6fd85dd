package kernel

import (
	"context"
	"fmt"
	"time"

	"github.com/mdlayher/ethtool"
)

// pollTimeout bounds one poll: whoever holds the RTNL lock delays it.
const pollTimeout = 2 * time.Second

// A Poller asks ethtool for the link state of every link.
type Poller struct {
	client *ethtool.Client // nil: to be dialled
}

// Close ends the socket.
func (p *Poller) Close() {
	if p.client != nil {
		p.client.Close()
		p.client = nil
	}
}

// Poll fills up with what each link's driver says of it now: interface index to
// "has link". A driver that cannot tell is indistinguishable from one that has
// no link (ETHTOOL_A_LINKSTATE_LINK is absent, the library reads false), so a
// "no link" of an interface that never said "link" means nothing.
func (p *Poller) Poll(ctx context.Context, up map[int]bool) error {
	if p.client == nil {
		c, err := ethtool.New()
		if err != nil {
			return fmt.Errorf("dial ethtool: %w", err)
		}
		p.client = c
	}
	// The library takes neither context nor deadline: closing its socket is
	// what ends a call that waits too long.
	c := p.client
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	states, err := c.LinkStates()
	if !stop() || err != nil {
		p.Close()
	}
	if err != nil {
		return fmt.Errorf("poll link states: %w", err)
	}
	clear(up)
	for _, s := range states {
		up[s.Interface.Index] = s.Link
	}
	return nil
}
