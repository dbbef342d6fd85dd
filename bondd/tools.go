package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"bondd.internal/hwprobe"
)

// probeTimeout bounds what asking every NIC may take.
const probeTimeout = 30 * time.Second

func runProbe(ctx context.Context, std stdio, flags *flag.FlagSet, args []string) int {
	asJSON := flags.Bool("json", false, "print the report as JSON")
	save := flags.String("save", "", "write what was read to this `FILE`, to be judged elsewhere")
	from := flags.String("from", "", "judge what another machine has saved in this `FILE` (-: standard input)")
	identities := flags.Bool("with-identities", false, "save hardware addresses as they are, not replaced")
	roms := flags.Bool("read-roms", false, "read the option ROMs of cards whose interface is down; needs root")
	if code, ok := parse(std, flags, args); !ok {
		return code
	}
	code, err := probe(ctx, std, probeOptions{*asJSON, *save, *from, *identities, *roms})
	if err != nil {
		fmt.Fprintln(std.err, "bondd probe:", err)
	}
	return code
}

// probeOptions are the flags of bondd probe.
type probeOptions struct {
	asJSON           bool
	save, from       string
	identities, roms bool
}

// probe reads a machine, judges it and prints the report.
func probe(ctx context.Context, std stdio, o probeOptions) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var src hwprobe.Source
	if o.from != "" {
		archive, err := readArchive(o.from)
		if err != nil {
			return exitError, err
		}
		src = archive.Source()
	}
	if o.roms {
		if o.from != "" {
			return exitUsage, errors.New("--read-roms reads this machine's cards: it does not go with --from")
		}
		src.ROM = hwprobe.ROMReader("")
	}
	machine, archive, err := hwprobe.Record(ctx, src)
	if err != nil {
		return exitError, err
	}
	if o.save != "" {
		if err := archive.Save(o.save, o.identities); err != nil {
			return exitError, err
		}
		how := "hardware addresses replaced"
		if o.identities {
			how = "with hardware addresses"
		}
		fmt.Fprintf(std.err, "saved to %s, %s\n", o.save, how)
	}
	report := machine.Judge(hwprobe.Policy{Mode: hwprobe.Enforce, Match: hwprobe.MatchChipset}, nil)
	if o.asJSON {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	} else {
		err = report.WriteText(std.out)
	}
	if err != nil {
		return exitError, err
	}
	switch report.Verdict {
	case hwprobe.VerdictPass:
		return exitOK, nil
	case hwprobe.VerdictWarn:
		return exitDegraded, nil
	}
	return exitError, nil
}

// readArchive reads a saved machine.
func readArchive(name string) (*hwprobe.Archive, error) {
	if name == "-" {
		return hwprobe.ReadArchive(os.Stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	archive, err := hwprobe.ReadArchive(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return archive, nil
}
