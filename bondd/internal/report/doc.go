// Package report is the one place for what bondd says: the word and the sentence
// for every condition of a slave, what is wrong with a bond, the events, the JSON
// of the API and the formats of figures.
//
// It stands between the published state.Snapshot and everything that a person
// reads. State has the facts, and what follows from them; here are the words. The
// server encodes a Status, the status page is rendered from one and the command
// line decodes one, and core, drill and the health checks ask for the same
// sentences, so that all of them say the same. It does no I/O.
package report
