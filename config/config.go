package config

import (
	"net/netip"
	"time"

	"bondd.internal/config/bonding"
)

// A Config is a configuration that passed every check: what is in it can be
// applied as it stands.
type Config struct {
	Hardware Hardware
	HTTP     HTTP
	Bonds    []Bond
}

// Hardware says how fit the NICs of a bond have to be.
type Hardware struct {
	Policy string // "enforce", "warn" or "off"
	Match  string // "chipset" or "driver"
}

// HTTP says where the page, the metrics and the API are served.
type HTTP struct {
	Listen    string // host:port as net.Listen takes it
	WebConfig string // path of a Prometheus exporter-toolkit web configuration, or empty
}

// A Bond is one bond and what stands on it.
type Bond struct {
	Name string

	// Slaves are references to NICs in order of preference: a name, "mac:…" or
	// "pci:…". Empty with Auto: every NIC of the first matching group.
	Slaves []string
	Auto   bool

	// Options has every one of bonding.Settings that the kernel takes in the mode
	// and beside the link monitor, with the value that the file gives or else
	// the default, in the kernel's text form, see bonding.Kind.
	Options map[string]string

	MAC string // lower-case with colons; empty: the first slave's
	MTU int    // bytes; 0: leave it as it is

	Addresses []netip.Prefix // the host's address with its prefix length
	Broadcast netip.Addr     // of the first IPv4 address; invalid: the usual one
	DHCP4     bool           // beside the static addresses, if there are any
	Gateways  []netip.Addr   // on a network of Addresses, but for IPv4 with DHCP4 and for fe80::/10
	DNS       []netip.Addr

	Prio map[string]int // preference beside the order of Slaves, by reference; higher is preferred, 0 where none is given

	Paths      []Path
	PathPolicy string   // "all" or "any": how many of Paths have to be up
	Damping    *Damping // nil: a flapping slave is not held out
}

// A Path is a target that has to be reached from every slave.
type Path struct {
	Target netip.Addr // IPv4: asked by ARP, IPv6: by neighbour solicitation
	// Source is the sender of the ARP requests: an address of the network that
	// nobody else uses. Invalid: 0.0.0.0, which some routers do not answer.
	Source      netip.Addr
	Interval    time.Duration // from one probe to the next
	Timeout     time.Duration // for the answer; shorter than Interval
	MissedMax   int           // probes in a row without an answer that make the path dead
	ReturnAfter int           // answers in a row that bring it back
}

// Damping holds a slave out that fails again and again: every failure is a
// penalty of 1, which decays.
type Damping struct {
	HalfLife time.Duration // after which half of a penalty is left
	Suppress float64       // a penalty from which on the slave is held out
	Reuse    float64       // and at which it is let in again; less than Suppress
}

// defaultName is the name of a bond that the file does not name.
const defaultName = "bond0"

// Default is the configuration of a machine that has no file: one bond of every
// Ethernet NIC of the first matching group, active-backup, the link looked at
// every 100 ms, its address from DHCP. It needs nothing but a cable.
func Default() *Config {
	b := newBond()
	b.DHCP4 = true
	fillDefaults(&b)
	return &Config{
		Hardware: Hardware{Policy: "enforce", Match: "chipset"},
		HTTP:     HTTP{Listen: ":80"},
		Bonds:    []Bond{b},
	}
}

// newBond is a bond of which nothing is said, without its options' defaults.
func newBond() Bond {
	return Bond{Name: defaultName, Auto: true, Options: map[string]string{}, PathPolicy: "all"}
}

// Mode is the bond's mode.
func (b *Bond) Mode() bonding.Mode { return bonding.Mode(b.Options["mode"]) }

// Miimon is the interval of the link monitor; 0 with the ARP monitor.
func (b *Bond) Miimon() time.Duration { return b.duration("miimon") }

// ArpInterval is the interval of the kernel's ARP monitor, which takes the
// place of the link monitor; 0 without it.
func (b *Bond) ArpInterval() time.Duration { return b.duration("arp_interval") }

// UpDelay is how long a returned link has to stay before it is used.
func (b *Bond) UpDelay() time.Duration { return b.duration("updelay") }

// DownDelay is how long a link has to be gone before it is given up.
func (b *Bond) DownDelay() time.Duration { return b.duration("downdelay") }
