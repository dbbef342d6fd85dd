package state

import (
	"net/netip"
	"slices"
	"time"

	"bondd.internal/config/bonding"
	"bondd.internal/hwprobe"
)

// A Snapshot is everything that bondd knows at one moment. It is never changed
// after it is published, and everything that shows something reads only it: a
// scrape cannot wait for the kernel, and a page cannot disagree with a metric.
type Snapshot struct {
	Version string
	Started time.Time
	Time    time.Time // when it was made
	Sampled time.Time // when the kernel's state and counters were read; zero: never yet
	// Published is when it could be read first, for Age alone; zero: at Time. It
	// has to have a monotonic reading, as time.Now gives it, or setting the wall
	// clock would change the age.
	Published time.Time

	Hardware hwprobe.Report
	Bonds    []Bond
	Config   ConfigStatus
	Events   []Event     // what changed, newest first, at most MaxEvents
	History  []*Failover // the flight recorder, newest first, at most MaxHistory; no Failover in it is ever changed
	Totals   Totals
}

// MaxEvents bounds Snapshot.Events.
const MaxEvents = 100

// Bond returns the bond of that name, or nil.
func (s *Snapshot) Bond(name string) *Bond {
	for i := range s.Bonds {
		if s.Bonds[i].Name == name {
			return &s.Bonds[i]
		}
	}
	return nil
}

// A Bond is one bond as configured and as it is. How it is by all of this, Up,
// Degraded and the others say.
type Bond struct {
	Name        string
	Mode        bonding.Mode
	MAC         MAC
	MTU         int
	Made        bool   // the kernel has it
	AdminUp     bool   // IFF_UP: it is set up
	Carrier     bool   // the driver has its carrier on
	ActiveSlave string // empty where none, or where the mode has none
	Addresses   []netip.Prefix
	Gateways    []netip.Addr
	Foreign     Foreign // what of the above, and beside it, belongs to other programs
	DHCP        string  // state of the DHCP client in words; empty where there is none
	Options     Options // as the kernel has them
	Slaves      []Slave // in the configured order of preference
	Counters    Counters

	PathPolicy string // "all" or "any" of the paths have to be up; empty where none is checked
	Chosen     string // the slave that an operator asked for and that is kept for it; empty: none
	LACP       *LACP  // set in mode 802.3ad

	Failovers        map[Reason]uint64 // since start, every reason present
	LastFailover     time.Time         // zero: none yet
	LastFailoverTook time.Duration     // carrier loss seen to switched; zero: not known
	FailoverDuration Histogram         // seconds, carrier loss seen to switched
}

// Foreign is what other programs have put on a bond. bondd leaves it alone.
type Foreign struct {
	Addresses []netip.Prefix
	Routes    []Route // of the main table
}

// Linked reports whether traffic can leave by some slave, wherever it gets to.
func (b *Bond) Linked() bool {
	return slices.ContainsFunc(b.Slaves, func(s Slave) bool { return s.Active && s.LinkUp })
}

// Configured is the number of slaves that the configuration asks for.
func (b *Bond) Configured() int { return len(b.Slaves) }

// A Slave is one configured slave of a bond, whether its NIC is there or not.
type Slave struct {
	Name         string // the NIC's name, or the configured reference while no NIC answers to it
	Present      bool   // the NIC is there
	Enslaved     bool   // and belongs to the bond
	LeftOut      string // why a NIC that is there was not enslaved; empty if it was
	LinkUp       bool
	Detached     bool   // its device no longer replies, although its interface is there
	PollErrors   uint64 // polls of its link state without a reply, since bondd's start
	PathUp       *bool  // by the bond's policy over Paths; nil: no path is checked, or nothing is known yet
	Paths        []Path // one for each target, in the configured order
	Parked       bool   // taken out of the bond until its path is back: the mode has no other way to spare a slave
	Quiet        bool   // parked and down: the switch sends to every port of a static group that has a link
	Active       bool   // it carries the traffic, or a share of it
	MIIStatus    MIIStatus
	Prio         int       // preference beside the configured order; higher is preferred
	Suppressed   bool      // held out by flap damping
	Penalty      float64   // of flap damping, now; 0 without damping
	ReuseAt      time.Time // when it is no longer held out if it does not fail again; zero: it is not held out
	FastLinkDown string    // whether the card tells of a lost link at once: "on", "not offered", or why not
	Lacks        []string  // sentences: what the bond relies on in it and it does not have
	Deaf         bool      // for lack of that it receives nothing for the bond
	LACP         *LACPPort // set in mode 802.3ad
	SpeedMbps    *int      // nil: unknown
	Duplex       string
	Driver       string
	PermanentMAC MAC
	LinkFailures uint64
	// ForwardingDelay is how long the switch port took from the link to the first
	// reply of a path, when the link last came; 0: not known.
	ForwardingDelay time.Duration
	SlowPort        bool // that was longer than an edge port takes

	CarrierChanges uint64
	Counters       Counters
}

// A PathState says what is known of the way from a slave to a target.
type PathState uint8

// The states of a path.
const (
	PathUnknown PathState = iota // not enough was heard yet, or the slave has no link
	PathUp                       // the last probe was answered
	PathMissing                  // the last probe was not, but not enough are missing yet
	PathDown
)

func (s PathState) String() string {
	return [...]string{"unknown", "up", "missing", "down"}[s]
}

// MarshalText writes the state's name.
func (s PathState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Path is the way from a slave to a target, as the probes found it.
type Path struct {
	Target netip.Addr `json:"target"`
	State  PathState  `json:"state"`
	// it has replied return_after times in a row since the link came, and is not dead
	Proven   bool          `json:"proven"`
	RTT      time.Duration `json:"rtt_ns"` // of the last answer; 0: there was none yet
	Answered uint64        `json:"answered"`
	Missed   uint64        `json:"missed"` // probes without an answer in time
	Failed   uint64        `json:"failed"` // probes that could not be sent
}

// ConfigStatus says which configuration runs and how well.
type ConfigStatus struct {
	Source       string    // a file's path, or "built-in default"
	Error        string    // why the file that should run does not; empty if it does
	Warnings     []string  // what is in the file and hardly means what was wanted
	Applied      bool      // it was applied and read back at least once
	TOML         string    // the running configuration
	ConfirmUntil time.Time // zero: nothing awaits confirmation
	Drift        []string  // what the kernel has that differs from the configuration
	Rollbacks    uint64
}

// Totals count what bondd itself does, since its start.
type Totals struct {
	Polls         uint64
	PollDuration  Histogram // seconds
	Disagreements uint64    // a poll found another link state than the events had told
	Writes        uint64    // write requests sent to the kernel, refused ones included
	Resyncs       uint64    // a full re-read after lost or undecodable events
}

// A Reason says why traffic moved to another slave.
type Reason string

// The reasons, as the metric bondd_failovers_total labels them.
const (
	ReasonLink    Reason = "link"    // the active slave lost its link
	ReasonPath    Reason = "path"    // the active slave's path is dead
	ReasonAdmin   Reason = "admin"   // an operator asked for it
	ReasonKernel  Reason = "kernel"  // the bonding driver did it by itself
	ReasonPrimary Reason = "primary" // the primary is back
)

// Reasons lists every Reason.
var Reasons = []Reason{ReasonLink, ReasonPath, ReasonAdmin, ReasonKernel, ReasonPrimary}

// MaxHistory bounds Snapshot.History.
const MaxHistory = 1000

// A Failover is one entry of the flight recorder: traffic that moved from one
// slave to another, or off a slave where a mode shares it out. Times that are
// not known are zero and left out.
type Failover struct {
	Seq    uint64 `json:"seq"` // counts up over restarts of bondd
	Bond   string `json:"bond"`
	From   string `json:"from"`         // empty: there was no active slave
	To     string `json:"to,omitempty"` // empty where traffic is shared out over the slaves that are left
	Reason Reason `json:"reason"`
	Cause  string `json:"cause"` // in a sentence

	// FoundBy is what noticed that it was needed, at most FoundWithin after it was;
	// empty and 0 where nothing had to be noticed, or that is not known.
	FoundBy     Watch         `json:"found_by,omitempty"`
	FoundWithin time.Duration `json:"found_within_ns,omitempty"`

	CarrierLost time.Time `json:"carrier_lost,omitzero"` // by the kernel's stamp, where the card's driver logs it
	EventRead   time.Time `json:"event_read,omitzero"`   // what led to it was seen
	Decided     time.Time `json:"decided,omitzero"`      // the write was begun
	Written     time.Time `json:"written,omitzero"`      // the write has returned
	Agreed      time.Time `json:"agreed,omitzero"`       // the kernel was seen to have the same view
	FirstPacket time.Time `json:"first_packet,omitzero"` // received on the new slave, by the kernel's stamp

	Before []SlaveView `json:"before"` // the slaves when it was decided
	After  []SlaveView `json:"after"`  // when the kernel agreed
}

// A Watch is one of the ways in which bondd learns of a failure.
type Watch string

// The watches.
const (
	WatchEvent Watch = "event" // the kernel's message, at once
	WatchPoll  Watch = "poll"  // ethtool, asked every miimon
	WatchPath  Watch = "path"  // probes that had no reply
)

// Time is when traffic moved, as far as it is known.
func (s *Failover) Time() time.Time {
	for _, t := range []time.Time{s.Written, s.Agreed, s.EventRead} {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// A SlaveView is a slave in an entry of the flight recorder.
type SlaveView struct {
	Name       string    `json:"name"`
	Active     bool      `json:"active"`
	LinkUp     bool      `json:"link_up"`
	PathUp     *bool     `json:"path_up"` // null: no path is checked
	Suppressed bool      `json:"suppressed"`
	MIIStatus  MIIStatus `json:"mii_status"`
}

// An Event is one change that a person would want to know of.
type Event struct {
	Time  time.Time `json:"time"`
	Bond  string    `json:"bond,omitempty"`
	Slave string    `json:"slave,omitempty"`
	// Kind is one of "failover", "link", "path", "damping", "lacp", "hardware",
	// "config", "address", "bond".
	Kind string `json:"kind"`
	// Good says whether the change is for the better, so that a page may colour it.
	Good    bool   `json:"good"`
	Message string `json:"message"`
}

// A Histogram counts observations in cumulative buckets, as Prometheus has them.
type Histogram struct {
	Bounds []float64 // upper bounds, rising; shared and never changed
	Counts []uint64  // observations at most Bounds[i]
	Count  uint64
	Sum    float64
}

// NewHistogram returns an empty histogram with these upper bounds.
func NewHistogram(bounds ...float64) Histogram {
	return Histogram{Bounds: bounds, Counts: make([]uint64, len(bounds))}
}

// Observe counts one value.
func (h *Histogram) Observe(v float64) {
	for i := len(h.Bounds) - 1; i >= 0 && v <= h.Bounds[i]; i-- {
		h.Counts[i]++
	}
	h.Count++
	h.Sum += v
}

// Clone returns a copy that shares nothing that changes.
func (h Histogram) Clone() Histogram {
	h.Counts = append([]uint64(nil), h.Counts...)
	return h
}

// A Refusal says why an operator's command was not carried out.
type Refusal struct {
	Unknown bool   // it names a bond or a slave that is not configured
	Why     string // one sentence, with what would be right
}

func (r *Refusal) Error() string { return r.Why }
