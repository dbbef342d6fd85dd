package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// Exit codes that every command shares. What else a command returns stands in its usage.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// A command is one word of the command line.
type command struct {
	name, arguments, summary string
	run                      func(ctx context.Context, std stdio, flags *flag.FlagSet, args []string) int
}

// stdio is where a command reads and writes.
type stdio struct {
	out, err io.Writer
}

func commands() []command {
	return []command{
		{"run", "[--config FILE] [--admin-password FILE]", "the daemon (also without any word)", runDaemon},
		{"check", "FILE", "validates a configuration; exits 0 if it is good, 1 if it is not", runCheck},
		{"probe", "[--json] [--save FILE] [--from FILE]", "says whether a machine's cards are fit to be bonded; exits 0 pass, 3 warn, 1 fail", runProbe},
		{"status", "[--json] [--url URL]", "shows the bonds; exits 0 healthy, 3 degraded, 1 down or unreachable", runStatus},
		{"failover", "[--bond BOND] --to SLAVE [--url URL] [--password-file FILE]", "moves a bond's traffic to a slave; exits 0 if it is there, 1 if not", runFailover},
		{"drill", "[--bond BOND] [--url URL] [--password-file FILE]", "switches to every standby and back, and says what was lost; exits 0 if all passed, 3 if not, 1 if nothing was tried", runDrill},
		{"version", "", "prints the version", runVersion},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	code := dispatch(ctx, stdio{os.Stdout, os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}

// dispatch runs the command that args name and returns its exit code.
func dispatch(ctx context.Context, std stdio, args []string) int {
	name := "run"
	if len(args) > 0 && (args[0] == "" || args[0][0] != '-') {
		name, args = args[0], args[1:]
	} else if len(args) > 0 {
		switch args[0] {
		case "-h", "-help", "--help":
			name, args = "help", nil
		}
	}
	if name == "help" {
		usage(std.out)
		return exitOK
	}
	for _, c := range commands() {
		if c.name != name {
			continue
		}
		flags := flag.NewFlagSet("bondd "+c.name, flag.ContinueOnError)
		flags.SetOutput(std.err)
		flags.Usage = func() {
			fmt.Fprintf(flags.Output(), "usage: bondd %s %s\n%s\n", c.name, c.arguments, c.summary)
			flags.PrintDefaults()
		}
		return c.run(ctx, std, flags, args)
	}
	fmt.Fprintf(std.err, "bondd: there is no command %q\n", name)
	usage(std.err)
	return exitUsage
}

// summaryColumn is how wide a call may be for its summary to stand beside it.
const summaryColumn = 30

func usage(w io.Writer) {
	fmt.Fprintf(w, "bondd makes two network cards one that does not fail.\n\nusage: bondd [COMMAND] [ARGUMENTS]\n\n")
	for _, c := range commands() {
		call := c.name + " " + c.arguments
		if len(call) > summaryColumn {
			call += "\n" + strings.Repeat(" ", 2+summaryColumn)
		}
		fmt.Fprintf(w, "  %-*s %s\n", summaryColumn, call, c.summary)
	}
	fmt.Fprintf(w, "\nbondd COMMAND --help tells more of one.\n")
}

// parse reads a command's flags. ok is false if the command ends here, with this code.
func parse(flags *flag.FlagSet, args []string, positional int) (code int, ok bool) {
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK, false
	case err != nil:
		return exitUsage, false // the flag package has said why
	}
	if n := flags.NArg(); n != positional {
		fmt.Fprintf(flags.Output(), "%s: %d arguments given, %d wanted\n", flags.Name(), n, positional)
		flags.Usage()
		return exitUsage, false
	}
	return exitOK, true
}

func runVersion(_ context.Context, std stdio, flags *flag.FlagSet, args []string) int {
	if code, ok := parse(flags, args, 0); !ok {
		return code
	}
	fmt.Fprintln(std.out, "bondd", version())
	return exitOK
}

// version is the version that the go command put into the binary: the module's,
// or the revision it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "development"
}
