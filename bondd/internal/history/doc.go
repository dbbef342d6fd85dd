// Package history keeps the flight recorder on disk, so that its story goes on
// over restarts.
//
// It stands beside the other views at the end of the flow: it reads the
// published state.Snapshot and writes Snapshot.History to one file, seldom
// enough for cheap flash. At start Load gives the file back, for the engine to
// go on from. A disk that fails costs the memory of past failovers and nothing
// else.
package history
