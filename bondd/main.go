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

	"bondd.internal/config"
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
	in       io.Reader
	out, err io.Writer
}

func commands() []command {
	return []command{
		{"run", "[--config FILE] [--admin-password FILE] [--state FOLDER]",
			"the daemon; gokrazy's init starts it as bare bondd too", runDaemon},
		{"check", "[--strict] FILE",
			"validates a configuration (-: standard input) and says what it means; exits 0 if it is good, 1 if it is not",
			runCheck},
		{"probe", "[--json] [--save FILE] [--from FILE]",
			"says whether this machine's cards are fit to be bonded; exits 0 pass, 3 warn, 1 fail", runProbe},
		{"status", "[--json] [--url URL]",
			"shows the bonds; exits 0 healthy, 3 degraded, 1 down or unreachable", runStatus},
		{"failover", "[--bond BOND] --to SLAVE [--url URL] [--password-file FILE]",
			"moves a bond's traffic to a slave; exits 0 if it is there, 1 if not", runFailover},
		{"drill", "[--bond BOND] [--url URL] [--password-file FILE]",
			"fails over to every backup and back, and says what was lost; " +
				"exits 0 if all passed, 3 if not, 1 if nothing was tried", runDrill},
		{"version", "",
			"prints the version", runVersion},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	code := newProgram(stdio{os.Stdin, os.Stdout, os.Stderr}, thisProcess()).dispatch(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// A program is bondd's command line.
type program struct {
	std      stdio
	origin   origin
	commands []command
}

func newProgram(std stdio, from origin) *program {
	return &program{std: std, origin: from, commands: commands()}
}

// dispatch runs the command that args name and returns its exit code.
func (p *program) dispatch(ctx context.Context, args []string) int {
	flag := "" // in the place of a command
	if len(args) > 0 {
		if !strings.HasPrefix(args[0], "-") {
			return p.command(ctx, args[0], args[1:])
		}
		flag = args[0]
	}
	switch flag {
	case "-h", "-help", "--help":
		return p.command(ctx, "help", args[1:])
	case "-version", "--version":
		return p.command(ctx, "version", args[1:])
	}
	if p.origin.byGokrazy() {
		return p.command(ctx, "run", args)
	}
	if flag != "" {
		fmt.Fprintf(p.std.err, "bondd: missing command before %s; the daemon is bondd run\n\n", flag)
	}
	p.usage(p.std.err)
	return exitUsage
}

// command runs the command of that name.
func (p *program) command(ctx context.Context, name string, args []string) int {
	if name == "help" {
		return p.help(ctx, args)
	}
	c := p.lookup(name)
	if c == nil {
		return exitUsage
	}
	return c.run(ctx, p.std, p.flags(c), args)
}

// lookup returns the command of that name, or says that there is none.
func (p *program) lookup(name string) *command {
	for i := range p.commands {
		if p.commands[i].name == name {
			return &p.commands[i]
		}
	}
	fmt.Fprintf(p.std.err, "bondd: there is no command %q\n\n", name)
	p.usage(p.std.err)
	return nil
}

// flags returns an empty set of flags for a command. It prints to where errors
// go, until parse is asked for help.
func (p *program) flags(c *command) *flag.FlagSet {
	flags := flag.NewFlagSet("bondd "+c.name, flag.ContinueOnError)
	flags.SetOutput(p.std.err)
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "usage: bondd %s\n%s\n", strings.TrimSpace(c.name+" "+c.arguments), c.summary)
		writeFlags(flags.Output(), flags)
	}
	return flags
}

// writeFlags describes the flags of a command as they are written in the usage.
func writeFlags(w io.Writer, flags *flag.FlagSet) {
	flags.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		fmt.Fprintf(w, "  --%s\n    \t%s", strings.TrimSpace(f.Name+" "+value), text)
		if f.DefValue != "" && f.DefValue != "false" {
			fmt.Fprintf(w, " (default %q)", f.DefValue)
		}
		fmt.Fprintln(w)
	})
}

// help prints the usage of one command, or of all of them.
func (p *program) help(ctx context.Context, args []string) int {
	switch {
	case len(args) == 0 || strings.HasPrefix(args[0], "-"):
		p.usage(p.std.out)
		return exitOK
	case len(args) > 1:
		fmt.Fprintf(p.std.err, "bondd help: unexpected argument %q: write bondd help COMMAND\n", args[1])
		return exitUsage
	case args[0] == "config":
		fmt.Fprint(p.std.out, config.Sample())
		return exitOK
	case args[0] == "help":
		fmt.Fprintln(p.std.out, "usage: bondd help [COMMAND|config]")
		return exitOK
	}
	// Every command defines its flags by itself, and ends when it is asked for help.
	return p.command(ctx, args[0], []string{"--help"})
}

// summaryColumn is how wide a call may be for its summary to stand beside it.
const summaryColumn = 30

func (p *program) usage(w io.Writer) {
	fmt.Fprintf(w, "bondd bonds network cards for failover.\n\nusage: bondd COMMAND [ARGUMENTS]\n\n")
	for _, c := range p.commands {
		call := strings.TrimSpace(c.name + " " + c.arguments)
		if len(call) > summaryColumn {
			call += "\n" + strings.Repeat(" ", 2+summaryColumn)
		}
		fmt.Fprintf(w, "  %-*s %s\n", summaryColumn, call, c.summary)
	}
	fmt.Fprintf(
		w,
		"\nbondd help COMMAND says more about one of them, bondd help config\nabout the configuration file.\n",
	)
}

// parse reads a command's flags and its arguments, which positional names, in
// any order. Afterwards flags.Args are the arguments. ok is false if the command
// ends here, with this code: it was asked for help, or is not called as it has
// to be.
func parse(std stdio, flags *flag.FlagSet, args []string, positional ...string) (code int, ok bool) {
	given, err := parseFlags(flags, args)
	if err == nil && len(given) > len(positional) {
		err = unexpected(flags, given[len(positional)])
	} else if err == nil && len(given) < len(positional) {
		err = fmt.Errorf("missing argument %s", positional[len(given)])
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(std.out)
		flags.Usage()
		return exitOK, false
	case err != nil:
		fmt.Fprintf(std.err, "%s: %v\n", flags.Name(), err)
		flags.Usage()
		return exitUsage, false
	}
	return exitOK, true
}

// parseFlags parses flags wherever they stand, and returns the arguments
// between them. The flag package by itself ends at the first of those.
func parseFlags(flags *flag.FlagSet, args []string) (given []string, err error) {
	output, usage := flags.Output(), flags.Usage
	flags.SetOutput(io.Discard) // it would print an error before it returns it
	flags.Usage = func() {}
	defer func() {
		flags.SetOutput(output)
		flags.Usage = usage
	}()
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		rest := flags.Args()
		if n := len(args) - len(rest); len(rest) == 0 || n > 0 && args[n-1] == "--" {
			given = append(given, rest...)
			return given, flags.Parse(append([]string{"--"}, given...))
		}
		given, args = append(given, rest[0]), rest[1:]
	}
}

// unexpected says what an argument that a command does not take may have been
// meant for.
func unexpected(flags *flag.FlagSet, arg string) error {
	set := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { set[f.Name] = true })
	open := func(name string) bool { return flags.Lookup(name) != nil && !set[name] }
	address := strings.ContainsAny(arg, ".:/")
	switch {
	case open(arg):
		return fmt.Errorf("unexpected argument %q; did you mean --%s?", arg, arg)
	case open("url") && address && !open("config"):
		return fmt.Errorf("unexpected argument %q; did you mean --url %s?", arg, arg)
	case open("to") && !address:
		return fmt.Errorf("unexpected argument %q; did you mean --to %s?", arg, arg)
	case open("config"):
		return fmt.Errorf("unexpected argument %q; did you mean --config %s?", arg, arg)
	}
	return fmt.Errorf("unexpected argument %q", arg)
}

func runVersion(_ context.Context, std stdio, flags *flag.FlagSet, args []string) int {
	if code, ok := parse(std, flags, args); !ok {
		return code
	}
	fmt.Fprintln(std.out, "bondd", version())
	return exitOK
}

// stamped is the version that the image's build gives to the linker. Nothing
// else sets it.
var stamped string

// version is the image's version or else what the go command put into the binary:
// the module's version, or the revision it was built from.
func version() string {
	if stamped != "" {
		return stamped
	}
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
