package netlab

import (
	"fmt"
	"time"
)

// An Arrival is a packet of a stream that reached the receiver.
type Arrival struct {
	// Seq is its number, counted from 0.
	Seq uint64
	// At is when the receiver's kernel got it.
	At time.Time
}

// A Report says what became of a stream's packets.
type Report struct {
	// Sent is how many packets were sent, numbered 0 to Sent-1.
	Sent int
	// Arrivals are the packets that arrived, in the order of arrival,
	// duplicates included.
	Arrivals []Arrival
	// Lost counts the packets that never arrived, LostAtEnd those of them that
	// were sent after the last one that did.
	Lost, LostAtEnd int
	// Duplicates counts the arrivals of packets that had arrived before,
	// Reordered those of packets sent before one that had.
	Duplicates, Reordered int
	// LongestGap is the longest time from one arrival to the next, duplicates
	// left out, and GapAfter the number of the packet before it.
	LongestGap time.Duration
	GapAfter   uint64
	// SenderLateness is the most that the sender was late for a packet. Gaps
	// of about that length say nothing about the network.
	SenderLateness time.Duration
}

// Analyze makes a report of the arrivals of a stream of sent packets.
func Analyze(sent int, arrivals []Arrival) Report {
	r := Report{Sent: sent, Arrivals: arrivals, LostAtEnd: sent}
	seen := make(map[uint64]bool, len(arrivals))
	var last Arrival
	var highest uint64
	for _, a := range arrivals {
		if seen[a.Seq] {
			r.Duplicates++
			continue
		}
		if len(seen) > 0 {
			if a.Seq < highest {
				r.Reordered++
			}
			if gap := a.At.Sub(last.At); gap > r.LongestGap {
				r.LongestGap, r.GapAfter = gap, last.Seq
			}
		}
		seen[a.Seq] = true
		highest = max(highest, a.Seq)
		last = a
	}
	r.Lost = sent - len(seen)
	if len(seen) > 0 {
		r.LostAtEnd = sent - 1 - int(highest)
	}
	return r
}

// String returns the report as one line.
func (r Report) String() string {
	return fmt.Sprintf(
		"sent %d, lost %d (%d at the end), duplicates %d, reordered %d, longest gap %v after packet %d, "+
			"sender late by at most %v",
		r.Sent,
		r.Lost,
		r.LostAtEnd,
		r.Duplicates,
		r.Reordered,
		r.LongestGap,
		r.GapAfter,
		r.SenderLateness,
	)
}
