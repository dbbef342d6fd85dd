package report

import (
	"time"

	"bondd.internal/bondd/internal/state"
)

// A History is the document that /api/v1/history serves: the flight recorder.
// Its list is never null.
type History struct {
	Failovers []Failover `json:"failovers"` // newest first

	// SnapshotAgeSeconds is how long ago the engine published this. Over 5
	// seconds the latest entries may be missing.
	SnapshotAgeSeconds float64 `json:"snapshot_age_seconds"`
}

// A Failover is one entry of the flight recorder, as state.Failover has it, with
// the lengths of time that a person would compute from it.
type Failover struct {
	*state.Failover
	When    time.Time `json:"time"` // when traffic moved, as far as it is known
	Seconds Spans     `json:"seconds"`
}

// Spans are the times from one moment of a failover to another, in seconds. Null:
// one of the moments is not known, or the clock was set back between them.
type Spans struct {
	CarrierLostToEventRead *float64 `json:"carrier_lost_to_event_read"` // the kernel's share before
	EventReadToDecided     *float64 `json:"event_read_to_decided"`
	DecidedToWritten       *float64 `json:"decided_to_written"`    // the kernel's own work, and waiting for its lock
	EventReadToWritten     *float64 `json:"event_read_to_written"` // what bondd counts as the failover's duration
	WrittenToAgreed        *float64 `json:"written_to_agreed"`
	WrittenToFirstPacket   *float64 `json:"written_to_first_packet"`
	CarrierLostToWritten   *float64 `json:"carrier_lost_to_written"`
	// no shorter than the gap in the traffic, which may have begun later
	CarrierLostToFirstPacket *float64 `json:"carrier_lost_to_first_packet"`
}

// HistoryFrom returns the newest failovers of a snapshot, at most limit of them;
// those of one bond only, unless bond is empty.
func HistoryFrom(s *state.Snapshot, bond string, limit int) *History {
	h := &History{Failovers: []Failover{}}
	for _, sw := range s.History {
		if len(h.Failovers) == limit {
			break
		}
		if bond == "" || sw.Bond == bond {
			h.Failovers = append(h.Failovers, fromFailover(sw))
		}
	}
	return h
}

func fromFailover(s *state.Failover) Failover {
	return Failover{Failover: s, When: s.Time(), Seconds: Spans{
		CarrierLostToEventRead:   span(s.CarrierLost, s.EventRead),
		EventReadToDecided:       span(s.EventRead, s.Decided),
		DecidedToWritten:         span(s.Decided, s.Written),
		EventReadToWritten:       span(s.EventRead, s.Written),
		WrittenToAgreed:          span(s.Written, s.Agreed),
		WrittenToFirstPacket:     span(s.Written, s.FirstPacket),
		CarrierLostToWritten:     span(s.CarrierLost, s.Written),
		CarrierLostToFirstPacket: span(s.CarrierLost, s.FirstPacket),
	}}
}

func span(from, to time.Time) *float64 {
	if from.IsZero() || to.IsZero() || to.Before(from) {
		return nil
	}
	seconds := to.Sub(from).Seconds()
	return &seconds
}

// Title says in a few words what a switch did: "eth0 → eth1".
func (s Failover) Title() string {
	switch {
	case s.From == "" && s.To == "":
		return "no slave"
	case s.From == "":
		return "→ " + s.To
	case s.To == "":
		return s.From + " out"
	}
	return s.From + " → " + s.To
}

// A Moment is a point on the time line of a switch.
type Moment struct {
	Name string
	From time.Time // when it began to be waited for: the moment that led to it
	At   time.Time
}

// Moments is the time line of a switch, as far as it is known. Each moment
// follows from the one before, but for the last two, which both follow from the
// write.
func (s Failover) Moments() []Moment {
	const written = 3
	var known []Moment
	var from time.Time
	for i, m := range []Moment{
		{Name: "Carrier lost", At: s.CarrierLost},
		{Name: "Event read", At: s.EventRead},
		{Name: "Decided", At: s.Decided},
		{Name: "Written", At: s.Written},
		{Name: "Kernel agreed", At: s.Agreed},
		{Name: "First packet", At: s.FirstPacket},
	} {
		if m.At.IsZero() {
			continue
		}
		m.From = from
		if from.IsZero() {
			m.From = m.At
		}
		if i <= written {
			from = m.At
		}
		known = append(known, m)
	}
	return known
}

// ViewWord says in two words or three how a slave was when a switch was made.
func ViewWord(v state.SlaveView) string {
	s := state.Slave{Present: true, Enslaved: true, Active: v.Active, LinkUp: v.LinkUp, PathUp: v.PathUp,
		Suppressed: v.Suppressed, MIIStatus: v.MIIStatus}
	c := new(state.Bond).Condition(&s)
	if v.Active && c != state.ConditionActive {
		return "active, " + conditions[c].word
	}
	return conditions[c].word
}
