// Package bonding is the Linux bonding driver as data: its modes, its options
// and its limits, as Linux 6.12 has them. It is the only place that has them.
//
// Everything that reads, checks, plans, encodes or shows an option goes by the
// row of that option: package config reads and writes the file by Kind, range
// and words, the planner goes by when an option may be written, the codec of
// rtnetlink by attribute and form. A new option is a new row.
//
// The package imports nothing of this module and decides nothing. It holds for
// every operating system, so that a file can be checked on any machine.
package bonding
