// Package state is the plain data that flows through bondd: what the kernel was
// read to be (Network), what should be written to it (Op), and what everything
// that shows something reads (Snapshot).
//
// It stands in the middle of the flow and does no I/O: the kernel package fills
// Networks and carries out Ops, the pure packages turn one into the other, and the
// engine publishes Snapshots, which are never changed after. What follows from the
// facts of a Snapshot is asked of it: the Condition of a slave, and whether a bond
// is Up or Degraded. The words for it are in package report.
package state
