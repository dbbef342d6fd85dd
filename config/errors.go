package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An Error is one finding in a configuration file.
type Error struct {
	File    string
	Line    int // from 1
	Col     int // from 1, in characters
	Message string
}

// Error prints FILE:LINE:COL: what is wrong, and what would be right.
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Message)
}

// Errors are all findings in a file, in the order of their places.
type Errors []*Error

// Error prints one finding per line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As every finding.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i := range e {
		errs[i] = e[i]
	}
	return errs
}

// quote prints what a user wrote inside a message: on one line whatever is in
// it, and not longer than a line bears.
func quote(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return strconv.Quote(string(r[:most])) + "…"
	}
	return strconv.Quote(s)
}

// or joins alternatives: a, b or c.
func or(words []string) string {
	switch n := len(words); n {
	case 0:
		return ""
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
}

// maxWord is the length in bytes of the longest word for which a name is looked
// for: no name is longer, and the distance costs the product of the lengths.
const maxWord = 32

// nearest returns the one of names that word is most likely a slip for, or the
// empty string where none is near.
func nearest(word string, names []string) string {
	if len(word) > maxWord {
		return ""
	}
	best, least := "", min(3, 2+len(word)/6) // two slips, in a short word one
	for _, name := range names {
		if d := distance(strings.ToLower(word), name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance is the number of slips between two words: a letter too many, missing,
// wrong, or two swapped (Damerau and Levenshtein, each place touched once).
func distance(a, b string) int {
	row := func(first int) []int {
		r := make([]int, len(b)+1)
		r[0] = first
		return r
	}
	var before, above []int
	above = row(0)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		here := row(i + 1)
		for j := range len(b) {
			wrong := above[j]
			if a[i] != b[j] {
				wrong++
			}
			here[j+1] = min(wrong, above[j+1]+1, here[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				here[j+1] = min(here[j+1], before[j-1]+1)
			}
		}
		before, above = above, here
	}
	return above[len(b)]
}

// maxFindings is the number of findings that are told of one file. One that is
// no configuration at all would otherwise answer with more lines than it has.
const maxFindings = 100

// findings collects Errors of one file by offset.
type findings struct {
	doc *document
	all []finding
}

type finding struct {
	at      int // offset in the file
	message string
}

// add notes a finding at an offset of the file.
func (f *findings) add(at int, format string, args ...any) {
	f.all = append(f.all, finding{at, fmt.Sprintf(format, args...)})
}

// err returns the findings as Errors, or nil if there are none.
func (f *findings) err() error {
	if errs := f.sorted(); len(errs) > 0 {
		return errs
	}
	return nil
}

// sorted returns the findings in the order of their places.
func (f *findings) sorted() Errors {
	slices.SortStableFunc(f.all, func(a, b finding) int { return a.at - b.at })
	all := f.all
	if n := len(all); n > maxFindings {
		all = append(
			all[:maxFindings:maxFindings],
			finding{
				all[maxFindings].at,
				fmt.Sprintf("from here on there are %d more findings: put these right first", n-maxFindings),
			},
		)
	}
	errs := make(Errors, len(all))
	for i, e := range all {
		line, col := f.doc.position(e.at)
		errs[i] = &Error{File: f.doc.name, Line: line, Col: col, Message: e.message}
	}
	return errs
}
