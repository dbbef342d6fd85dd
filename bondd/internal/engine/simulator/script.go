package simulator

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bondd.internal/config/bonding"
)

// A Script is a World and what happens in it. Its text begins with a line that
// describes the World, such as
//
//	world active-backup slaves=3 primary=eth0 path damping forward=30s
//
// Lines that begin with # are comments.
type Script struct {
	Setup   Setup
	Actions []Action
}

// ParseScript reads a script.
func ParseScript(text string) (*Script, error) {
	s := &Script{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case s.Setup.Mode == "":
			setup, err := parseSetup(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			s.Setup = setup
		default:
			s.Actions = append(s.Actions, Action(line))
		}
	}
	return s, nil
}

func parseSetup(line string) (Setup, error) {
	f := strings.Fields(line)
	if len(f) < 2 || f[0] != "world" {
		return Setup{}, fmt.Errorf("%q is not a world", line)
	}
	mode, err := bonding.ParseMode(f[1])
	if err != nil {
		return Setup{}, err
	}
	s := Setup{Mode: mode, Slaves: 2}
	for _, word := range f[2:] {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "slaves":
			s.Slaves, err = strconv.Atoi(value)
		case "primary":
			s.Primary = value
		case "path":
			s.Path = true
		case "damping":
			s.Damping = true
		case "faults":
			s.Faults = true
		case "kinds":
			s.Kinds = strings.Split(value, ",")
		case "updelay":
			s.UpDelay = value
		case "downdelay":
			s.DownDelay = value
		case "reselect":
			s.Reselect = value
		case "fail_over_mac":
			s.FailOverMAC = value
		case "members":
			s.Members = strings.Split(value, ",")
		case "targets":
			s.Targets, err = strconv.Atoi(value)
		case "any":
			s.Any = true
		case "speeds":
			s.Speeds, err = numbers(value)
		case "prio":
			s.Prio, err = numbers(value)
		case "forward":
			s.Forward, err = time.ParseDuration(value)
		case "lag":
			s.Lag, err = time.ParseDuration(value)
		case "train":
			s.Train, err = time.ParseDuration(value)
		default:
			err = fmt.Errorf("%q is not a property of a world", word)
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// numbers reads a list with commas.
func numbers(list string) (all []int, err error) {
	for _, text := range strings.Split(list, ",") {
		n, nerr := strconv.Atoi(text)
		all, err = append(all, n), errors.Join(err, nerr)
	}
	return all, err
}

// String is the script's text.
func (s *Script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "world %s slaves=%d", s.Setup.Mode, s.Setup.Slaves)
	word := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, " %s=%s", key, value)
		}
	}
	flag := func(key string, set bool) {
		if set {
			b.WriteString(" " + key)
		}
	}
	list := func(key string, numbers []int) {
		var words []string
		for _, n := range numbers {
			words = append(words, strconv.Itoa(n))
		}
		word(key, strings.Join(words, ","))
	}
	word("members", strings.Join(s.Setup.Members, ","))
	word("primary", s.Setup.Primary)
	word("reselect", s.Setup.Reselect)
	word("fail_over_mac", s.Setup.FailOverMAC)
	flag("path", s.Setup.Path)
	if s.Setup.Targets > 1 {
		list("targets", []int{s.Setup.Targets})
	}
	flag("any", s.Setup.Any)
	flag("damping", s.Setup.Damping)
	flag("faults", s.Setup.Faults)
	word("updelay", s.Setup.UpDelay)
	word("downdelay", s.Setup.DownDelay)
	word("kinds", strings.Join(s.Setup.Kinds, ","))
	list("prio", s.Setup.Prio)
	list("speeds", s.Setup.Speeds)
	if s.Setup.Forward > 0 {
		word("forward", s.Setup.Forward.String())
	}
	if s.Setup.Train > 0 {
		word("train", s.Setup.Train.String())
	}
	if s.Setup.Lag > 0 {
		word("lag", s.Setup.Lag.String())
	}
	b.WriteString("\n")
	for _, a := range s.Actions {
		b.WriteString(string(a) + "\n")
	}
	return b.String()
}

// Run runs the script in a World of that seed. The error names the first line
// that does not hold.
func (s *Script) Run(seed uint64) (*World, error) {
	w := New(s.Setup, seed)
	return w, s.run(w)
}

func (s *Script) run(w *World) error {
	for i, a := range s.Actions {
		if err := w.Do(a); err != nil {
			return fmt.Errorf("action %d, %q: %w", i+1, a, err)
		}
	}
	return nil
}

// Trace runs the script and returns every step.
func (s *Script) Trace(seed uint64) string {
	w := New(s.Setup, seed)
	w.trace = new(strings.Builder)
	err := s.run(w)
	fmt.Fprintf(w.trace, "%v\n", err)
	return w.trace.String()
}

// Shrink returns the shortest script that it finds that still fails. The time that
// is given before something is expected stays: without it any expectation fails.
func (s *Script) Shrink(seed uint64) *Script {
	small := &Script{s.Setup, append([]Action(nil), s.Actions...)}
	for width := len(small.Actions) / 2; width > 0; width /= 2 {
		for from := 0; from+width <= len(small.Actions); {
			less := &Script{s.Setup, append(append([]Action(nil), small.Actions[:from]...), small.Actions[from+width:]...)}
			hasty := from > 0 && from+width < len(small.Actions) &&
				strings.HasPrefix(string(small.Actions[from+width]), "expect ") &&
				!strings.HasPrefix(string(less.Actions[from-1]), "wait ")
			if hasty {
				from += width
				continue
			}
			if _, err := less.Run(seed); err != nil {
				small = less
			} else {
				from += width
			}
		}
	}
	return small
}
