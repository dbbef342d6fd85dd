package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

// A Failure is a write that the kernel refused.
type Failure struct {
	Op  state.Op
	Err error
}

// undoTime bounds taking back what was done, also when ctx has ended meanwhile.
const undoTime = 15 * time.Second

// Execute carries a plan for a bond out, in order, by do. before is the state
// that the plan was made from.
//
// A refusal leaves nothing half done. If the bond itself cannot be made or
// converted, everything is taken back and the plan ends: NICs that have no bond
// to go to keep the addresses they have. If a NIC cannot be enslaved, what was
// done to that NIC is taken back, and the others go on. Any other refusal
// concerns one setting only.
func Execute(ctx context.Context, bond string, ops []state.Op, before *state.Network, do func(context.Context, state.Op) error) []Failure {
	var failures []Failure
	var done []state.Op
	given := make(map[string]bool) // up for this plan
	for _, op := range ops {
		if given[op.Subject()] {
			continue
		}
		err := do(ctx, op)
		if err == nil {
			done = append(done, op)
			continue
		}
		failures = append(failures, Failure{op, explain(op, err)})
		concerned := func(o state.Op) bool { return o.Subject() == op.Subject() }
		switch {
		case vital(op, bond):
			concerned = func(state.Op) bool { return true }
		case op.Subject() == bond:
			continue
		}
		undo(ctx, done, concerned, before, do)
		if vital(op, bond) || ctx.Err() != nil {
			return failures
		}
		done = slices.DeleteFunc(done, concerned)
		given[op.Subject()] = true
	}
	return failures
}

// vital reports whether nothing after op makes sense without it.
func vital(op state.Op, bond string) bool {
	switch op := op.(type) {
	case state.CreateBond:
		return true
	case state.SetOption:
		return op.Option == "mode"
	case state.SetUp:
		return op.Link == bond && !op.Up
	}
	return false
}

// undo takes back what was done, last first. What cannot be taken back is left:
// the next plan starts from what is then there.
func undo(ctx context.Context, done []state.Op, which func(state.Op) bool, before *state.Network, do func(context.Context, state.Op) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	for _, op := range slices.Backward(done) {
		if !which(op) {
			continue
		}
		if inverse := invert(op, before); inverse != nil {
			_ = do(ctx, inverse)
		}
	}
}

// invert returns the write that takes op back, or nil if none does.
func invert(op state.Op, before *state.Network) state.Op {
	l := before.Link(op.Subject())
	if l == nil {
		return nil // it was made by this plan
	}
	switch op := op.(type) {
	case state.SetUp:
		return state.SetUp{Link: op.Link, Up: !op.Up}
	case state.SetMAC:
		return state.SetMAC{Link: op.Link, MAC: l.MAC}
	case state.SetMTU:
		return state.SetMTU{Link: op.Link, MTU: l.MTU}
	case state.SetOption:
		if l.Bond == nil {
			return nil
		}
		return state.SetOption{Bond: op.Bond, Option: op.Option, Value: l.Bond.Options[op.Option]}
	case state.Release:
		return state.Enslave(op)
	case state.Enslave:
		return state.Release(op)
	case state.AddAddress:
		return state.DelAddress{Link: op.Link, Prefix: op.Prefix}
	case state.DelAddress:
		for _, a := range before.Addresses {
			if a.Index == l.Index && a.Prefix == op.Prefix {
				return state.AddAddress{Link: op.Link, Prefix: a.Prefix, Broadcast: a.Broadcast}
			}
		}
	}
	return nil
}

// explain adds to the kernel's answer what it means for this write, where the
// errno alone would mislead.
func explain(op state.Op, err error) error {
	switch op.(type) {
	case state.Enslave:
		switch {
		case errors.Is(err, unix.EBUSY):
			return fmt.Errorf("%w (it belongs to a bridge or another device)", err)
		case errors.Is(err, unix.EPERM):
			return fmt.Errorf("%w (something else took it up again)", err)
		}
	case state.CreateBond:
		if errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("%w (the kernel has no bonding driver)", err)
		}
	}
	return err
}
