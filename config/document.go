package config

import (
	"bytes"
	"errors"
	"regexp"
	"sort"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A document is a TOML file as a tree in which every key and every value knows
// its place. The syntax is go-toml's; the tree is our own because no decoder
// tells the place of a value that is good TOML and a bad setting.
type document struct {
	name  string
	data  []byte
	lines []int // offset of the first byte of each line
	root  *value
}

// A value is one node of the tree.
type value struct {
	kind  kind
	at    int      // offset in the file
	text  string   // of a string: what it says; of any other scalar: as written
	items []*value // of an array
	keys  []member // of a table, in the order of the file

	index  map[string]int // of a table: place in keys
	origin origin         // of a table or array: what may still be added to it
}

// A member is one key of a table and what it is set to.
type member struct {
	name  string
	at    int // offset of the key
	value *value
}

type kind int

const (
	kindOther kind = iota // dates, times: nothing here takes one
	kindString
	kindInteger
	kindFloat
	kindBool
	kindArray
	kindTable
)

// words says what a value is, for "… and not …".
func (k kind) words() string {
	switch k {
	case kindString:
		return "a string"
	case kindInteger, kindFloat:
		return "a number"
	case kindBool:
		return "true or false"
	case kindArray:
		return "a list"
	case kindTable:
		return "a table"
	default:
		return "a date or time"
	}
}

// words says what a value says, or else what it is.
func (v *value) words() string {
	switch v.kind {
	case kindInteger, kindFloat, kindBool:
		return v.text
	case kindString:
		return quote(v.text)
	default:
		return v.kind.words()
	}
}

// An origin says how a table or array came to be, for TOML lets only some of
// them be added to later.
type origin int

const (
	closed  origin = iota // written as one value: complete
	implied               // an outer part of a header: its own header may still come
	headed                // by its own [header], or one element of a [[header]]
	dotted                // by a dotted key
	series                // an array that grows by [[header]]
)

func newTable(at int, from origin) *value {
	return &value{kind: kindTable, at: at, index: map[string]int{}, origin: from}
}

// get returns the member of that name, or nil.
func (v *value) get(name string) *member {
	if i, ok := v.index[name]; ok {
		return &v.keys[i]
	}
	return nil
}

func (v *value) set(name string, at int, to *value) *value {
	v.index[name] = len(v.keys)
	v.keys = append(v.keys, member{name, at, to})
	return to
}

// A key is one part of a dotted key.
type key struct {
	name string
	at   int
}

// readDocument reads TOML. What is no TOML goes to found; the tree is then not
// complete.
func readDocument(name string, data []byte, found *findings) *document {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // some editors begin a file with a byte order mark
	data = data[:len(data):len(data)]               // the parser takes offsets from capacities
	d := &document{name: name, data: data, lines: []int{0}, root: newTable(0, headed)}
	for i, c := range data {
		if c == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}
	found.doc = d

	var p unstable.Parser
	p.Reset(data)
	table := d.root
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.KeyValue:
			d.assign(table, e, found)
		case unstable.Table, unstable.ArrayTable:
			table = d.header(e, found)
		}
	}
	if err := p.Error(); err != nil {
		at := len(data)
		if perr := (*unstable.ParserError)(nil); errors.As(err, &perr) {
			at = int(p.Range(perr.Highlight).Offset)
		}
		at, message := d.explain(at, err.Error())
		found.add(at, "%s", message)
	}
	return d
}

// position turns an offset into a line and a column in characters, both from 1.
func (d *document) position(at int) (line, col int) {
	line = sort.SearchInts(d.lines, at+1)
	return line, 1 + utf8.RuneCount(d.data[d.lines[line-1]:at])
}

// line is the line of an offset, from 1.
func (d *document) line(at int) int {
	line, _ := d.position(at)
	return line
}

func keysOf(it unstable.Iterator) []key {
	var keys []key
	for it.Next() {
		n := it.Node()
		keys = append(keys, key{string(n.Data), int(n.Raw.Offset)})
	}
	return keys
}

// header finds or makes the table that [header] or [[header]] opens. After a
// finding it is a table that stands nowhere, so that what follows in it is read
// without more findings of the same cause.
func (d *document) header(e *unstable.Node, found *findings) *value {
	keys := keysOf(e.Key())
	t := d.root
	for _, k := range keys[:len(keys)-1] {
		m := t.get(k.name)
		switch {
		case m == nil:
			t = t.set(k.name, k.at, newTable(k.at, implied))
		case m.value.kind == kindTable && m.value.origin != closed:
			t = m.value
		case m.value.origin == series:
			t = m.value.items[len(m.value.items)-1]
		default:
			return d.conflict(k, m, found)
		}
	}

	last := keys[len(keys)-1]
	m := t.get(last.name)
	if e.Kind == unstable.ArrayTable {
		switch {
		case m == nil:
			m = &member{value: t.set(last.name, last.at, &value{kind: kindArray, at: last.at, origin: series})}
		case m.value.origin == implied:
			found.add(last.at, "[[%s]] stands above its tables: move those in line %d and below it to below this line",
				last.name, d.line(m.at))
			return newTable(last.at, headed)
		case m.value.origin != series:
			return d.conflict(last, m, found)
		}
		element := newTable(last.at, headed)
		m.value.items = append(m.value.items, element)
		return element
	}
	switch {
	case m == nil:
		return t.set(last.name, last.at, newTable(last.at, headed))
	case m.value.origin == implied:
		m.value.origin = headed
		return m.value
	default:
		return d.conflict(last, m, found)
	}
}

// assign puts key = value into a table.
func (d *document) assign(t *value, e *unstable.Node, found *findings) {
	keys := keysOf(e.Key())
	last := keys[len(keys)-1]
	for _, k := range keys[:len(keys)-1] {
		m := t.get(k.name)
		switch {
		case m == nil:
			t = t.set(k.name, k.at, newTable(k.at, dotted))
		case m.value.origin == dotted:
			t = m.value
		default:
			d.conflict(k, m, found)
			return
		}
	}
	v := d.read(e.Value(), d.afterEquals(e), found)
	if m := t.get(last.name); m != nil {
		d.conflict(last, m, found)
		return
	}
	t.set(last.name, last.at, v)
}

// conflict notes that a key is defined again, and returns a table for what
// follows.
func (d *document) conflict(k key, first *member, found *findings) *value {
	found.add(k.at, "%s is set twice: it is already in line %d; keep one of the two", quote(k.name), d.line(first.at))
	return newTable(k.at, headed)
}

// afterEquals is the offset of the value of key = value: the parser does not
// keep where an array begins.
func (d *document) afterEquals(e *unstable.Node) int {
	end := 0
	for it := e.Key(); it.Next(); {
		end = int(it.Node().Raw.Offset + it.Node().Raw.Length)
	}
	rest := d.data[end:]
	value := bytes.TrimLeft(rest, " \t=")
	return end + len(rest) - len(value)
}

// read copies a value out of the parser, which reuses its memory. Where the
// parser keeps no place, it is at.
func (d *document) read(n *unstable.Node, at int, found *findings) *value {
	if n.Raw.Length > 0 {
		at = int(n.Raw.Offset)
	}
	v := &value{at: at, text: string(n.Data)}
	switch n.Kind {
	case unstable.String:
		v.kind = kindString
	case unstable.Integer:
		v.kind = kindInteger
	case unstable.Float:
		v.kind = kindFloat
	case unstable.Bool:
		v.kind = kindBool
	case unstable.Array:
		v.kind = kindArray
		for it := n.Children(); it.Next(); {
			v.items = append(v.items, d.read(it.Node(), at, found))
		}
	case unstable.InlineTable:
		v = newTable(at, closed)
		for it := n.Children(); it.Next(); {
			d.assign(v, it.Node(), found)
		}
	}
	return v
}

// number matches what was clearly meant as a number.
var number = regexp.MustCompile(`^[+-]?[0-9_.]+$`)
