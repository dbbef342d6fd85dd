package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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
func Execute(
	ctx context.Context,
	bond string,
	ops []state.Op,
	before *state.Network,
	do func(context.Context, state.Op) error,
) []Failure {
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
		case op.Subject() == bond || single(op):
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

// single reports whether nothing else depends on op.
func single(op state.Op) bool {
	switch op.(type) {
	case state.SetSlaveOption, state.RestoreAddress, state.RestoreRoute:
		return true
	}
	return false
}

// undo takes back what was done, last first. What cannot be taken back is left:
// the next plan starts from what is then there.
func undo(
	ctx context.Context,
	done []state.Op,
	which func(state.Op) bool,
	before *state.Network,
	do func(context.Context, state.Op) error,
) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	for _, op := range slices.Backward(done) {
		if !which(op) {
			continue
		}
		for _, inverse := range invert(op, before) {
			_ = do(ctx, inverse)
		}
	}
}

// invert returns the writes that take op back; none if it cannot be.
func invert(op state.Op, before *state.Network) []state.Op {
	l := before.Link(op.Subject())
	if l == nil {
		return nil // it was made by this plan
	}
	switch op := op.(type) {
	case state.SetUp:
		if !op.Up && l.Bond != nil {
			return append([]state.Op{state.OpenBond{Bond: op.Link}}, lostByDown(l, before)...)
		}
		return []state.Op{state.SetUp{Link: op.Link, Up: !op.Up}}
	case state.OpenBond:
		return []state.Op{state.SetUp{Link: op.Bond}}
	case state.Rename:
		return []state.Op{state.Rename{Link: op.To, To: op.Link}}
	case state.Park:
		return []state.Op{state.Unpark(op)}
	case state.Unpark:
		return []state.Op{state.Park(op)}
	case state.SetMAC:
		return []state.Op{state.SetMAC{Link: op.Link, MAC: l.MAC}}
	case state.SetMTU:
		return []state.Op{state.SetMTU{Link: op.Link, MTU: l.MTU}}
	case state.SetOption:
		if l.Bond != nil {
			if value, told := l.Bond.Options[op.Option]; told {
				return []state.Op{state.SetOption{Bond: op.Bond, Option: op.Option, Value: value}}
			}
		}
	case state.Release:
		return enslaved(l, before)
	case state.Enslave:
		return []state.Op{state.Release(op)}
	case state.AddAddress:
		return []state.Op{state.DelAddress{Link: op.Link, Prefix: op.Prefix}}
	case state.DelAddress:
		for _, a := range before.Addresses {
			if a.Index == l.Index && a.Prefix == op.Prefix {
				return []state.Op{state.AddAddress{Link: op.Link, Prefix: a.Prefix, Broadcast: a.Broadcast, Protocol: a.Protocol}}
			}
		}
	}
	return nil
}

// lostByDown are the writes that bring back what a bond, and the VLANs above it,
// lose when it is taken down: IPv6 addresses and routes, whoever they belong to.
func lostByDown(bond *state.Link, before *state.Network) []state.Op {
	l := losses{net: before, now: before, owned: new(state.Owned)}
	addresses, routes, downs := l.of(append([]*state.Link{bond}, above(before, bond)...))
	return slices.Concat(addresses, routes, downs)
}

// enslaved are the writes that make a slave one again.
func enslaved(l *state.Link, before *state.Network) []state.Op {
	master := before.LinkByIndex(l.Master)
	if master == nil {
		return nil
	}
	enslave := state.Enslave{Slave: l.Name, Bond: master.Name}
	if master.Bond == nil || l.Slave == nil {
		return []state.Op{enslave}
	}
	var ops []state.Op
	// A bond that lost all of its slaves lost its address. They come back in
	// the order of their indexes, see planner.empty.
	first := slices.IndexFunc(before.Links, func(o state.Link) bool { return o.Master == l.Master })
	if before.Links[first].Index == l.Index {
		ops = append(ops, state.SetMAC{Link: master.Name, MAC: master.MAC})
	}
	ops = append(ops, enslave)
	if l.Slave.Prio != 0 {
		ops = append(
			ops,
			state.SetSlaveOption{Slave: l.Name, Bond: master.Name, Option: "prio", Value: strconv.Itoa(l.Slave.Prio)},
		)
	}
	return ops // the driver remembers the primary
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
