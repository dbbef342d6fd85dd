package web

import (
	"cmp"
	"strconv"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
)

// A table compares a bond's slaves, one in each column, with the bond itself in
// the last.
type table struct {
	Bond    string
	Columns []string
	Groups  []group
}

type group struct {
	Words bool // not numbers, and so may be broken into lines
	Rows  []row
}

type row struct {
	Label string // ifconfig's name, for a counter
	Rate  bool   // computed in the browser, and of no use without its script
	Cells []cell
}

type cell struct {
	Text    string
	Kind    string // "mac": may be broken in its middle and nowhere else; "list": long; else empty
	Title   string // the exact figure, where Text is rounded
	Counter string // who counts what, "eth0/rx_bytes"; the script finds the cell by it
	Value   string // what it counts, for the script
	Rate    string // the Counter whose rate is shown here
	Bad     bool   // deserves a look
}

const nothing = "–"

// A counter is a row of the table.
type counter struct {
	label string // ifconfig's name
	key   string // the API's name
	kind  counterKind
	value func(*state.Counters) uint64
}

type counterKind int

const (
	packets counterKind = iota
	size                // in bytes
	trouble             // packets; anything but zero deserves a look
)

var receive = []counter{
	{"RX packets", "rx_packets", packets, func(c *state.Counters) uint64 { return c.RxPackets }},
	{"RX bytes", "rx_bytes", size, func(c *state.Counters) uint64 { return c.RxBytes }},
	{"RX errors", "rx_errors", trouble, func(c *state.Counters) uint64 { return c.RxErrors }},
	{"RX dropped", "rx_dropped", trouble, func(c *state.Counters) uint64 { return c.RxDropped }},
	{"RX overruns", "rx_overruns", trouble, func(c *state.Counters) uint64 { return c.RxOverruns }},
	{"RX frame", "rx_frame", trouble, func(c *state.Counters) uint64 { return c.RxFrame }},
}

var transmit = []counter{
	{"TX packets", "tx_packets", packets, func(c *state.Counters) uint64 { return c.TxPackets }},
	{"TX bytes", "tx_bytes", size, func(c *state.Counters) uint64 { return c.TxBytes }},
	{"TX errors", "tx_errors", trouble, func(c *state.Counters) uint64 { return c.TxErrors }},
	{"TX dropped", "tx_dropped", trouble, func(c *state.Counters) uint64 { return c.TxDropped }},
	{"TX overruns", "tx_overruns", trouble, func(c *state.Counters) uint64 { return c.TxOverruns }},
	{"TX carrier", "tx_carrier", trouble, func(c *state.Counters) uint64 { return c.TxCarrier }},
	{"TX collisions", "collisions", trouble, func(c *state.Counters) uint64 { return c.Collisions }},
}

// A fact is a row of words.
type fact struct {
	label string
	kind  string // of its cells
	rare  bool   // left out where it is as usual at every slave
	usual string
	value func(*report.Slave) string
}

var facts = []fact{
	{label: "State", value: func(s *report.Slave) string { return capital(s.Word) }},
	{label: "Speed", value: func(s *report.Slave) string { return s.Speed() }},
	{label: "Driver", value: func(s *report.Slave) string { return s.Driver }},
	{label: "Permanent MAC", kind: "mac", value: func(s *report.Slave) string { return s.PermanentMAC.String() }},
	{label: "Link failures", value: func(s *report.Slave) string {
		if !s.Present {
			return ""
		}
		return report.Digits(s.LinkFailures)
	}},
	{label: "Fast link down", rare: true, value: func(s *report.Slave) string { return s.FastLinkDown }},
	{label: "Priority", rare: true, usual: "0", value: func(s *report.Slave) string { return strconv.Itoa(s.Prio) }},
	{
		label: "Flap penalty",
		rare:  true,
		usual: "0.0",
		value: func(s *report.Slave) string { return strconv.FormatFloat(s.Penalty, 'f', 1, 64) },
	},
	{
		label: "LACP, this end",
		kind:  "list",
		rare:  true,
		value: func(s *report.Slave) string { return s.LACP.ActorText() },
	},
	{
		label: "LACP, other end",
		kind:  "list",
		rare:  true,
		value: func(s *report.Slave) string { return s.LACP.PartnerText() },
	},
}

func newTable(b report.Bond) table {
	t := table{Bond: b.Name, Columns: make([]string, 0, len(b.Slaves)+1)}
	for i := range b.Slaves {
		t.Columns = append(t.Columns, b.Slaves[i].Name)
	}
	t.Columns = append(t.Columns, b.Name)

	t.Groups = []group{factGroup(&b), counterGroup(&b, "RX", receive), counterGroup(&b, "TX", transmit)}
	return t
}

// factGroup says nothing of the bond itself.
func factGroup(b *report.Bond) group {
	g := group{Words: true}
	for _, f := range facts {
		r := row{Label: f.label}
		tells := !f.rare
		for i := range b.Slaves {
			value := f.value(&b.Slaves[i])
			tells = tells || value != f.usual
			r.Cells = append(r.Cells, cell{Text: cmp.Or(value, nothing), Kind: f.kind})
		}
		r.Cells = append(r.Cells, cell{})
		if tells {
			g.Rows = append(g.Rows, r)
		}
	}
	return g
}

// counterGroup has the rates of the first two counters and then all counters.
func counterGroup(b *report.Bond, prefix string, counters []counter) group {
	g := group{Rows: []row{
		rateRow(b, prefix+" bytes/s", counters[1]),
		rateRow(b, prefix+" packets/s", counters[0]),
	}}
	for _, c := range counters {
		r := row{Label: c.label}
		for i := range b.Slaves {
			s := &b.Slaves[i]
			if !s.Present {
				r.Cells = append(r.Cells, cell{Text: nothing})
				continue
			}
			r.Cells = append(r.Cells, counterCell(s.Name, c, &s.Counters))
		}
		r.Cells = append(r.Cells, counterCell(b.Name, c, &b.Counters))
		g.Rows = append(g.Rows, r)
	}
	return g
}

func rateRow(b *report.Bond, label string, c counter) row {
	r := row{Label: label, Rate: true}
	for i := range b.Slaves {
		r.Cells = append(r.Cells, cell{Text: nothing, Rate: b.Slaves[i].Name + "/" + c.key})
	}
	r.Cells = append(r.Cells, cell{Text: nothing, Rate: b.Name + "/" + c.key})
	return r
}

func counterCell(name string, c counter, counters *state.Counters) cell {
	n := c.value(counters)
	made := cell{Text: report.Digits(n), Counter: name + "/" + c.key, Value: strconv.FormatUint(n, 10)}
	switch c.kind {
	case size:
		made.Text, made.Title = report.Bytes(n), report.Digits(n)+" bytes"
	case trouble:
		made.Bad = n > 0
	}
	return made
}
