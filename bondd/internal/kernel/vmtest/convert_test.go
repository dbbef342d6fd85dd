package vmtest

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/reconcile"
	"bondd.internal/bondd/internal/state"
	"bondd.internal/config"
	"bondd.internal/config/bonding"
	"bondd.internal/image/lab/netlab"
)

var modes = []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}

// target is what the configuration with these lines asks for.
func target(t *testing.T, lines ...string) *reconcile.Target {
	t.Helper()
	file := append([]string{"[[bond]]", `name = "bond0"`, `slaves = ["eth0", "eth1"]`, `addresses = ["192.0.2.2/24", "2001:db8::2/64"]`,
		`gateways = ["192.0.2.1", "2001:db8::1"]`}, lines...)
	c, err := config.Parse("bondd.toml", []byte(strings.Join(file, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	b := c.Bonds[0]
	return &reconcile.Target{Bond: b, Slaves: []string{"eth0", "eth1"}, Primary: b.Options["primary"], Prio: b.Prio}
}

// plan is what is missing, as text.
func (h *host) plan(target *reconcile.Target) []state.Op {
	h.t.Helper()
	ops, err := reconcile.Plan(target, h.network(), time.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	return ops
}

// reach plans and executes until nothing is missing, twice at most: what one
// plan could not foresee is for the next.
func (h *host) reach(target *reconcile.Target) {
	h.t.Helper()
	for range 2 {
		before := h.network()
		ops := h.plan(target)
		if len(ops) == 0 {
			return
		}
		for _, f := range h.execute(ops, before, h.client.Do) {
			h.t.Error(f.Err)
		}
	}
	if ops := h.plan(target); len(ops) != 0 {
		h.t.Errorf("two plans do not suffice; still: %v", ops)
	}
}

func (h *host) execute(ops []state.Op, before *state.Network, do func(context.Context, state.Op) error) (failures []reconcile.Failure) {
	_ = h.lan.Host.Do(func() error {
		failures = reconcile.Execute(context.Background(), "bond0", ops, before, do)
		return nil
	})
	return failures
}

// From every mode to every other.
func TestConvert(t *testing.T) {
	special := map[string][]string{
		"balance-rr":    {`packets_per_slave = 3`},
		"active-backup": {`primary = "eth1"`, `fail_over_mac = "follow"`},
		"balance-xor":   {`arp_interval = "1s"`, `arp_ip_target = ["192.0.2.1"]`, `arp_validate = "all"`},
		"802.3ad":       {`lacp_rate = "fast"`, `ad_actor_sys_prio = 5`, `ad_select = "count"`, `updelay = "200ms"`},
		"balance-tlb":   {`tlb_dynamic_lb = false`, `primary = "eth1"`},
		"balance-alb":   {`tlb_dynamic_lb = false`},
	}
	h := newHost(t, 2)
	for _, from := range modes {
		for _, to := range modes {
			if from == to {
				continue
			}
			// From a bond with options of its own to a plain one, and on to one with options.
			h.reach(target(t, append(special[from], fmt.Sprintf("mode = %q", from))...))
			for _, lines := range [][]string{nil, special[to]} {
				goal := target(t, append(lines, fmt.Sprintf("mode = %q", to))...)
				h.reach(goal)
				h.check(goal)
				if t.Failed() {
					t.Fatalf("from %s to %s with %q", from, to, lines)
				}
			}
		}
	}
}

// check checks that everything is as asked.
func (h *host) check(goal *reconcile.Target) {
	h.t.Helper()
	n := h.network()
	bond := n.Link("bond0")
	for name, want := range goal.Bond.Options {
		if name == "fail_over_mac" && goal.Bond.Mode() != bonding.ActiveBackup {
			continue
		}
		if got := bond.Bond.Options[name]; got != want {
			h.t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"eth0", "eth1"} {
		if l := n.Link(name); l.Master != bond.Index || !l.Up {
			h.t.Errorf("%s is %+v", name, l)
		}
	}
	for _, want := range []string{"192.0.2.2/24", "2001:db8::2/64"} {
		if !strings.Contains(h.lan.Host.IP("-o addr show dev bond0"), " "+want+" ") {
			h.t.Errorf("bond0 lacks %s", want)
		}
	}
	for _, family := range []string{"-4", "-6"} {
		if got := h.lan.Host.IP(family + " route show default dev bond0"); strings.Count(got, "\n") != 1 {
			h.t.Errorf("the default route is %q", got)
		}
	}
}

// What the driver takes only from a bond that is down or empty costs the routes
// and addresses that others gave it nothing.
func TestDownAndEmpty(t *testing.T) {
	h := newHost(t, 2)
	h.reach(target(t, `mode = "802.3ad"`))
	h.lan.Host.IP("route add 203.0.113.0/24 via 192.0.2.7 dev bond0 metric 7")
	goal := target(t, `mode = "802.3ad"`, `lacp_rate = "fast"`)
	h.reach(goal)
	h.check(goal)
	if got := h.lan.Host.IP("route show 203.0.113.0/24"); !strings.Contains(got, "via 192.0.2.7 dev bond0 metric 7") {
		t.Errorf("the route of somebody else is %q", got)
	}
	h.reach(target(t))
	for _, fom := range []string{"follow", "active", "none"} {
		goal := target(t, fmt.Sprintf("fail_over_mac = %q", fom))
		h.reach(goal)
		h.check(goal)
		// The last slave took the bond's address with it.
		if got, want := h.link("bond0").MAC, (state.MAC{2}); got != want {
			t.Errorf("with fail_over_mac %s the MAC is %v, want %v", fom, got, want)
		}
	}
	h.reach(target(t, `fail_over_mac = "follow"`))
	goal = target(t, `fail_over_mac = "follow"`, `mac = "02:00:5e:10:00:09"`)
	h.reach(goal)
	if got := h.link("bond0"); got.MAC.String() != "02:00:5e:10:00:09" {
		t.Errorf("bond0 has MAC %v", got.MAC)
	}
}

// A conversion that fails leaves the bond as it was, and it carries traffic.
func TestConvertUndo(t *testing.T) {
	for i, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			h := newHost(t, 2)
			lines := []string{fmt.Sprintf("mode = %q", mode), `mac = "02:00:5e:10:00:01"`}
			if mode == "balance-tlb" {
				lines = append(lines, `primary = "eth1"`, "[[bond.slave]]", `name = "eth1"`, `prio = 4`)
			}
			have := target(t, lines...)
			h.reach(have)
			ops := h.plan(target(t, fmt.Sprintf("mode = %q", modes[(i+1)%len(modes)])))
			refused := false
			failures := h.execute(ops, h.network(), func(ctx context.Context, op state.Op) error {
				if o, ok := op.(state.SetOption); ok && o.Option == "mode" {
					refused = true
					return unix.EBUSY
				}
				return h.client.Do(ctx, op)
			})
			if len(failures) != 1 || !refused {
				t.Errorf("failures: %v; want the one of the mode", failures)
			}
			if left := h.plan(have); len(left) != 0 {
				t.Errorf("afterwards the bond is not as it was; missing is %v", left)
			}
			h.eventually("answer of the peer", func() bool {
				stream := netlab.StartStream(t, netlab.StreamConfig{From: h.lan.Host, To: h.lan.Peer, Interval: time.Millisecond,
					Dest: netip.AddrPortFrom(netlab.PeerAddress.Addr(), 9000)})
				time.Sleep(20 * time.Millisecond)
				r := stream.Stop()
				return r.Sent > 0 && r.LostAtEnd == 0
			})
		})
	}
}
