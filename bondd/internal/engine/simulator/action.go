package simulator

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bondd.internal/bondd/internal/engine/core"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config/bonding"
)

// An Action is one line of a script: what happens to the world from outside, how
// much time passes, or what is expected.
//
//	cable eth0 out|in            the cable
//	path eth0 dead|alive [2]     what is behind the switch port, or the way to one target
//	oneway eth0 in|out|none      what is lost: all that comes to the card, or all that it sends
//	lacp eth0 agrees|silent|other  what the switch port does: it has no LACP, or is another switch's
//	target dead|alive [2]        the targets themselves, or one of them
//	card eth0 gone|back          the card
//	device eth0 dead|alive       the card's device does not reply; its carrier stays
//	loss eth0 20                 replies lost, in percent
//	failover eth1                an operator's order
//	kernel active eth1           another program sets the active slave
//	restart                      bondd is killed and started again
//	config mode balance-rr       what the configuration has from the next restart on,
//	config members eth1 eth0     likewise primary and reselect; none: not set
//	inventory fails|works        hwprobe
//	reads fail|work              reading the kernel's state
//	refuse 2                     the kernel refuses the next writes
//	wait 2s
//	expect active eth1
//	expect failovers 2 [reason]  in the ledger since the beginning
//	expect requests 0            since the last expect requests
//	expect slaves eth0 eth1      that are in the bond
//	expect ledger                the flight recorder has what the driver did
//	expect link eth0 down|up     at the switch
//	expect usable eth0           the slaves that bondd calls usable
//	expect penalty eth0 1        of flap damping, rounded
//	expect answer done           to the last order
type Action string

// Do carries one action out.
func (w *World) Do(a Action) error {
	f := strings.Fields(string(a))
	if len(f) == 0 || strings.HasPrefix(f[0], "#") {
		return nil
	}
	arg := func(i int) string {
		if i < len(f) {
			return f[i]
		}
		return ""
	}
	card := func() *nic {
		for _, n := range w.nics {
			if n.name == arg(1) {
				return n
			}
		}
		return &nic{}
	}
	if f[0] != "wait" && f[0] != "expect" {
		w.check.happened()
	}
	switch f[0] {
	case "cable":
		n := card()
		n.cable = arg(2) == "in"
		switch lag := w.setup.Lag; {
		case n.present && n.up && !n.cable && lag > 0:
			w.at(lag, func() {
				if n.up && !n.cable {
					w.setCarrier(n, false)
				}
			})
		case n.present && n.up:
			w.setCarrier(n, n.cable)
		case !n.up:
			n.carrier = false
		}
	case "path":
		if dead := arg(2) == "dead"; arg(3) == "" {
			card().dead = dead
		} else {
			card().deadTo[w.targetOf(arg(3))] = dead
		}
	case "oneway":
		if card().oneWay = arg(2); arg(2) == "none" {
			card().oneWay = ""
		}
	case "device":
		if n := card(); n.present {
			n.crashed = arg(2) == "dead"
		}
	case "lacp":
		card().lacp = arg(2)
	case "target":
		if dead := arg(1) == "dead"; arg(2) == "" {
			w.silent = [2]bool{dead, dead}
		} else {
			w.silent[w.targetOf(arg(2))] = dead
		}
	case "loss":
		card().lost, _ = strconv.Atoi(arg(2))
	case "card":
		w.card(card(), arg(2) == "back")
	case "failover":
		w.orderID++
		w.step(core.Order{ID: w.orderID, Bond: "bond0", To: arg(1)})
	case "kernel":
		w.check.byOther = true
		_ = w.driver.setActive(w.byName(arg(2))) // or it is refused, as by the driver
		w.check.byOther = false
		w.check.disturbedFor(50 * time.Millisecond) // until the driver is held, if it has to be
	case "restart":
		snapshot := w.snapshot()
		w.history = snapshot.History
		mode := w.setup.Mode
		w.start()
		if w.setup.Mode != mode { // the bond is emptied and filled again
			w.check.lossy = true
			w.check.disturbedFor(10 * time.Second)
		}
	case "config":
		return w.config(f[1:])
	case "inventory":
		w.inventory = nil
		if arg(1) == "fails" {
			w.inventory = errors.New("no such device")
		} else if w.driver.mode().SharesTraffic() {
			w.check.disturbedFor(35 * time.Second) // until it is tried again
		}
	case "reads":
		w.unread = nil
		if arg(1) == "fail" {
			w.unread = errors.New("timed out")
			w.check.lossy = true
		}
		w.check.disturbedFor(3 * time.Second)
	case "refuse":
		w.refuse, _ = strconv.Atoi(arg(1))
	case "wait":
		d, err := time.ParseDuration(arg(1))
		if err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
		if w.unread != nil {
			w.check.disturbedFor(d + 3*time.Second)
		}
		return w.Run(d)
	case "expect":
		return w.expect(f[1:])
	default:
		return fmt.Errorf("%q is not an action", a)
	}
	return w.check.err
}

// targetOf is the index of a target, by its number.
func (w *World) targetOf(number string) int {
	if number == "2" {
		return 1
	}
	return 0
}

// config changes the configuration that bondd starts with the next time.
func (w *World) config(f []string) error {
	if len(f) < 2 {
		return fmt.Errorf("config %s: not something to configure", strings.Join(f, " "))
	}
	value := f[1]
	if value == "none" {
		value = ""
	}
	var err error
	switch f[0] {
	case "mode":
		w.next.Mode, err = bonding.ParseMode(value)
	case "members":
		w.next.Members = f[1:]
	case "primary":
		w.next.Primary = value
	case "reselect":
		w.next.Reselect = value
	default:
		err = fmt.Errorf("config %s: not something to configure", f[0])
	}
	return err
}

// card takes a card out of the machine, or puts it back.
func (w *World) card(n *nic, back bool) {
	if n.present == back {
		return
	}
	if !back {
		if n.master {
			_ = w.driver.release(n)
		}
		n.up, n.carrier, n.noARP, n.ipv6 = false, false, false, true
		n.present, n.crashed = false, false
		delete(w.check.trusted, n.index)
		delete(w.check.dead, n.index)
		w.event(n)
		return
	}
	n.present, n.prio, n.failures, n.mac = true, 0, 0, ownMAC(n.index)
	n.mii = state.MIIDown
	w.event(n)
}

// expect compares the world with what a script expects.
func (w *World) expect(f []string) error {
	arg := func(i int) string {
		if i < len(f) {
			return f[i]
		}
		return ""
	}
	snapshot := w.snapshot()
	b := &snapshot.Bonds[0]
	var got, want string
	switch arg(0) {
	case "active":
		want = arg(1)
		if got = "none"; w.driver.active != nil {
			got = w.driver.active.name
		}
		if b.ActiveSlave != got && !(got == "none" && b.ActiveSlave == "") {
			return fmt.Errorf("the driver's active slave is %s, bondd says %q", got, b.ActiveSlave)
		}
	case "failovers":
		want = arg(1)
		n := 0
		for _, s := range snapshot.History {
			if arg(2) == "" || string(s.Reason) == arg(2) {
				n++
			}
		}
		got = strconv.Itoa(n)
	case "slaves":
		want = strings.Join(f[1:], " ")
		for _, n := range w.nics {
			if n.master {
				got += " " + n.name
			}
		}
		got = strings.TrimSpace(got)
	case "usable":
		want = strings.Join(f[1:], " ")
		for i := range b.Slaves {
			if b.Condition(&b.Slaves[i]).Usable() {
				got += " " + b.Slaves[i].Name
			}
		}
		got = strings.TrimSpace(got)
	case "link":
		want = arg(2)
		if got = "down"; w.byName(arg(1)) != nil && w.byName(arg(1)).carrier {
			got = "up"
		}
	case "forwards": // at least, at most; 0s: not known
		least, err := time.ParseDuration(arg(2))
		if err != nil {
			return fmt.Errorf("expect %s: %w", strings.Join(f, " "), err)
		}
		most, err := time.ParseDuration(arg(3))
		if err != nil {
			return fmt.Errorf("expect %s: %w", strings.Join(f, " "), err)
		}
		want = fmt.Sprintf("%v to %v", least, most)
		for i := range b.Slaves {
			if d := b.Slaves[i].ForwardingDelay; b.Slaves[i].Name != arg(1) {
				continue
			} else if got = want; d < least || d > most {
				got = d.String()
			}
		}
	case "penalty":
		want = arg(2)
		for i := range b.Slaves {
			if b.Slaves[i].Name == arg(1) {
				got = strconv.Itoa(int(b.Slaves[i].Penalty + 0.5))
			}
		}
	case "answer":
		want = strings.Join(f[1:], " ")
		if err, ok := w.answers[w.orderID]; !ok {
			got = "none yet"
		} else if got = "done"; err != nil {
			got = err.Error()
		}
	case "ledger":
		if err := w.Run(5 * time.Second); err != nil {
			return err
		}
		return w.CheckLedger()
	case "option":
		got, want = w.driver.options[arg(1)], arg(2)
	default:
		return fmt.Errorf("expect %s: not something to expect", strings.Join(f, " "))
	}
	if got != want {
		return fmt.Errorf("%s is %s, want %s; history %s; world %s", arg(0), got, want, historyOf(snapshot), w.describe())
	}
	return nil
}

func historyOf(s *state.Snapshot) string {
	text := ""
	for i := len(s.History) - 1; i >= 0; i-- {
		h := s.History[i]
		text += fmt.Sprintf("[%s->%s %s]", h.From, h.To, h.Reason)
	}
	return text
}
