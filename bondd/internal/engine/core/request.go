package core

import "bondd.internal/bondd/internal/state"

// Reason says why the request is made.
func (r *Request) Reason() state.Reason { return r.reason }
