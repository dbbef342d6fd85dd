package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// longestLine is the length in bytes of a line that is looked at for a repair,
// and that fits into a message.
const longestLine = 200

// explain makes of the parser's message what would be right, for the slips that
// people make who do not write TOML every day. What it says to write was tried:
// the file is then good to the end of that line.
func (d *document) explain(at int, message string) (int, string) {
	number := d.line(at)
	for _, n := range []int{number, d.codeBefore(number)} {
		if n == 0 {
			continue
		}
		start, line := d.text(n)
		if len(line) > longestLine || !utf8.ValidString(line) {
			continue
		}
		if r := rewrite(line); r.why != "" && r.line != line && d.helps(start, len(line), r) {
			advice, at := r.advice, differ(line, r.line)
			if advice == "" {
				advice = "write " + strings.TrimSpace(r.line)
			}
			if strings.TrimSpace(r.line) == "" { // it goes
				at = len(line)
			}
			return start + at, r.why + ": " + advice
		}
	}
	switch {
	case message == "array is incomplete", strings.HasPrefix(message, "expected ',' or ']'"):
		if n := d.listBefore(number); n > 0 {
			message = fmt.Sprintf("the list that begins in line %d has no ] at its end, "+
				"or two of its entries have no comma between them", n)
		}
	case strings.Contains(message, "cannot have new lines"), strings.Contains(message, "not terminated"),
		strings.HasPrefix(message, "unterminated"):
		message += "; the closing quote is missing"
	case strings.HasPrefix(message, "unexpected character"), strings.HasPrefix(message, "expected keyword"):
		message += "; strings must be quoted"
	case strings.HasPrefix(message, "invalid UTF-8"):
		message += "; save the file as UTF-8"
	case message == "expected '=' after key":
		message += "; a line is key = value, or [table]"
	}
	return at, message
}

// text is a line of the file, without its end, and its offset.
func (d *document) text(number int) (start int, line string) {
	start = d.lines[number-1]
	rest := d.data[start:]
	if end := bytes.IndexByte(rest, '\n'); end >= 0 {
		rest = rest[:end]
	}
	return start, strings.TrimSuffix(string(rest), "\r")
}

// codeBefore is the number of the line before this one that says something, 0
// if there is none.
func (d *document) codeBefore(number int) int {
	const most = 20 // further off, nobody looks
	for n := number - 1; n > max(0, number-most); n-- {
		if _, line := d.text(n); strings.TrimSpace(line) != "" && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			return n
		}
	}
	return 0
}

var opensList = regexp.MustCompile(`^\s*[\w.-]+\s*=\s*\[`)

// listBefore is the number of the line, up to this one, in which a list begins.
func (d *document) listBefore(number int) int {
	const most = 100
	for n := number; n > max(0, number-most); n-- {
		if _, line := d.text(n); opensList.MatchString(line) {
			return n
		}
	}
	return 0
}

// helps reports whether the file is good to the end of a line with that in its
// place, or better at least.
func (d *document) helps(start, length int, r repair) bool {
	if syntax([]byte(r.line)) >= 0 {
		return false
	}
	data := slices.Concat(d.data[:start], []byte(r.line), d.data[start+length:])
	at := syntax(data)
	return at < 0 || at > start+len(r.line)
}

// syntax is the offset of the first thing that is not TOML, -1 if there is none.
func syntax(data []byte) int {
	data = data[:len(data):len(data)] // the parser takes offsets from capacities
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
	}
	err := p.Error()
	if err == nil {
		return -1
	}
	if perr := (*unstable.ParserError)(nil); errors.As(err, &perr) {
		return int(p.Range(perr.Highlight).Offset)
	}
	return len(data)
}

// differ is the offset of the first character in which two lines differ.
func differ(a, b string) int {
	at := 0
	for i, r := range a {
		if i >= len(b) || !strings.HasPrefix(b[i:], string(r)) {
			return i
		}
		at = i + utf8.RuneLen(r)
	}
	return min(at, len(a))
}

// A repair is a line as it was probably meant.
type repair struct {
	why, line string
	advice    string // what to say in place of "write" and the line
}

// looks are characters that word processors and web pages put in the place of
// those that TOML knows.
var looks = map[rune]string{
	'“': `"`, '”': `"`, '„': `"`, '‟': `"`, '″': `"`, '«': `"`, '»': `"`, '`': `"`,
	'‘': `'`, '’': `'`, '‚': `'`, '‛': `'`, '′': `'`,
	'\u00a0': " ", '\u2007': " ", '\u202f': " ", '\u3000': " ", '\u2003': " ", '\u2002': " ",
	'\u200b': "", '\u2060': "", '\ufeff': "",
}

var (
	headerForm = regexp.MustCompile(`^\s*\[+\s*([\w.-]+)\s*\]+\s*(.*)$`)
	openHeader = regexp.MustCompile(`^\s*\[+\s*([\w.-]+)\s*$`)
	keyForm    = regexp.MustCompile(`^(\s*)([\w.-]+)(\s*(?:==|:=|=>|=|:)\s*|\s+)(\S.*)$`)
	bareKey    = regexp.MustCompile(`^\s*([\w.-]+)\s*=\s*$`)
	nextKey    = regexp.MustCompile(`^(.*?[^\s,;])[\s,;]+([A-Za-z_][\w.-]*\s*=[^=].*)$`)
	thousands  = regexp.MustCompile(`^\d{1,3}(?:,\d{3})+$`)
	zeros      = regexp.MustCompile(`^[+-]?0+\d+$`)
	spacedUnit = regexp.MustCompile(`^(\d+(?:\.\d+)?)\s+(ns|us|µs|ms|s|m|h)$`)
)

// rewrite puts one line right, as far as it can tell what was meant. The first
// thing that was wrong is the reason.
func rewrite(line string) repair {
	r := repair{line: line}
	r.characters()
	code, comment := r.comment()
	switch m := headerForm.FindStringSubmatchIndex(code); {
	case strings.TrimSpace(code) == "":
		r.line = comment
	case m != nil:
		r.header(code[m[2]:m[3]], code[m[4]:m[5]])
	case openHeader.MatchString(code):
		r.header(openHeader.FindStringSubmatch(code)[1], "")
	case bareKey.MatchString(code):
		key := bareKey.FindStringSubmatch(code)[1]
		r.because(key + " has no value")
		r.advice, r.line = "write one behind the =, or take the line out", ""
	default:
		r.assignment(code, comment)
	}
	return r
}

// notComment is the reason of a comment that begins with something else.
const notComment = "a comment begins with #"

// because notes what is wrong, the first time.
func (r *repair) because(why string) {
	if r.why == "" {
		r.why = why
	}
}

// characters replaces what only looks like the quotes and spaces of TOML.
func (r *repair) characters() {
	r.line = strings.Map(func(c rune) rune {
		to, ok := looks[c]
		switch {
		case !ok:
			return c
		case strings.ContainsRune("“”„‟‘’‚‛", c):
			r.because(fmt.Sprintf("%c is a curly quote, and TOML has straight ones", c))
		case to == `"` || to == `'`:
			r.because(fmt.Sprintf("%c is not a quote in TOML", c))
		default:
			r.because(fmt.Sprintf("there is a character that looks like a space and is not one (%U)", c))
		}
		if to == "" {
			return -1
		}
		return rune(to[0])
	}, r.line)
}

// comment splits the line into what it says and a comment, which begins with
// what begins comments elsewhere too.
func (r *repair) comment() (code, comment string) {
	quote := rune(0)
	for i, c := range r.line {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '#':
			return r.line[:i], r.line[i:]
		case strings.TrimSpace(r.line[:i]) == "" || unicode.IsSpace(rune(r.line[i-1])):
			for _, mark := range []string{"//", ";", "--"} {
				if text, ok := strings.CutPrefix(r.line[i:], mark); ok {
					r.because(notComment)
					return r.line[:i], "# " + strings.TrimSpace(text)
				}
			}
		}
	}
	return r.line, ""
}

// header puts the brackets of a table right. What follows in the line belongs
// into another.
func (r *repair) header(name, rest string) {
	r.line = "[" + name + "]"
	if last := name[strings.LastIndexByte(name, '.')+1:]; name == "bond" || strings.HasPrefix(headers[last], "[[") {
		r.line = "[" + r.line + "]"
	}
	if rest == "" {
		r.because("the brackets of a table are not complete")
		return
	}
	r.because(fmt.Sprintf("%s stands in a line of its own", r.line))
	r.advice = "write what follows it in the next line"
	r.line += "\n" + rest
}

// assignment puts key = value right.
func (r *repair) assignment(code, comment string) {
	m := keyForm.FindStringSubmatch(code)
	switch {
	case m == nil, strings.TrimSpace(m[4]) == "", // some spaces are none to a regular expression
		strings.TrimSpace(m[3]) == "" && strings.Contains(m[4], "="): // more words than one before the =
		r.why = ""
		return
	}
	indent, key, sep, text := m[1], m[2], strings.TrimSpace(m[3]), strings.TrimSpace(m[4])
	switch sep {
	case "=":
	case "":
		r.because(fmt.Sprintf("there is no = between %s and its value", key))
	case ":":
		r.because("a key is set with =, not with a colon")
	default:
		r.because(fmt.Sprintf("a key is set with =, not with %s", sep))
	}
	if m := nextKey.FindStringSubmatch(text); m != nil && syntax([]byte("x = "+m[1])) < 0 && syntax([]byte(m[2])) < 0 {
		r.because("each key stands in a line of its own")
		r.advice = fmt.Sprintf("write %s in the next line", strings.TrimSpace(m[2]))
		r.line = fmt.Sprintf("%s%s = %s\n%s", indent, key, m[1], m[2])
		return
	}
	marked := r.why == notComment
	r.line = indent + key + " = " + r.value(key, text)
	if comment == "" {
		return
	}
	if !marked { // it was good, and stays
		r.advice = "write " + strings.TrimSpace(r.line)
	}
	r.line += " " + comment
}

// value puts a value right, which stands behind key =.
func (r *repair) value(key, text string) string {
	good := func(s string) bool { return syntax([]byte("x = "+s)) < 0 }
	if good(text) {
		return text
	}
	if short := strings.TrimRight(text, ",; \t"); short != text && good(short) {
		r.because(fmt.Sprintf("a line does not end with %q", text[len(text)-1]))
		return short
	}
	switch strings.ToLower(text) {
	case "true", "yes", "on":
		r.because(text + " is not a value")
		return "true"
	case "false", "no", "off":
		r.because(text + " is not a value")
		return "false"
	}
	switch {
	case thousands.MatchString(text):
		r.because("a number has no commas")
		return strings.ReplaceAll(text, ",", "")
	case zeros.MatchString(text):
		r.because("a number does not begin with 0")
		return strings.TrimLeft(text, "+-0")
	case spacedUnit.MatchString(text):
		r.because("strings must be quoted")
		return tomlString(strings.Join(strings.Fields(text), ""))
	}
	return r.words(key, text)
}

// words makes a string of a value, or a list of strings.
func (r *repair) words(key, text string) string {
	list := slices.Contains(listKeys(), key)
	var brackets string // what is wrong with them
	if list && text[0] != '[' {
		brackets = "a list stands in [ and ]"
	}
	if closing, ok := map[byte]string{'[': "]", '(': ")", '{': "}"}[text[0]]; ok {
		if text[0] == '{' && strings.ContainsAny(text, "=:") {
			return text // an inline table, and that can be anything
		}
		list = true
		var closed bool
		text, closed = strings.CutSuffix(strings.TrimRight(text[1:], ",; \t"), closing)
		switch {
		case closing != "]":
			brackets = "a list stands in [ and ]"
		case !closed:
			brackets = "the list has no ] at its end"
		}
	}
	words := r.split(text)
	if brackets != "" {
		r.because(brackets)
	}
	if !list {
		return stringFor(strings.Join(words, " "))
	}
	for i := range words {
		words[i] = stringFor(words[i])
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// split takes a value apart into words, quoted or not.
func (r *repair) split(text string) (words []string) {
	comma := true
	for text != "" {
		switch c := text[0]; c {
		case ' ', '\t':
			text = text[1:]
		case ',', ';':
			if comma && c == ',' && len(words) > 0 {
				r.because("there is a comma too many")
			}
			comma = true
			text = text[1:]
		case '"', '\'':
			end := strings.IndexByte(text[1:], c)
			word := ""
			if end < 0 { // the rest of the line, but for what can only follow a string
				r.because("the closing quote is missing")
				word, text = strings.TrimRight(text[1:], "\"', \t;])}"), ""
			} else {
				word, text = text[1:1+end], text[end+2:]
				if strings.Contains(word, `\`) && syntax([]byte("x = "+string(c)+word+string(c))) >= 0 {
					r.because(`\ begins an escape in a string in double quotes`)
				}
			}
			if !comma {
				r.because("there is no comma between two entries")
			}
			comma = false
			words = append(words, word)
		default:
			end := strings.IndexAny(text, " \t,;\"'")
			if end < 0 {
				end = len(text)
			}
			word := text[:end]
			text = text[end:]
			if text != "" && (text[0] == '"' || text[0] == '\'') && strings.Count(text, text[:1])%2 == 1 {
				r.because("the opening quote is missing")
				text = text[1:]
			}
			r.because("strings must be quoted")
			comma = false
			words = append(words, word)
		}
	}
	return words
}

// stringFor writes a string of TOML, one with backslashes as they are.
func stringFor(s string) string {
	if strings.Contains(s, `\`) && !strings.Contains(s, "'") {
		return "'" + s + "'"
	}
	return tomlString(s)
}

// listKeys are the keys whose values are lists of strings.
func listKeys() []string {
	keys := []string{"slaves", "addresses", "gateways", "dns"}
	for o := range settings() {
		if o.Addresses() {
			keys = append(keys, o.Name)
		}
	}
	return keys
}
