package config

import (
	"net/netip"
	"time"
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

	// Options has every option of the table that the mode has, with the value
	// that the file gives or else the default, in the kernel's text form. See
	// Table for names and forms.
	Options map[string]string

	MAC string // lower-case with colons; empty: the first slave's
	MTU int    // bytes; 0: leave it as it is

	Addresses []netip.Prefix // the host's address with its prefix length
	Broadcast netip.Addr     // of the first IPv4 address; invalid: the usual one
	DHCP4     bool           // beside the static addresses, if there are any
	Gateways  []netip.Addr   // on a network of Addresses, but for IPv4 with DHCP4 and for fe80::/10
	DNS       []netip.Addr
}

// defaultName is the name of a bond that the file does not name.
const defaultName = "bond0"

// Default is the configuration of a machine that has no file: one bond of every
// Ethernet NIC of the first matching group, active-backup, the link looked at
// every 100 ms, its address from DHCP. It needs nothing but a cable.
func Default() *Config {
	options := map[string]string{}
	fillDefaults(options)
	return &Config{
		Hardware: Hardware{Policy: "enforce", Match: "chipset"},
		HTTP:     HTTP{Listen: ":80"},
		Bonds:    []Bond{{Name: defaultName, Auto: true, Options: options, DHCP4: true}},
	}
}

// Mode is the kernel's name of the bond's mode.
func (b *Bond) Mode() string { return b.Options["mode"] }

// Miimon is the interval of the link monitor.
func (b *Bond) Miimon() time.Duration { return b.duration("miimon") }

// UpDelay is how long a returned link has to stay before it is used.
func (b *Bond) UpDelay() time.Duration { return b.duration("updelay") }

// DownDelay is how long a link has to be gone before it is given up.
func (b *Bond) DownDelay() time.Duration { return b.duration("downdelay") }
