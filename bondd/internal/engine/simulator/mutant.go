package simulator

import (
	"bondd.internal/bondd/internal/engine/core"
	"bondd.internal/bondd/internal/state"
)

// A Mutant puts a bug into bondd: it changes what the core puts out before the
// World carries it out. With it a test shows that an invariant is broken by such
// a bug and that random runs find it. The zero Mutant changes nothing.
type Mutant struct {
	Output   func(w *World, in core.Input, out *core.Output) // after every step
	Snapshot func(*state.Snapshot)                           // what the flight recorder is read from
}
