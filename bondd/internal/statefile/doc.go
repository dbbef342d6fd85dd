// Package statefile keeps small files in the state folder that outlive a restart
// and a power cut: whatever interrupts a write, the file is the old one or the
// new one. It knows nothing of what is in them; the history package and the
// daemon's wiring do.
package statefile
