package report

// A FailoverOrder is the body of POST /api/v1/failover.
type FailoverOrder struct {
	Bond string `json:"bond,omitempty"` // may be left out where there is only one
	To   string `json:"to"`             // the slave that is to carry the traffic
}

// FailoverDone is the answer of POST /api/v1/failover.
type FailoverDone struct {
	Bond        string  `json:"bond"`
	From        string  `json:"from"` // the slave that carried the traffic before; empty: none did
	To          string  `json:"to"`
	TookSeconds float64 `json:"took_seconds"`
}

// A DrillOrder is the body of POST /api/v1/drill, whose answer is a drill.Report.
type DrillOrder struct {
	Bond string `json:"bond,omitempty"` // may be left out where there is only one
}

// Refused is the answer of every command that was not carried out.
type Refused struct {
	Error string `json:"error"` // why, in a sentence
}
