package pathcheck

import (
	"context"
	"errors"
	"time"

	"bondd.internal/bondd/internal/state"
)

// A card is an interface to send probes by, and the MAC that they have. The bond
// itself is one with no MAC: what is sent by it has its own, and nothing is heard
// there that is not heard by a slave.
type card struct {
	index int
	mac   state.MAC
}

// A wire carries probes, and back what answers them. All methods but wake and
// run are for one goroutine; none but run and wait blocks.
type wire interface {
	// use says by which cards to send and receive from now on, and what the index
	// of the bond is to which they may hand on what they receive. It takes effect
	// later, which ends a wait.
	use(cards []card, bond int)
	// ready reports whether use has taken effect for a card, for better or worse.
	ready(c card) bool
	// send sends a frame by a card that is ready.
	send(c card, frame []byte) error
	// mac is the present MAC of a card that is ready.
	mac(c card) (state.MAC, error)
	// wait returns when frames have come in, when wake was called or a card
	// became ready, or at a time; zero: at no time.
	wait(until time.Time) error
	// receive hands over the frames that have come in, each with the card and
	// the time by the kernel's stamp. It reports whether wake was called or a
	// card became ready since the last time.
	receive(handle func(in card, frame []byte, at time.Time)) (woken bool)
	// wake ends a wait, the next one if there is none.
	wake()
	// run does what may have to wait for the kernel, until ctx ends, and wakes
	// then.
	run(ctx context.Context)
	// close frees what is held. It comes last.
	close()
}

// errNotReady: a card that is not in use, or not yet.
var errNotReady = errors.New("no socket is open on it")
