// Package metrics shows bondd's state to Prometheus.
//
// It stands at the end of the flow: a scrape is computed from the published
// state.Snapshot and nothing else. It never asks the kernel, so that a scrape
// cannot wait for the kernel's network lock while a bond is failing over.
package metrics
