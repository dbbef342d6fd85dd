// Package state is the plain data that flows through bondd: what the kernel was
// read to be (Network), what should be written to it (Op), and what everything
// that shows something reads (Snapshot).
//
// It stands in the middle of the flow and does nothing: the kernel package
// fills Networks and carries out Ops, the pure packages turn one into the
// other, and the engine publishes Snapshots, which are never changed after.
package state
