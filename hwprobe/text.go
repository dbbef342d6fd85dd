package hwprobe

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// textWidth is how wide the findings are written.
const textWidth = 100

// WriteText writes the report for people: the verdict, what is not well with what to do about it, the worst first, what
// is good in one line, the cards, and how they hang in the machine.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "verdict: %s; may be bonded: %s\n", r.Verdict, cmp.Or(strings.Join(r.Members, ", "), "none"))
	if m := r.Machine; m != nil {
		fmt.Fprintln(&b, strings.Join(slices.DeleteFunc([]string{
			strings.TrimSpace("machine: " + strings.TrimSpace(m.Vendor+" "+m.Product)), prefixed("board ", m.Board),
			prefixed("firmware ", m.Firmware), prefixed("kernel ", m.Release),
		}, func(s string) bool { return s == "" || s == "machine:" }), ", "))
	}
	r.writeFindings(&b)
	if len(r.NICs) > 0 {
		r.writeCards(&b)
		r.writeTree(&b)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// writeFindings writes what is not well, and names what is.
func (r Report) writeFindings(b *strings.Builder) {
	for _, severity := range []Severity{SeverityFail, SeverityWarn, SeverityInfo} {
		for _, f := range r.Findings {
			if f.Severity != severity {
				continue
			}
			b.WriteByte('\n')
			head := fmt.Sprintf("%-4s  %s: ", strings.ToUpper(string(severity)), f.Check)
			wrap(b, head, "      ", f.Message)
			if severity == SeverityInfo {
				continue // nothing to worry about
			}
			wrap(b, "      means: ", "             ", f.Means)
			wrap(b, "      do:    ", "             ", f.Do)
			for _, source := range f.Sources {
				fmt.Fprintf(b, "      see:   %s\n", source)
			}
		}
	}
	var good []string
	for _, f := range r.Findings {
		if f.Severity == SeverityPass && !slices.Contains(good, f.Check) {
			good = append(good, f.Check)
		}
	}
	if len(good) > 0 {
		b.WriteByte('\n')
		wrap(b, "good: ", "      ", strings.Join(good, ", "))
	}
}

// wrap writes text in lines of at most textWidth columns; nothing if there is no text.
func wrap(b *strings.Builder, first, others, text string) {
	if text == "" {
		return
	}
	line := strings.TrimRight(first, " ")
	column := len(first)
	b.WriteString(line)
	pad := first[len(line):]
	for word := range strings.FieldsSeq(text) {
		if column+len(word) > textWidth && pad != others {
			b.WriteByte('\n')
			pad, column = others, len(others)
		}
		b.WriteString(pad + word)
		column += len(word) + 1
		pad = " "
	}
	b.WriteByte('\n')
}

// writeCards writes the table of the NICs.
func (r Report) writeCards(b *strings.Builder) {
	b.WriteByte('\n')
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NIC\tDRIVER\tFIRMWARE\tBUS\tADDRESS\tID\tREV\tPERMANENT MAC\tROM\tLINK\tCAN DO (Mb/s)\tMODEL")
	for _, n := range r.NICs {
		columns := []string{
			n.Name, n.Driver, n.Firmware, n.Bus, n.Address, n.chip(), n.Revision, n.PermanentMAC, romText(n), linkText(n),
			speedsText(n.SupportedMbps),
		}
		for i := range columns {
			columns[i] = cmp.Or(columns[i], "-")
		}
		fmt.Fprintln(table, strings.Join(append(columns, cmp.Or(strings.TrimSpace(n.Vendor+" "+n.Model), "-")), "\t"))
	}
	table.Flush() // a strings.Builder takes every write
}

// A node is a part of the machine with what hangs on it.
type node struct {
	key, label string
	children   []*node
}

func (n *node) child(key, label string) *node {
	for _, c := range n.children {
		if c.key == key {
			return c
		}
	}
	c := &node{key: key, label: label}
	n.children = append(n.children, c)
	return c
}

// writeTree draws where the cards hang: bridges, USB hubs, cards.
func (r Report) writeTree(b *strings.Builder) {
	root := &node{}
	for _, n := range r.NICs {
		at := root
		for _, bridge := range n.Path {
			label := fmt.Sprintf("%s %s", bridge.Role, bridge.Address)
			if bridge.Model != "" {
				label += " (" + bridge.Model + ")"
			}
			at = at.child(bridge.Address, label)
		}
		if n.USB != nil {
			if n.USB.Controller != "" {
				at = at.child(n.USB.Controller, "USB host controller "+n.USB.Controller)
			}
			for _, hub := range n.USB.Hubs {
				at = at.child(hub, "USB hub "+hub)
			}
		}
		at.children = append(at.children, &node{label: cardText(n)})
	}
	if !slices.ContainsFunc(root.children, func(c *node) bool { return len(c.children) > 0 }) {
		return // nothing but cards
	}
	b.WriteByte('\n')
	root.write(b, "")
}

func (n *node) write(b *strings.Builder, indent string) {
	for i, c := range n.children {
		branch, below := "├─ ", "│  "
		if i == len(n.children)-1 {
			branch, below = "└─ ", "   "
		}
		b.WriteString(indent + branch + c.label + "\n")
		c.write(b, indent+below)
	}
}

// cardText is a card in the drawing.
func cardText(n NIC) string {
	parts := []string{n.Name, strings.TrimSpace(n.Bus + " " + n.Address)}
	if n.PCIe != nil && n.PCIe.Width > 0 {
		parts = append(parts, n.PCIe.String())
	}
	if n.USB != nil && n.USB.Mbps > 0 {
		parts = append(parts, fmt.Sprintf("USB at %d Mb/s", n.USB.Mbps))
	}
	if n.ASPM != nil && len(n.ASPM.Enabled) > 0 {
		parts = append(parts, "ASPM "+strings.Join(n.ASPM.Enabled, " "))
	}
	if n.Slot != "" {
		parts = append(parts, "slot "+n.Slot)
	}
	if n.Label != "" {
		parts = append(parts, n.Label)
	}
	if link := linkText(n); link != "" {
		parts = append(parts, link)
	}
	return strings.Join(parts, ", ")
}

func romText(n NIC) string {
	switch {
	case n.OptionROM == nil:
		return ""
	case !*n.OptionROM:
		return "no"
	case n.ROM != nil && len(n.ROM.Images) > 0:
		return strings.Join(n.ROM.Images, "+")
	default:
		return "yes"
	}
}

func linkText(n NIC) string {
	switch {
	case n.Detached:
		return "detached"
	case n.LinkUp == nil:
		return ""
	case !*n.LinkUp:
		return "no link"
	case n.SpeedMbps == nil:
		return "up"
	default:
		return strings.TrimSpace(strconv.Itoa(*n.SpeedMbps) + " " + n.Duplex)
	}
}

func speedsText(mbps []int) string {
	s := make([]string, len(mbps))
	for i, speed := range mbps {
		s[i] = strconv.Itoa(speed)
	}
	return strings.Join(s, "/")
}
