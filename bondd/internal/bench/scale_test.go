package bench

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/lab/netlab"
)

const (
	// scaleWindow is how long bondd is watched while nothing happens: a minute, in
	// which the hardware is read once, whenever the window begins.
	scaleWindow = time.Minute
	// scaleTolerance is what the cost of a slave may grow from one size to the
	// next, as a factor: the garbage collector does not come at equal times.
	scaleTolerance = 1.1
)

// A size is a number of bonds, and of slaves of each.
type size struct{ bonds, slaves int }

// TestScale has bondd keep more and more slaves, and measures what one of them
// costs while nothing happens, and what a failover takes.
func TestScale(t *testing.T) {
	n := max(rounds(t)/5, 2)
	sizes := []size{{1, 2}, {1, 16}, {1, 64}}
	if n >= fullRun/5 {
		sizes = []size{{1, 2}, {1, 8}, {1, 16}, {1, 32}, {8, 8}, {1, 64}}
	}
	table := &scaleTable{Window: scaleWindow}
	for _, s := range sizes {
		t.Run(fmt.Sprintf("%d with %d", s.bonds, s.slaves), func(t *testing.T) {
			row := measureScale(t, s, n)
			t.Logf("a poll costs %v and %.0f allocations, a failover %v, at most %v, own at most %v",
				row.CPU, row.Allocations, row.Failover.Median, row.Failover.Max, row.Failover.MaxOwn)
			table.Rows = append(table.Rows, row)
		})
	}
	if t.Failed() || len(table.Rows) < len(sizes) {
		return
	}
	publish(t, func(r *report) { r.Scale = table })
	for _, problem := range table.judge() {
		t.Error(problem)
	}
}

// measureScale measures bondd with one size of bonds.
func measureScale(t *testing.T, s size, n int) scaleRow {
	lan := netlab.NewLAN(t, s.bonds*s.slaves)
	b := newBench(t, contender{name: bondd, program: "bondd", start: startBondd(s.bonds, "")}, lan, ports{})
	d := b.joined.daemon
	healthy(t, lan, b.joined)
	time.Sleep(5 * time.Second) // what the start has left behind is gone

	// What is read costs allocations as well: as many as between the first two.
	first, before, cpu := d.metrics(), d.metrics(), d.cpu()
	time.Sleep(scaleWindow)
	cpu = d.cpu() - cpu
	after := d.metrics()
	const polls, allocations = "bondd_polls_total", "go_memstats_mallocs_total"
	row := scaleRow{Bonds: s.bonds, Slaves: s.slaves, Polls: int(after[polls] - before[polls])}
	row.CPU = cpu / time.Duration(row.Polls)
	row.Allocations = (after[allocations] - 2*before[allocations] + first[allocations]) / float64(row.Polls)
	row.Share = float64(cpu) / float64(scaleWindow)
	row.Failover = newRow(b.contender, b.failOvers(n))
	return row
}

// A scaleTable compares sizes.
type scaleTable struct {
	Window time.Duration `json:"window_ns"`
	Rows   []scaleRow    `json:"sizes"`
}

// A scaleRow is a size's.
type scaleRow struct {
	Bonds  int `json:"bonds"`
	Slaves int `json:"slaves_each"`
	// Polls is how many polls there were in the window; CPU and Allocations are
	// what bondd has used in it, for each poll, and Share is its share of one
	// processor.
	Polls       int           `json:"polls"`
	CPU         time.Duration `json:"cpu_per_poll_ns"`
	Allocations float64       `json:"allocations_per_poll"`
	Share       float64       `json:"cpu_share"`
	Failover    row           `json:"failover"`
}

// all is how many slaves there are.
func (r *scaleRow) all() int { return r.Bonds * r.Slaves }

// cost is the processor time of one slave at one poll.
func (r *scaleRow) cost() time.Duration { return r.CPU / time.Duration(r.all()) }

// judge returns what grows although it should not.
func (s *scaleTable) judge() []string {
	var problems []string
	for i := 1; i < len(s.Rows); i++ {
		was, is := &s.Rows[i-1], &s.Rows[i]
		if float64(is.cost()) > scaleTolerance*float64(was.cost()) {
			problems = append(problems, fmt.Sprintf("a poll costs %v for each slave of %d × %d, and %v of %d × %d, want no more",
				is.cost(), is.Bonds, is.Slaves, was.cost(), was.Bonds, was.Slaves))
		}
		if a, b := is.Allocations/float64(is.all()), was.Allocations/float64(was.all()); a > scaleTolerance*b {
			problems = append(problems, fmt.Sprintf("a poll makes %.1f allocations for each slave of %d × %d, and %.1f of %d × %d, want no more",
				a, is.Bonds, is.Slaves, b, was.Bonds, was.Slaves))
		}
	}
	for i := range s.Rows {
		if f := &s.Rows[i].Failover; f.MaxOwn > maxOwn {
			problems = append(problems, fmt.Sprintf("with %d × %d slaves bondd took %v from a message's delivery until it began to write, want at most %v",
				s.Rows[i].Bonds, s.Rows[i].Slaves, f.MaxOwn, maxOwn))
		}
	}
	return problems
}

// write writes the table.
func (s *scaleTable) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n## Many slaves\n\n"+
		"What bondd uses in %v in which nothing happens, for each poll (every 100 ms) and with its share of all else that\n"+
		"is done, the full read every second above all; and the gap when a cable is pulled.\n\n"+
		"| bonds × slaves | polls | CPU per poll | of which a slave | allocations per poll | of which a slave | share of one CPU | failovers | median | max | own, max |\n"+
		"| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n", s.Window)
	for i := range s.Rows {
		r := &s.Rows[i]
		fmt.Fprintf(b, "| %d × %d | %d | %s | %s | %.0f | %.1f | %.2f %% | %d | %s | %s | %s |\n", r.Bonds, r.Slaves, r.Polls, ms(r.CPU), ms(r.cost()),
			r.Allocations, r.Allocations/float64(r.all()), 100*r.Share, len(r.Failover.Failovers), ms(r.Failover.Median), ms(r.Failover.Max), ms(r.Failover.MaxOwn))
	}
}
