package status

import (
	"net/netip"
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/hwprobe"
)

// A Status is the document that /api/v1/status serves. No list in it is null.
type Status struct {
	Version       string         `json:"version"`
	UptimeSeconds int64          `json:"uptime_seconds"`
	Time          time.Time      `json:"time"` // when the state was read
	OK            bool           `json:"ok"`   // as /healthz has it
	FirstError    string         `json:"first_error"`
	Hardware      hwprobe.Report `json:"hardware"`
	Bonds         []Bond         `json:"bonds"`
	Config        Config         `json:"config"`
	Events        []state.Event  `json:"events"` // newest first
}

// A Bond is one bond as configured and as it is.
type Bond struct {
	Name        string         `json:"name"`
	Mode        string         `json:"mode"` // the kernel's name of the mode
	Up          bool           `json:"up"`   // it carries traffic
	MAC         state.MAC      `json:"mac"`
	MTU         int            `json:"mtu"` // bytes
	Addresses   []netip.Prefix `json:"addresses"`
	Gateways    []netip.Addr   `json:"gateways"`
	DHCP        string         `json:"dhcp"`         // state of the DHCP client in words; empty where there is none
	ActiveSlave string         `json:"active_slave"` // empty where none, or where the mode has none
	Degraded    bool           `json:"degraded"`     // fewer usable slaves than configured
	Problem     string         `json:"problem"`      // why it is not up, or degraded; empty if neither
	Options     state.Options  `json:"options"`      // as the kernel has them
	Slaves      []Slave        `json:"slaves"`       // in the configured order of preference
	Counters    state.Counters `json:"counters"`

	Failovers           map[state.Reason]uint64 `json:"failovers"`             // switches since bondd's start, by reason
	LastFailover        *time.Time              `json:"last_failover"`         // null: none yet
	LastFailoverSeconds *float64                `json:"last_failover_seconds"` // carrier loss seen to switched; null: not known
}

// A Slave is one configured slave, whether its NIC is there or not.
type Slave struct {
	Name           string         `json:"name"`
	Present        bool           `json:"present"`
	Enslaved       bool           `json:"enslaved"`
	LeftOut        string         `json:"left_out"` // why a NIC that is there was not enslaved; empty if it was
	LinkUp         bool           `json:"link_up"`
	PathUp         *bool          `json:"path_up"` // null: no path is checked
	State          string         `json:"state"`   // "active" or "backup"
	MIIStatus      string         `json:"mii_status"`
	Suppressed     bool           `json:"suppressed"` // held out by flap damping
	SpeedMbps      *int           `json:"speed_mbps"` // null: unknown
	Duplex         string         `json:"duplex"`
	Driver         string         `json:"driver"`
	PermanentMAC   state.MAC      `json:"permanent_mac"`
	LinkFailures   uint64         `json:"link_failures"`
	CarrierChanges uint64         `json:"carrier_changes"`
	Counters       state.Counters `json:"counters"`
}

// Config says which configuration runs and how well.
type Config struct {
	Source       string     `json:"source"` // a file's path, or "built-in default"
	Error        string     `json:"error"`  // why the file that should run does not; empty if it does
	Applied      bool       `json:"applied"`
	ConfirmUntil *time.Time `json:"confirm_until"` // null: nothing awaits confirmation
	Drift        []string   `json:"drift"`         // what the kernel has that differs from the configuration
}

// From says what is in a snapshot. The result shares the snapshot's lists and
// must be left unchanged like it.
func From(s *state.Snapshot) *Status {
	st := &Status{
		Version:       s.Version,
		UptimeSeconds: int64(s.Time.Sub(s.Started).Seconds()),
		Time:          s.Time,
		FirstError:    s.FirstError(),
		Hardware:      s.Hardware,
		Bonds:         make([]Bond, 0, len(s.Bonds)),
		Config: Config{
			Source:       s.Config.Source,
			Error:        s.Config.Error,
			Applied:      s.Config.Applied,
			ConfirmUntil: timeOrNil(s.Config.ConfirmUntil),
			Drift:        orEmpty(s.Config.Drift),
		},
		Events: orEmpty(s.Events),
	}
	st.OK = st.FirstError == ""
	st.Hardware.Findings = orEmpty(st.Hardware.Findings)
	st.Hardware.NICs = orEmpty(st.Hardware.NICs)
	st.Hardware.Members = orEmpty(st.Hardware.Members)
	for i := range s.Bonds {
		st.Bonds = append(st.Bonds, fromBond(&s.Bonds[i]))
	}
	return st
}

func fromBond(b *state.Bond) Bond {
	bond := Bond{
		Name:         b.Name,
		Mode:         b.Mode,
		Up:           b.Up,
		MAC:          b.MAC,
		MTU:          b.MTU,
		Addresses:    orEmpty(b.Addresses),
		Gateways:     orEmpty(b.Gateways),
		DHCP:         b.DHCP,
		ActiveSlave:  b.ActiveSlave,
		Degraded:     b.Degraded,
		Problem:      b.Problem,
		Options:      b.Options,
		Slaves:       make([]Slave, 0, len(b.Slaves)),
		Counters:     b.Counters,
		Failovers:    b.Failovers,
		LastFailover: timeOrNil(b.LastFailover),
	}
	if b.LastFailoverTook > 0 {
		took := b.LastFailoverTook.Seconds()
		bond.LastFailoverSeconds = &took
	}
	for i := range b.Slaves {
		s := &b.Slaves[i]
		bond.Slaves = append(bond.Slaves, Slave{
			Name:           s.Name,
			Present:        s.Present,
			Enslaved:       s.Enslaved,
			LeftOut:        s.LeftOut,
			LinkUp:         s.LinkUp,
			PathUp:         s.PathUp,
			State:          s.State(),
			MIIStatus:      s.MIIStatus.String(),
			Suppressed:     s.Suppressed,
			SpeedMbps:      s.SpeedMbps,
			Duplex:         s.Duplex,
			Driver:         s.Driver,
			PermanentMAC:   s.PermanentMAC,
			LinkFailures:   s.LinkFailures,
			CarrierChanges: s.CarrierChanges,
			Counters:       s.Counters,
		})
	}
	return bond
}

// Settled is the status without what changes all the time by itself: the clock
// and the counters of traffic. Two snapshots differ in it only if something
// happened that a person would want to see.
func (st *Status) Settled() *Status {
	settled := *st
	settled.UptimeSeconds, settled.Time = 0, time.Time{}
	settled.Bonds = make([]Bond, len(st.Bonds))
	for i, b := range st.Bonds {
		b.Counters = state.Counters{}
		slaves := make([]Slave, len(b.Slaves))
		for j, s := range b.Slaves {
			s.Counters = state.Counters{}
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
