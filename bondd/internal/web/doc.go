// Package web serves the status page, the API and the health checks.
//
// It stands at the end of the flow. Everything it shows comes from the published
// state.Snapshot, so that it can neither wait for the kernel nor disagree with
// the metrics. What an operator orders it hands on to the engine, after it has
// seen who asks. Page and script are embedded; a browser needs nothing but bondd
// to show them.
package web
