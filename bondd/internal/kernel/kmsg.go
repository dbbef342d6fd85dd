package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// kmsgFile is the kernel's log (Documentation/ABI/testing/dev-kmsg).
const kmsgFile = "/dev/kmsg"

// kmsgRecord is more than the longest record, in bytes (PRINTK_MESSAGE_MAX, kernel/printk/internal.h).
const kmsgRecord = 8 << 10

// keepLost bounds how many lines about lost links a Log remembers.
const keepLost = 64

// markerSlack is how long writing a marker may take: a stamp that may be off by
// more than half of it is none.
const markerSlack = 2 * time.Millisecond

// A Log is the kernel's log, from when it was opened on. It is read only when
// something is asked of it, never waits, and is for one goroutine at a time.
type Log struct {
	fd   int
	buf  []byte
	lost []record // lines that tell of a lost link, oldest first
}

// A record is one line of the kernel's log.
type record struct {
	stamp time.Duration // local_clock(), which is no clock that programs can read
	text  string
}

// OpenLog opens the kernel's log at its end.
func OpenLog() (*Log, error) {
	fd, err := unix.Open(kmsgFile, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", kmsgFile, err)
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("go to the end of %s: %w", kmsgFile, err)
	}
	return &Log{fd: fd, buf: make([]byte, kmsgRecord)}, nil
}

// Close closes the log.
func (l *Log) Close() { unix.Close(l.fd) }

// LinkDown tells when a card's driver logged last, at or after since, that the
// card lost its link: the kernel's own stamp, as wall-clock time. ok is false if
// it logged nothing of the kind, as many virtual cards never do, or if the
// stamp's time is not known.
//
// The kernel stamps its log by a clock of its own. So the clocks need not be
// assumed to agree, a line is written to the log, on the level of debugging
// that no console shows, and its stamp is read back. what is that line, for
// whoever reads the kernel's log. The kernel takes ten lines in five seconds
// from one file; when it drops one, the time is not known.
func (l *Log) LinkDown(name string, since time.Time, what string) (at time.Time, ok bool) {
	marker := markerText(what)
	before := time.Now()
	_, err := unix.Write(l.fd, []byte("<7>"+marker+"\n"))
	took := time.Since(before)
	if err != nil {
		l.readTo("") // what was logged is not lost for later
		return time.Time{}, false
	}
	stamp, ok := l.readTo(marker)
	if !ok || took > markerSlack {
		return time.Time{}, false
	}
	for i := len(l.lost) - 1; i >= 0; i-- {
		if !names(l.lost[i].text, name) {
			continue
		}
		if at = before.Add(took/2 + l.lost[i].stamp - stamp); !at.Before(since) {
			return at, true
		}
		break // the others are older still
	}
	return time.Time{}, false
}

// markerText is the line as the log gives it back: it escapes all but printable ASCII.
func markerText(what string) string {
	const longest = 200
	what = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '\\' {
			return '?'
		}
		return r
	}, what)
	return "bondd: " + what[:min(len(what), longest)]
}

// readTo reads the records up to a marker, or to the end if there is none, and
// keeps those that tell of a lost link.
func (l *Log) readTo(marker string) (stamp time.Duration, ok bool) {
	for {
		n, err := unix.Read(l.fd, l.buf)
		switch {
		case errors.Is(err, unix.EPIPE): // overwritten before it was read; the next read goes on behind
			continue
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EINVAL): // EINVAL: a record that does not fit is passed over
			continue
		case err != nil: // EAGAIN: the end
			return 0, false
		}
		r, ok := parseRecord(l.buf[:n])
		if !ok {
			continue
		}
		if marker != "" && r.text == marker {
			return r.stamp, true
		}
		if linkDownLine.MatchString(r.text) {
			l.lost = append(l.lost, r)
			l.lost = l.lost[max(0, len(l.lost)-keepLost):]
		}
	}
}

// parseRecord reads one record: "level,sequence,microseconds,flags;text", with
// properties of a device in further lines.
func parseRecord(b []byte) (record, bool) {
	head, text, ok := bytes.Cut(b, []byte(";"))
	fields := bytes.Split(head, []byte(","))
	if !ok || len(fields) < 3 {
		return record{}, false
	}
	us, err := strconv.ParseInt(string(fields[2]), 10, 64)
	if err != nil {
		return record{}, false
	}
	text, _, _ = bytes.Cut(text, []byte("\n"))
	return record{stamp: time.Duration(us) * time.Microsecond, text: string(text)}, true
}

// linkDownLine matches what the drivers of network cards log of a lost link:
// "NIC Link is Down", "Link is Down", "link down", "NIC Copper Link is Down",
// "carrier off", "link change old 1000 new 0". The bonding driver's own "link
// status definitely down" is no such line: it tells when the bond's monitor looked.
var linkDownLine = regexp.MustCompile(`(?i)\blink (is )?down\b|\bcarrier off\b|\blink change old \d+ new 0\b`)

// names reports whether a line is about the link of that name.
func names(text, name string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], name)
		if i < 0 || name == "" {
			return false
		}
		start, end := from+i, from+i+len(name)
		if (start == 0 || !partOfName(text[start-1])) && (end == len(text) || !partOfName(text[end])) {
			return true
		}
		from = start + 1
	}
}

// partOfName reports whether a byte may be in the middle of a link's name.
func partOfName(c byte) bool {
	return c == '_' || c == '-' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
