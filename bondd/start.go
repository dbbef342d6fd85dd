package main

import (
	"os"
)

// firstStartVariable is what gokrazy's init sets for a program's first start
// after a boot, and not when it starts the program again.
const firstStartVariable = "GOKRAZY_FIRST_START"

// An origin has the facts that say who started this process. They are read
// once, in thisProcess, so that tests can have others.
type origin struct {
	parent     int  // process id
	gokrazy    bool // the folder of gokrazy's own programs, its init among them, exists
	firstStart bool // firstStartVariable is set
}

// thisProcess reads the facts about this process.
func thisProcess() origin {
	_, err := os.Stat("/gokrazy")
	return origin{parent: os.Getppid(), gokrazy: err == nil, firstStart: os.Getenv(firstStartVariable) != ""}
}

// byGokrazy reports whether gokrazy's init started the process. The init is
// process 1 and starts programs itself, the first time and again after their
// end; its folder tells it from the init of any other system.
func (o origin) byGokrazy() bool {
	return o.firstStart || o.parent == 1 && o.gokrazy
}
