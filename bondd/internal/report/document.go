package report

import (
	"net/netip"
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/config/bonding"
	"bondd.internal/hwprobe"
)

// A Status is the document that /api/v1/status serves. No list in it is null.
type Status struct {
	Version       string    `json:"version"`
	UptimeSeconds int64     `json:"uptime_seconds"`
	Time          time.Time `json:"time"` // when the state was read
	OK            bool      `json:"ok"`   // as /healthz has it
	FirstError    string    `json:"first_error"`

	// SnapshotAgeSeconds is how long ago the engine published this. It does so
	// every second; over 5 seconds nothing in here is known any more.
	SnapshotAgeSeconds float64 `json:"snapshot_age_seconds"`

	Hardware  hwprobe.Report `json:"hardware"`
	Bonds     []Bond         `json:"bonds"`
	Config    Config         `json:"config"`
	Events    []state.Event  `json:"events"`    // newest first
	Failovers []Failover     `json:"failovers"` // the latest 5, newest first; /api/v1/history has all
}

// latestFailovers is how many failovers are in a Status.
const latestFailovers = 5

// A Bond is one bond as configured and as it is.
type Bond struct {
	Name      string         `json:"name"`
	Mode      bonding.Mode   `json:"mode"` // the kernel's name of the mode
	Up        bool           `json:"up"`   // it carries traffic
	MAC       state.MAC      `json:"mac"`
	MTU       int            `json:"mtu"` // bytes
	Addresses []netip.Prefix `json:"addresses"`
	Gateways  []netip.Addr   `json:"gateways"`
	// What of the addresses, and which routes, other programs have put on the
	// bond: bondd leaves them alone.
	ForeignAddresses []netip.Prefix `json:"foreign_addresses"`
	ForeignRoutes    []Route        `json:"foreign_routes"`

	DHCP        string `json:"dhcp"`         // state of the DHCP client in words; empty where there is none
	ActiveSlave string `json:"active_slave"` // empty where none, or where the mode has none
	// fewer usable slaves than configured, or a redundancy that is not there
	Degraded bool           `json:"degraded"`
	Problem  string         `json:"problem"` // why it is not up, or degraded; empty if neither
	Options  state.Options  `json:"options"` // as the kernel has them
	Slaves   []Slave        `json:"slaves"`  // in the configured order of preference
	Counters state.Counters `json:"counters"`

	PathPolicy string `json:"path_policy"` // "all" or "any" of the paths have to be up; empty where none is checked
	// the slave that an operator asked for and that is kept for it; empty: none
	Chosen string      `json:"chosen"`
	LACP   *state.LACP `json:"lacp"` // null in other modes than 802.3ad

	Failovers    map[state.Reason]uint64 `json:"failovers"`     // failovers since bondd's start, by reason
	LastFailover *time.Time              `json:"last_failover"` // null: none yet
	// carrier loss seen to switched; null: not known
	LastFailoverSeconds *float64 `json:"last_failover_seconds"`
}

// A Route is a route of the kernel's main table.
type Route struct {
	To       netip.Prefix `json:"to"`
	Via      *netip.Addr  `json:"via"` // null: none, the destination is on the link
	Metric   int          `json:"metric"`
	Protocol int          `json:"protocol"` // who made it, a number that ip route shows by its name
}

// A Slave is one configured slave, whether its NIC is there or not. How it is, its
// condition, its word, its level and its sentence say; the rest are the facts.
type Slave struct {
	Name      string `json:"name"`
	Condition string `json:"condition"` // as state.Condition has it: "no-link"
	Word      string `json:"word"`      // the same in two words or three, as a person would put it
	Level     Level  `json:"level"`     // how much it needs a person's attention: "good", "notice" or "problem"
	Sentence  string `json:"sentence"`  // the same in a sentence, without a full stop
	Usable    bool   `json:"usable"`    // it could carry traffic now

	Present    bool    `json:"present"`
	Enslaved   bool    `json:"enslaved"`
	LeftOut    string  `json:"left_out"` // why a NIC that is there was not enslaved; empty if it was
	LinkUp     bool    `json:"link_up"`
	Detached   bool    `json:"detached"` // its device no longer replies, although its interface is there
	PathUp     *bool   `json:"path_up"`  // null: no path is checked
	State      *string `json:"state"`    // in the kernel's words, "active" or "backup"; null: it is not enslaved
	MIIStatus  string  `json:"mii_status"`
	Suppressed bool    `json:"suppressed"` // held out by flap damping
	SpeedMbps  *int    `json:"speed_mbps"` // null: unknown
	Duplex     string  `json:"duplex"`
	// ForwardingDelaySeconds is how long the switch port took from the link to the
	// first reply of a path, when the link last came; null: not known.
	ForwardingDelaySeconds *float64       `json:"forwarding_delay_seconds"`
	SlowPort               bool           `json:"slow_port"` // that was longer than an edge port takes
	Driver                 string         `json:"driver"`
	PermanentMAC           state.MAC      `json:"permanent_mac"`
	LinkFailures           uint64         `json:"link_failures"`
	CarrierChanges         uint64         `json:"carrier_changes"`
	Counters               state.Counters `json:"counters"`

	Prio  int    `json:"prio"`  // preference beside the configured order; higher is preferred
	Paths []Path `json:"paths"` // one for each target, in the configured order
	// parked and down, so that a switch with a static group sends nothing to it
	Quiet bool `json:"quiet"`
	// out of the bond until its path is back: the mode has no other way to spare it
	Parked  bool    `json:"parked"`
	Penalty float64 `json:"penalty"` // of flap damping; 0 without damping
	// when it is no longer held out if it does not fail again; null: it is not held out
	ReuseAt        *time.Time `json:"reuse_at"`
	ReuseInSeconds *float64   `json:"reuse_in_seconds"` // from Status.Time to then
	Lacks          []string   `json:"lacks"`            // sentences: what the bond relies on in it and it does not have
	Deaf           bool       `json:"deaf"`             // for lack of that it receives nothing for the bond
	// whether the card tells of a lost link at once: "on", "not offered", or why not
	FastLinkDown string    `json:"fast_link_down"`
	LACP         *LACPPort `json:"lacp"` // null in other modes than 802.3ad
}

// A Path is the way from a slave to a target, as the probes found it.
type Path struct {
	Target netip.Addr `json:"target"`
	// "unknown", "up", "missing" (unanswered, but not often enough yet) or "down"
	State      string   `json:"state"`
	RTTSeconds *float64 `json:"rtt_seconds"` // of the last answer; null: there was none yet
	Answered   uint64   `json:"answered"`    // probes
	Missed     uint64   `json:"missed"`      // probes without an answer in time
	Failed     uint64   `json:"failed"`      // probes that could not be sent
}

// Config says which configuration runs and how well.
type Config struct {
	Source       string     `json:"source"`   // a file's path, or "built-in default"
	Error        string     `json:"error"`    // why the file that should run does not; empty if it does
	Warnings     []string   `json:"warnings"` // what is in the file and hardly means what was wanted
	Applied      bool       `json:"applied"`
	ConfirmUntil *time.Time `json:"confirm_until"` // null: nothing awaits confirmation
	Drift        []string   `json:"drift"`         // what the kernel has that differs from the configuration
}

// At is From for a reader at the time now, by time.Now, to whom the snapshot may
// be too old.
func At(s *state.Snapshot, now time.Time) *Status {
	st := From(s)
	st.SnapshotAgeSeconds = s.Age(now).Seconds()
	st.FirstError = FirstErrorAt(s, now)
	st.OK = st.FirstError == ""
	return st
}

// From says what is in a snapshot, as if it was published just now. The result
// shares the snapshot's lists and must be left unchanged like it.
func From(s *state.Snapshot) *Status {
	st := &Status{
		Version:       s.Version,
		UptimeSeconds: int64(s.Time.Sub(s.Started).Seconds()),
		Time:          s.Time,
		FirstError:    FirstError(s),
		Hardware:      s.Hardware,
		Bonds:         make([]Bond, 0, len(s.Bonds)),
		Config: Config{
			Source:       s.Config.Source,
			Error:        s.Config.Error,
			Warnings:     orEmpty(s.Config.Warnings),
			Applied:      s.Config.Applied,
			ConfirmUntil: timeOrNil(s.Config.ConfirmUntil),
			Drift:        orEmpty(s.Config.Drift),
		},
		Events:    orEmpty(s.Events),
		Failovers: HistoryFrom(s, "", latestFailovers).Failovers,
	}
	st.OK = st.FirstError == ""
	st.Hardware.Findings = orEmpty(st.Hardware.Findings)
	st.Hardware.NICs = orEmpty(st.Hardware.NICs)
	st.Hardware.Members = orEmpty(st.Hardware.Members)
	for i := range s.Bonds {
		st.Bonds = append(st.Bonds, fromBond(s, &s.Bonds[i]))
	}
	return st
}

func fromBond(s *state.Snapshot, b *state.Bond) Bond {
	bond := Bond{
		Name:      b.Name,
		Mode:      b.Mode,
		Up:        b.Up(),
		MAC:       b.MAC,
		MTU:       b.MTU,
		Addresses: orEmpty(b.Addresses),
		Gateways:  orEmpty(b.Gateways),
		DHCP:      b.DHCP,

		ForeignAddresses: orEmpty(b.Foreign.Addresses),
		ForeignRoutes:    make([]Route, 0, len(b.Foreign.Routes)),

		ActiveSlave:  b.ActiveSlave,
		Degraded:     b.Degraded(),
		Problem:      BondProblem(s, b),
		Options:      b.Options,
		Slaves:       make([]Slave, 0, len(b.Slaves)),
		Counters:     b.Counters,
		PathPolicy:   b.PathPolicy,
		Chosen:       b.Chosen,
		LACP:         b.LACP,
		Failovers:    b.Failovers,
		LastFailover: timeOrNil(b.LastFailover),
	}
	if b.LastFailoverTook > 0 {
		took := b.LastFailoverTook.Seconds()
		bond.LastFailoverSeconds = &took
	}
	for _, r := range b.Foreign.Routes {
		route := Route{To: r.Dst, Metric: r.Metric, Protocol: r.Protocol}
		if r.Gateway.IsValid() {
			route.Via = &r.Gateway
		}
		bond.ForeignRoutes = append(bond.ForeignRoutes, route)
	}
	for i := range b.Slaves {
		bond.Slaves = append(bond.Slaves, fromSlave(b, &b.Slaves[i], s.Time))
	}
	return bond
}

func fromSlave(b *state.Bond, s *state.Slave, now time.Time) Slave {
	c := b.Condition(s)
	slave := Slave{
		Name:           s.Name,
		Condition:      c.String(),
		Word:           conditions[c].word,
		Level:          conditions[c].level,
		Sentence:       Sentence(b, s),
		Usable:         c.Usable(),
		Present:        s.Present,
		Enslaved:       s.Enslaved,
		LeftOut:        s.LeftOut,
		LinkUp:         s.LinkUp,
		Detached:       s.Detached,
		PathUp:         s.PathUp,
		State:          kernelState(s),
		MIIStatus:      s.MIIStatus.String(),
		Suppressed:     s.Suppressed,
		SpeedMbps:      s.SpeedMbps,
		Duplex:         s.Duplex,
		Driver:         s.Driver,
		PermanentMAC:   s.PermanentMAC,
		LinkFailures:   s.LinkFailures,
		CarrierChanges: s.CarrierChanges,
		Counters:       s.Counters,
		Prio:           s.Prio,
		Paths:          make([]Path, 0, len(s.Paths)),
		Parked:         s.Parked,
		Quiet:          s.Quiet,
		Penalty:        s.Penalty,
		ReuseAt:        timeOrNil(s.ReuseAt),
		Lacks:          orEmpty(s.Lacks),
		Deaf:           s.Deaf,
		FastLinkDown:   s.FastLinkDown,
		LACP:           fromLACP(b, s),
	}
	if s.ForwardingDelay > 0 {
		delay := s.ForwardingDelay.Seconds()
		slave.ForwardingDelaySeconds, slave.SlowPort = &delay, s.SlowPort
	}
	if !s.ReuseAt.IsZero() {
		left := max(0, s.ReuseAt.Sub(now).Seconds())
		slave.ReuseInSeconds = &left
	}
	for _, p := range s.Paths {
		path := Path{
			Target:   p.Target,
			State:    p.State.String(),
			Answered: p.Answered,
			Missed:   p.Missed,
			Failed:   p.Failed,
		}
		if p.RTT > 0 {
			rtt := p.RTT.Seconds()
			path.RTTSeconds = &rtt
		}
		slave.Paths = append(slave.Paths, path)
	}
	return slave
}

// kernelState is a slave's state in the kernel's words; nil: it is not enslaved.
func kernelState(s *state.Slave) *string {
	if !s.Enslaved {
		return nil
	}
	word := "backup"
	if s.Active {
		word = "active"
	}
	return &word
}

// Settled is the status without what changes all the time by itself: the clock,
// the age, the counters of traffic and of probes, and a penalty that decays. Two
// snapshots differ in it only if something happened that a person would want to
// see.
func (st *Status) Settled() *Status {
	settled := *st
	settled.UptimeSeconds, settled.Time = 0, time.Time{}
	if settled.SnapshotAgeSeconds = 0; st.Stale() {
		settled.FirstError = "" // says how old
	}
	settled.Bonds = make([]Bond, len(st.Bonds))
	for i, b := range st.Bonds {
		b.Counters = state.Counters{}
		slaves := make([]Slave, len(b.Slaves))
		for j, s := range b.Slaves {
			s.Counters = state.Counters{}
			s.Penalty, s.ReuseAt, s.ReuseInSeconds = 0, nil, nil
			paths := make([]Path, len(s.Paths))
			for k, p := range s.Paths {
				paths[k] = Path{Target: p.Target, State: p.State}
			}
			s.Paths = paths
			slaves[j] = s
		}
		b.Slaves = slaves
		settled.Bonds[i] = b
	}
	return &settled
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
