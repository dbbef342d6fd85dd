package bench

import (
	"fmt"
	"strings"
	"time"
)

// parts split the time from the first lost packet to the next that arrives at
// the stations that the kernel's trace has. Their sum is the gap.
type parts struct {
	Closing  time.Duration `json:"port_closing_ns"`
	Held     time.Duration `json:"pull_holds_rtnl_ns"`
	Told     time.Duration `json:"event_delivered_ns"`
	Own      time.Duration `json:"own_ns"`
	RTNL     time.Duration `json:"rtnl_wait_ns"`
	Switched time.Duration `json:"switched_ns"`
	Arrived  time.Duration `json:"packet_arrived_ns"`
}

// A stage is one of the parts, as the report shows it.
type stage struct {
	title string
	note  string // what it is, in a sentence
	of    func(*parts) *time.Duration
}

var own = stage{"message → the contender begins to write",
	"the contender's own: the scheduler's way to it, and what it does before it writes.",
	func(p *parts) *time.Duration { return &p.Own }}

var stages = []stage{
	{"packet due → carrier lost",
		"the test's: the closing port drops packets for a while before the card is told, and a pull falls between two packets; negative if it falls late.",
		func(p *parts) *time.Duration { return &p.Closing }},
	{"carrier lost → the pull lets go of the RTNL lock",
		"the test's: the system call that closes the port goes on under that lock, without which the kernel tells nobody. No real cable does that.",
		func(p *parts) *time.Duration { return &p.Held }},
	{"→ the kernel's message is delivered",
		"the kernel's: its worker for link events gets the processor, waits until nobody sends by the card, asks all that have to do with it, and tells.",
		func(p *parts) *time.Duration { return &p.Told }},
	own,
	{"its writes wait for the RTNL lock",
		"the kernel's: the worker holds the lock until it is done with the event.",
		func(p *parts) *time.Duration { return &p.RTNL }},
	{"write → the driver has switched, waits left out",
		"the kernel's and, where it takes several writes, the contender's.",
		func(p *parts) *time.Duration { return &p.Switched }},
	{"→ the next packet arrives",
		"the stream's: half an interval on average until the next packet is sent.",
		func(p *parts) *time.Duration { return &p.Arrived }},
}

// split finds the parts of a failover that a program made. due is when the
// first lost packet was, arrived when the next one did. There are none if
// the loss was found before the kernel told it, whose worker may have to wait
// for the processor: bondd asks, too, and the kernel's monitor beneath it.
func split(passages []passage, program string, p pull, due, arrived time.Time) (*parts, error) {
	first := func(station string, from time.Time, ok func(passage) bool) (passage, error) {
		for _, a := range passages {
			if a.station == station && !a.at.Before(from) && ok(a) {
				return a, nil
			}
		}
		return passage{}, fmt.Errorf("nothing was %s after %v", station, from)
	}
	lost, err := first(carrierLost, p.Began, func(passage) bool { return true })
	if err != nil {
		return nil, err
	}
	// The last one that the packet cannot have come before: teamd has the
	// driver let go of the old card first.
	var done passage
	for _, a := range passages {
		if a.station == switched && a.at.Before(arrived) && !a.at.Before(lost.at) {
			done = a
		}
	}
	if done.station == "" {
		return nil, fmt.Errorf("nothing was switched after %v", lost.at)
	}
	// Link events are told by a worker of the kernel, see net/core/link_watch.c.
	told, err := first(delivered, lost.at, func(a passage) bool { return strings.HasPrefix(a.program, "kworker/") })
	if err != nil {
		return nil, err
	}
	if done.program != program || done.at.Before(told.at) {
		return nil, nil
	}
	// Other threads of the program may write other things.
	wrote, err := first(written, told.at, func(a passage) bool { return a.thread == done.thread })
	if err != nil {
		return nil, err
	}
	if done.at.Before(wrote.at) {
		return nil, fmt.Errorf("%s began to write at %v, and switched at %v", program, wrote.at, done.at)
	}
	var waited time.Duration
	var began time.Time
	for _, a := range passages {
		if a.thread != done.thread || a.at.Before(wrote.at) || a.at.After(done.at) {
			continue
		}
		switch {
		case a.station == waitBegan && began.IsZero():
			began = a.at // one that spins first and sleeps then begins twice
		case a.station == waitEnded && !began.IsZero():
			waited += a.at.Sub(began)
			began = time.Time{}
		}
	}
	held := max(p.Ended.Sub(lost.at), 0)
	return &parts{
		Closing:  lost.at.Sub(due),
		Held:     held,
		Told:     told.at.Sub(lost.at) - held,
		Own:      wrote.at.Sub(told.at),
		RTNL:     waited,
		Switched: done.at.Sub(wrote.at) - waited,
		Arrived:  arrived.Sub(done.at),
	}, nil
}
