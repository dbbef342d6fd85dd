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
	"strconv"
	"strings"
	"time"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/status"
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
	of   *state.Snapshot
	host string
	body []byte
}

// page answers with the status page. It is complete without the script, which
// only fetches it again and again and puts what changed in place. However many
// ask for it, a snapshot is rendered once: that costs a small machine far more
// than an answer.
func (h *handler) page(w http.ResponseWriter, r *http.Request) {
	s := h.src.Snapshot()
	p := h.rendered.Load()
	if p == nil || p.of != s || p.host != r.Host {
		var body bytes.Buffer
		if err := pageTemplate.Execute(&body, newPage(s, r.Host)); err != nil {
			h.log.Error("render status page", "err", err)
			http.Error(w, "the status page could not be rendered", http.StatusInternalServerError)
			return
		}
		p = &rendered{s, r.Host, body.Bytes()}
		h.rendered.Store(p)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	write(w, p.body)
}

// recentEvents is how many events are in view; the older ones are folded away,
// and those beyond maxEvents are only in the API.
const (
	recentEvents = 8
	maxEvents    = 60
)

// A page is the status with what only its HTML needs.
type page struct {
	*status.Status
	Host   string        // as the browser knows this machine
	Age    time.Duration // since bondd's start
	TOML   string
	Recent []state.Event
	Older  []state.Event
}

func newPage(s *state.Snapshot, host string) *page {
	p := &page{Status: status.From(s), Host: host, Age: s.Sampled.Sub(s.Started), TOML: s.Config.TOML}
	p.Recent = p.Events[:min(recentEvents, len(p.Events))]
	p.Older = p.Events[len(p.Recent):min(maxEvents, len(p.Events))]
	return p
}

// Ago is how long before this page a time was.
func (p *page) Ago(t time.Time) string { return status.Ago(p.Time.Sub(t)) }

// Uptime is how long bondd has been running.
func (p *page) Uptime() string { return status.Span(p.Age) }

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
	Role status.Role
	Path string
}

// wires draws the slaves' wires, the ones that carry traffic last and so on top.
func wires(slaves []status.Slave) []wire {
	var idle, active []wire
	for i := range slaves {
		y, end := i*100+50, len(slaves)*50
		w := wire{slaves[i].Role(), fmt.Sprintf("M0 %d C55 %d 45 %d 100 %d", y, y, end, end)}
		if w.Role == status.Active {
			active = append(active, w)
		} else {
			idle = append(idle, w)
		}
	}
	return append(idle, active...)
}

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"asset":    func(name string) string { return assetURLs[name] },
	"wires":    wires,
	"table":    newTable,
	"took":     status.Took,
	"capital":  capital,
	"dict":     dict,
	"times100": func(n int) int { return n * 100 },
	"short":    func(t time.Time) string { return t.UTC().Format("2 Jan, 15:04:05 UTC") },
	"long":     func(t time.Time) string { return t.UTC().Format("Monday, 2 January 2006, 15:04:05 UTC") },
	"machine":  func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
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
