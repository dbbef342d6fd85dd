// Package neighbourtest has what tests of probes need on the other side, in a
// netlab: a router that answers in any shape that routers do, and raw frames.
package neighbourtest
