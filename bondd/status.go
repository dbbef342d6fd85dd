package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"

	"bondd.internal/bondd/internal/statustext"
)

// exitDegraded: it works, but not as it should.
const exitDegraded = 3

func runStatus(ctx context.Context, std stdio, flags *flag.FlagSet, args []string) int {
	asJSON := flags.Bool("json", false, "print what /api/v1/status gives")
	url := flags.String("url", "http://localhost", "`URL` of the daemon's page")
	if code, ok := parse(std, flags, args); !ok {
		return code
	}
	st, err := statustext.Fetch(ctx, *url)
	if err != nil {
		fmt.Fprintln(std.err, "bondd status:", err)
		return exitError
	}
	if *asJSON {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		err = enc.Encode(st)
	} else {
		err = statustext.Write(std.out, st)
	}
	if err != nil {
		fmt.Fprintln(std.err, "bondd status:", err)
		return exitError
	}
	return statustext.ExitCode(st)
}
