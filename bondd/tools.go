package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"time"

	"bondd.internal/hwprobe"
)

// probeTimeout bounds what asking every NIC may take.
const probeTimeout = 10 * time.Second

func runProbe(ctx context.Context, std stdio, flags *flag.FlagSet, args []string) int {
	asJSON := flags.Bool("json", false, "print the report as JSON")
	if code, ok := parse(std, flags, args); !ok {
		return code
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	nics, err := hwprobe.Inventory(ctx, hwprobe.Source{})
	if err != nil {
		fmt.Fprintln(std.err, "bondd probe:", err)
		return exitError
	}
	report := hwprobe.Judge(nics, hwprobe.Policy{Mode: hwprobe.Enforce, Match: hwprobe.MatchChipset}, nil)
	if *asJSON {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	} else {
		err = report.WriteText(std.out)
	}
	if err != nil {
		fmt.Fprintln(std.err, "bondd probe:", err)
		return exitError
	}
	switch report.Verdict {
	case hwprobe.VerdictPass:
		return exitOK
	case hwprobe.VerdictWarn:
		return exitDegraded
	}
	return exitError
}
