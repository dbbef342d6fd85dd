// Package report is what bondd tells of itself: the JSON of /api/v1/status and
// the plain sentences that go with it.
//
// It stands between the published state.Snapshot and everything that a person
// reads. The server encodes a Status, the status page is rendered from one and
// the command line decodes one, so that all three say the same in the same
// words. It does no I/O.
package report
