package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
)

//go:embed assets templates
var files embed.FS

// assetURLs maps the name of an asset to an address that changes with its
// content, so that browsers may keep it for ever and still see an update.
var assetURLs = func() map[string]string {
	names, err := fs.Glob(files, "assets/*")
	if err != nil {
		panic(err) // the pattern is malformed
	}
	urls := make(map[string]string)
	for _, name := range names {
		content, err := files.ReadFile(name)
		if err != nil {
			panic(err) // it is embedded
		}
		sum := sha256.Sum256(content)
		urls[path.Base(name)] = "/" + name + "?v=" + hex.EncodeToString(sum[:6])
	}
	return urls
}()

func (h *handler) asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	url, ok := assetURLs[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.URL.RequestURI() == url {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		w.Header().Set("Cache-Control", "no-cache")
	}
	_, version, _ := strings.Cut(url, "=")
	w.Header().Set("ETag", strconv.Quote(version))
	http.ServeFileFS(w, r, files, "assets/"+name)
}

// rendered is the page of one snapshot under one name of the machine.
type rendered struct {
	of    *state.Snapshot
	stale string // whether it was too old by then, and how old
	host  string
	body  []byte
}

// page answers with the status page. It is complete without the script, which
// only fetches it again and again and puts what changed in place. However many
// ask for it, a snapshot is rendered once: that costs a small machine far more
// than an answer.
func (h *handler) page(w http.ResponseWriter, r *http.Request) {
	s, now := h.src.Snapshot(), time.Now()
	stale := report.Stale(s, now)
	p := h.rendered.Load()
	if p == nil || p.of != s || p.stale != stale || p.host != r.Host {
		var body bytes.Buffer
		if err := pageTemplate.Execute(&body, newPage(s, now, r.Host)); err != nil {
			h.log.Error("render status page", "err", err)
			http.Error(w, "the status page could not be rendered", http.StatusInternalServerError)
			return
		}
		p = &rendered{s, stale, r.Host, body.Bytes()}
		h.rendered.Store(p)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	write(w, p.body)
}

// recentEvents is how many events are in view; the older ones are folded away,
// and those beyond maxEvents are only in the API.
const (
	recentEvents = 8
	maxEvents    = 24
)

// shownFailovers is how many entries of the flight recorder are on the page; the
// API has the others.
const shownFailovers = 5

// A page is the status with what only its HTML needs.
type page struct {
	*report.Status
	Host     string        // as the browser knows this machine
	Running  time.Duration // since bondd's start
	TOML     string
	Recent   []state.Event
	Older    []state.Event
	Recorded []report.Failover // the latest failovers
	Switched int               // how many are in the flight recorder
}

func newPage(s *state.Snapshot, now time.Time, host string) *page {
	p := &page{
		Status: report.At(s, now), Host: host, Running: s.Sampled.Sub(s.Started), TOML: s.Config.TOML,
		Recorded: report.HistoryFrom(s, "", shownFailovers).Failovers, Switched: len(s.History),
	}
	p.Recent = p.Events[:min(recentEvents, len(p.Events))]
	p.Older = p.Events[len(p.Recent):min(maxEvents, len(p.Events))]
	return p
}

// Ago is how long before this page a time was.
func (p *page) Ago(t time.Time) string { return report.Ago(p.Time.Sub(t)) }

// Uptime is how long bondd has been running.
func (p *page) Uptime() string { return report.Span(p.Running) }

// Layout is how a wide screen is divided: the table of many cards needs all its
// width, and that of a few is easier to read beside the rest.
func (p *page) Layout() string {
	if len(p.Bonds) == 0 {
		return "empty"
	}
	for i := range p.Bonds {
		if len(p.Bonds[i].Slaves) > 4 {
			return "wide"
		}
	}
	return ""
}

// A wire is the line from a slave's port to its bond in the diagram, in a
// drawing that is 100 wide and 100 high for each slave.
type wire struct {
	Role report.Role
	Path string
}

// wires draws the slaves' wires, the ones that carry traffic last and so on top.
func wires(slaves []report.Slave) []wire {
	var idle, active []wire
	for i := range slaves {
		y, end := i*100+50, len(slaves)*50
		w := wire{slaves[i].Role(), fmt.Sprintf("M0 %d C55 %d 45 %d 100 %d", y, y, end, end)}
		if w.Role == report.Active {
			active = append(active, w)
		} else {
			idle = append(idle, w)
		}
	}
	return append(idle, active...)
}

// A stage is a row in the drawing of a switch's time line: a bar from X, W wide,
// both in hundredths of the drawing's width.
type stage struct {
	Name   string
	Offset string // from the first moment
	X, W   float64
	Beyond bool // it goes on outside of the drawing
}

// stages draws the time line of a switch. The first packet may be long in coming
// where nobody sends any: it must not press everything else into nothing.
func stages(s report.Failover) []stage {
	moments := s.Moments()
	if len(moments) == 0 {
		return nil
	}
	first, last := moments[0].At, moments[0].At // the last but for the first packet
	for _, m := range moments {
		if m.At.Before(first) {
			first = m.At
		}
		if m.At.After(last) && !m.At.Equal(s.FirstPacket) {
			last = m.At
		}
	}
	width := last.Sub(first)
	if packet := s.FirstPacket.Sub(first); packet > 0 && packet <= 4*width {
		width = max(width, packet)
	} else if packet > width {
		width = width * 4 / 3
	}
	const sliver = 0.7 // what can still be seen
	x := func(t time.Time) float64 {
		if width <= 0 {
			return 0
		}
		return min(100-sliver, 100*float64(t.Sub(first))/float64(width))
	}
	var drawn []stage
	for _, m := range moments {
		at := stage{
			Name:   m.Name,
			Offset: report.Offset(m.At.Sub(first)),
			X:      min(x(m.From), x(m.At)),
			Beyond: m.At.Sub(first) > width,
		}
		at.W = max(sliver, x(m.At)-at.X)
		drawn = append(drawn, at)
	}
	return drawn
}

// A beforeAfter is a slave before and after a switch, in words.
type beforeAfter struct{ Name, Before, After string }

// beforeAndAfter lists the slaves that a switch is about, and those that were
// not the same after it.
func beforeAndAfter(s report.Failover) []beforeAfter {
	var rows []beforeAfter
	add := func(name string) {
		r := beforeAfter{name, viewWord(s.Before, name), viewWord(s.After, name)}
		known := slices.ContainsFunc(rows, func(r beforeAfter) bool { return r.Name == name })
		if !known && (r.Before != r.After || name == s.From || name == s.To) {
			rows = append(rows, r)
		}
	}
	for _, v := range slices.Concat(s.Before, s.After) {
		add(v.Name)
	}
	return rows
}

func viewWord(views []state.SlaveView, name string) string {
	for _, v := range views {
		if v.Name == name {
			return report.ViewWord(v)
		}
	}
	return nothing
}

// pieces splits a name at the places where a line may be broken: a MAC in its
// middle, what stands before it and an IPv6 address at their colons.
func pieces(name string) []string {
	const half, whole = len("52:54:00:"), len("52:54:00:12:34:a0")
	if n := len(name) - whole; n >= 0 {
		if _, err := state.ParseMAC(name[n:]); err == nil {
			return []string{name[:n], name[n : n+half], name[n+half:]}
		}
	}
	return strings.SplitAfter(name, ":")
}

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"asset":   func(name string) string { return assetURLs[name] },
	"wires":   wires,
	"table":   newTable,
	"took":    report.Took,
	"digits":  func(n int) string { return report.Digits(uint64(n)) },
	"stages":  stages,
	"pieces":  pieces,
	"capital": capital,
	"dict":    dict,

	"beforeAndAfter": beforeAndAfter,
	"times100":       func(n int) int { return n * 100 },
	"short":          func(t time.Time) string { return t.UTC().Format("2 Jan, 15:04:05 UTC") },
	"long":           func(t time.Time) string { return t.UTC().Format("Monday, 2 January 2006, 15:04:05 UTC") },
	"machine":        func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
}).ParseFS(files, "templates/*.html"))

// dict gives a template several values under names: name, value, name, value.
func dict(pairs ...any) map[string]any {
	values := make(map[string]any)
	for i := 0; i+1 < len(pairs); i += 2 {
		values[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return values
}

// capital begins a phrase with a capital letter.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
