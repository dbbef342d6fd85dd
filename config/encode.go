package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"bondd.internal/config/bonding"
)

// TOML writes the configuration in its canonical form, every key that has a
// value with the defaults among them. Parse reads it back to an equal Config.
func (c *Config) TOML() []byte {
	var w writer
	w.table("[hardware]")
	w.text("policy", c.Hardware.Policy)
	w.text("match", c.Hardware.Match)
	w.table("[http]")
	w.text("listen", c.HTTP.Listen)
	if c.HTTP.WebConfig != "" {
		w.text("web_config", c.HTTP.WebConfig)
	}
	for i := range c.Bonds {
		w.bond(&c.Bonds[i])
	}
	return w.Bytes()
}

type writer struct{ bytes.Buffer }

func (w *writer) bond(b *Bond) {
	w.table("[[bond]]")
	w.text("name", b.Name)
	if b.Auto {
		w.text("slaves", "auto")
	} else {
		list(w, "slaves", b.Slaves, func(s string) string { return s })
	}
	for o := range settings() {
		if text, ok := b.Options[o.Name]; ok {
			w.option(o, text)
		}
	}
	if b.MAC != "" {
		w.text("mac", b.MAC)
	}
	if b.MTU != 0 {
		fmt.Fprintf(w, "mtu = %d\n", b.MTU)
	}
	list(w, "addresses", b.Addresses, netip.Prefix.String)
	if b.Broadcast.IsValid() {
		w.text("broadcast", b.Broadcast.String())
	}
	fmt.Fprintf(w, "dhcp4 = %t\n", b.DHCP4)
	list(w, "gateways", b.Gateways, netip.Addr.String)
	list(w, "dns", b.DNS, netip.Addr.String)
	if len(b.Paths) > 0 {
		w.text("path_policy", b.PathPolicy)
	}
	for _, ref := range b.Slaves {
		if prio := b.Prio[ref]; prio != 0 {
			w.table("[[bond.slave]]")
			w.text("name", ref)
			fmt.Fprintf(w, "prio = %d\n", prio)
		}
	}
	for i := range b.Paths {
		w.path(&b.Paths[i])
	}
	if d := b.Damping; d != nil {
		w.table("[bond.damping]")
		w.text("half_life", d.HalfLife.String())
		fmt.Fprintf(w, "suppress = %s\nreuse = %s\n", penaltyText(d.Suppress), penaltyText(d.Reuse))
	}
}

func (w *writer) path(t *Path) {
	w.table("[[bond.path]]")
	w.text("target", t.Target.String())
	if t.Source.IsValid() {
		w.text("source", t.Source.String())
	}
	w.text("interval", t.Interval.String())
	w.text("timeout", t.Timeout.String())
	fmt.Fprintf(w, "missed_max = %d\nreturn_after = %d\n", t.MissedMax, t.ReturnAfter)
}

// option writes an option that has this value in the kernel's text form.
func (w *writer) option(o option, text string) {
	switch {
	case text == "": // none
	case o.Kind == bonding.KindInteger:
		fmt.Fprintf(w, "%s = %s\n", o.Name, text)
	case o.Kind == bonding.KindBool:
		fmt.Fprintf(w, "%s = %t\n", o.Name, text == "1")
	case o.Kind == bonding.KindDuration:
		w.text(o.Name, (time.Duration(units(text)) * o.Unit).String())
	case o.Addresses():
		list(w, o.Name, strings.Split(text, ","), func(s string) string { return s })
	default:
		w.text(o.Name, text)
	}
}

func (w *writer) table(header string) {
	if w.Len() > 0 {
		w.WriteByte('\n')
	}
	w.WriteString(header + "\n")
}

func (w *writer) text(key, s string) {
	fmt.Fprintf(w, "%s = %s\n", key, tomlString(s))
}

// list writes a list of texts, and nothing for an empty one.
func list[T any](w *writer, key string, items []T, text func(T) string) {
	if len(items) == 0 {
		return
	}
	words := make([]string, len(items))
	for i := range items {
		words[i] = tomlString(text(items[i]))
	}
	fmt.Fprintf(w, "%s = [%s]\n", key, strings.Join(words, ", "))
}

// tomlString writes a TOML basic string (toml.io/en/v1.0.0, "String").
// strconv.Quote is near, but has escapes that TOML has not.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
