package main

import (
	"context"
	"flag"
	"fmt"
)

const exitDegraded = 3

func runStatus(_ context.Context, std stdio, _ *flag.FlagSet, _ []string) int {
	fmt.Fprintln(std.err, "not yet")
	return exitError
}
