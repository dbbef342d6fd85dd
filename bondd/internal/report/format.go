package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Megabits writes a speed in megabits per second: "100 Mbit/s", "2.5 Gbit/s".
func Megabits(n int) string {
	if n < 1000 {
		return fmt.Sprintf("%d Mbit/s", n)
	}
	return fmt.Sprintf("%g Gbit/s", float64(n)/1000)
}

// Bytes writes a size with a decimal unit and three digits, as ifconfig's
// parentheses do: "0 B", "999 B", "1.50 kB", "12.3 GB".
func Bytes(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1000, 0
	for v >= 999.5 && unit < len("kMGTPE")-1 {
		v /= 1000
		unit++
	}
	digits := 0
	switch {
	case v < 9.995:
		digits = 2
	case v < 99.95:
		digits = 1
	}
	return fmt.Sprintf("%.*f %cB", digits, v, "kMGTPE"[unit])
}

// Ago writes how long ago something was, in the one unit that matters: "just
// now", "12 s ago", "3 min ago", "5 h ago", "2 days ago".
func Ago(d time.Duration) string {
	if d < time.Second {
		return "just now"
	}
	return Span(d) + " ago"
}

// Span writes a length of time in the one unit that matters: "12 s", "3 min",
// "5 h", "2 days".
func Span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

// Took writes how long a failover took: "0.85 ms", "63.2 ms", "1.20 s".
func Took(seconds float64) string {
	switch ms := seconds * 1000; {
	case ms < 9.995:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 999.5:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.2f s", seconds)
}

// List joins names as a sentence does: "eth0, eth1 and eth2".
func List(names []string) string { return join(names, "and") }

func join(names []string, word string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " " + word + " " + names[last]
}

// Offset writes the time from the first moment of a switch to another: "0",
// "+85 µs", "+1.30 ms", "+2.40 s".
func Offset(d time.Duration) string {
	switch {
	case d <= 0:
		return "0"
	case d < 9_995*time.Nanosecond:
		return fmt.Sprintf("+%.1f µs", float64(d)/1e3)
	case d < 999_500*time.Nanosecond:
		return fmt.Sprintf("+%.0f µs", float64(d)/1e3)
	}
	return "+" + Took(d.Seconds())
}

// Digits writes a number with its thousands apart.
func Digits(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
