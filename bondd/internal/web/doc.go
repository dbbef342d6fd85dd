// Package web serves the status page, the API and the health checks.
//
// It stands at the end of the flow and only reads: everything it shows comes
// from the published state.Snapshot, so that it can neither wait for the kernel
// nor disagree with the metrics. Page and script are embedded; a browser needs
// nothing but bondd to show them.
package web
