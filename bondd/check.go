package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"bondd.internal/config"
)

// standardInput is what findings call a configuration that came by that; gofmt
// does too.
const standardInput = "<standard input>"

func runCheck(ctx context.Context, std stdio, flags *flag.FlagSet, args []string) int {
	strict := flags.Bool("strict", false, "exit with 1 on a warning too")
	if code, ok := parse(std, flags, args, "FILE"); !ok {
		return code
	}
	name := flags.Arg(0)
	open := func() (io.ReadCloser, error) { return os.Open(name) }
	if name == "-" {
		name = standardInput
		open = func() (io.ReadCloser, error) { return io.NopCloser(std.in), nil }
	}
	data, err := readAll(ctx, open)
	if err != nil {
		fmt.Fprintf(std.err, "%s: %v\n", flags.Name(), err)
		return exitError
	}
	cfg, warnings, err := config.Check(name, data)
	if err == nil && *strict && len(warnings) > 0 {
		err = warnings.Errors()
	}
	if err != nil {
		fmt.Fprintln(std.err, err)
		return exitError
	}
	for _, w := range warnings {
		fmt.Fprintln(std.err, w)
	}
	fmt.Fprintf(std.out, "%s: good\n%s", name, cfg.Summary())
	return exitOK
}

// readAll opens and reads a configuration, a pipe or a terminal too: what is
// more than it may have is left. It ends with ctx, for a terminal is waited for.
func readAll(ctx context.Context, open func() (io.ReadCloser, error)) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	resultC := make(chan result, 1) // the reader cannot be stopped: it ends with the process
	go func() {
		f, err := open()
		if err != nil {
			resultC <- result{nil, err}
			return
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, config.MaxSize+1))
		resultC <- result{data, err}
	}()
	select {
	case r := <-resultC:
		return r.data, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("read configuration: %w", ctx.Err())
	}
}
