// Package statustext is the view of bondd for a terminal: it fetches the status
// that a running bondd serves and writes it as a person wants to read it, with
// the counters named and laid out as ifconfig does.
package statustext
