package report

import (
	"time"

	"bondd.internal/bondd/internal/state"
)

// A History is the document that /api/v1/history serves: the flight recorder.
// Its list is never null.
type History struct {
	Switches []Switch `json:"switches"` // newest first

	// SnapshotAgeSeconds is how long ago the engine published this. Over 5
	// seconds the latest entries may be missing.
	SnapshotAgeSeconds float64 `json:"snapshot_age_seconds"`
}

// A Switch is one entry of the flight recorder, as state.Switch has it, with
// the lengths of time that a person would compute from it.
type Switch struct {
	*state.Switch
	When    time.Time `json:"time"` // when traffic moved, as far as it is known
	Seconds Spans     `json:"seconds"`
}

// Spans are the times from one moment of a switch to another, in seconds. Null:
// one of the moments is not known, or the clock was set back between them.
type Spans struct {
	CarrierLostToEventRead   *float64 `json:"carrier_lost_to_event_read"` // the kernel's share before
	EventReadToDecided       *float64 `json:"event_read_to_decided"`
	DecidedToWritten         *float64 `json:"decided_to_written"`    // the kernel's own work, and waiting for its lock
	EventReadToWritten       *float64 `json:"event_read_to_written"` // what bondd counts as the failover's duration
	WrittenToAgreed          *float64 `json:"written_to_agreed"`
	WrittenToFirstPacket     *float64 `json:"written_to_first_packet"`
	CarrierLostToWritten     *float64 `json:"carrier_lost_to_written"`
	CarrierLostToFirstPacket *float64 `json:"carrier_lost_to_first_packet"` // no shorter than the gap in the traffic, which may have begun later
}

// HistoryFrom returns the newest switches of a snapshot, at most limit of them;
// those of one bond only, unless bond is empty.
func HistoryFrom(s *state.Snapshot, bond string, limit int) *History {
	h := &History{Switches: []Switch{}}
	for _, sw := range s.History {
		if len(h.Switches) == limit {
			break
		}
		if bond == "" || sw.Bond == bond {
			h.Switches = append(h.Switches, fromSwitch(sw))
		}
	}
	return h
}

func fromSwitch(s *state.Switch) Switch {
	return Switch{Switch: s, When: s.Time(), Seconds: Spans{
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
