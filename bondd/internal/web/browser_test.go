package web

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/web/fixture"
	"bondd.internal/image/lab/skip"
)

// patience bounds every wait of a browser test, on a machine however slow.
const patience = 5 * time.Minute

// A browser is one tab of a real Chromium.
type browser struct {
	t   *testing.T
	ctx context.Context
}

// newBrowser starts Chromium, which must be installed.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	skip.If(t, skip.Browser)
	allocator, stopAllocator := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/bin/chromium"),
		chromedp.NoSandbox, // tests may run as root, as in a container
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(patience),
	)...)
	t.Cleanup(stopAllocator)
	ctx, stop := chromedp.NewContext(allocator)
	t.Cleanup(stop)
	b := &browser{t, ctx}
	b.do(chromedp.Navigate("about:blank"))
	return b
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// eval returns the value of an expression of JavaScript.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// await waits until an expression is true.
func (b *browser) await(expression string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for !eval[bool](b, expression) {
		if time.Now().After(deadline) {
			b.t.Fatalf("never came true: %s\nthe page says: %s", expression, eval[string](b, "document.body.innerText"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// text returns an element's visible text without running a script in the page. It
// asks again while the browser replaces the document that it was asked about.
func (b *browser) text(selector string) string {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		text, err := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS(selector)))
		if err == nil {
			return text
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("text of %s: %v", selector, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// listen returns a function that returns what the browser's console has heard since.
func (b *browser) listen() (heard func() []string) {
	const end = "this is the end"
	messages := chromedp.Console(b.ctx)
	return func() (found []string) {
		eval[bool](b, `(console.log("`+end+`"), true)`)
		for m, err := range messages {
			if err != nil {
				b.t.Fatal(err)
			}
			if strings.Contains(m.String(), end) {
				break
			}
			found = append(found, m.String())
		}
		return found
	}
}

// says is an expression: the element's visible text contains this.
func says(selector, text string) string {
	return `(document.querySelector("` + selector + `")?.innerText ?? "").includes("` + text + `")`
}

// A page test serves a source on a port that it can leave and take again.
type pageServer struct {
	t       *testing.T
	src     *fixture.Source
	address string // host:port
	stop    context.CancelFunc
	doneC   chan error
}

func newPageServer(t *testing.T, s *state.Snapshot) *pageServer {
	t.Helper()
	p := &pageServer{t: t, src: fixture.NewLiveSource(s), address: "127.0.0.1:0"}
	p.start()
	t.Cleanup(p.halt)
	return p
}

func (p *pageServer) start() {
	p.t.Helper()
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	p.stop, p.doneC = cancel, make(chan error, 1)
	go func() {
		p.doneC <- serve(ctx, l, "", Handler(p.src, http.NotFoundHandler(), nil, discard()), discard())
	}()
}

func (p *pageServer) halt() {
	p.stop()
	if err := <-p.doneC; err != nil {
		p.t.Errorf("serve: %v", err)
	}
	p.doneC <- nil // halting twice is harmless
}

func (p *pageServer) url() string { return "http://" + p.address + "/" }

// after is a snapshot as published some time after the first.
func after(s *state.Snapshot, d time.Duration) *state.Snapshot {
	s.Time = fixture.Now.Add(d)
	s.Sampled = s.Time
	return s
}

func TestBrowserShowsChangesWithoutReload(t *testing.T) {
	b := newBrowser(t)
	complaints := b.listen()
	p := newPageServer(t, fixture.Healthy())
	b.do(chromedp.Navigate(p.url()))
	b.await(says("#headline", "bond0 is healthy: traffic on eth0, eth1 ready"))
	b.await(says("#live", "Live"))
	eval[bool](b, `window.sameDocument = true`)

	p.src.Publish(after(fixture.Degraded(), time.Second))
	b.await(says("#headline", "bond0 is degraded: eth1 has no link"))
	b.await(`document.querySelector('[data-slave="eth1"]').dataset.state === "down"`)
	b.await(says("#events li:first-child", "eth1 lost its link"))
	b.await(`document.title.startsWith("bond0 is degraded")`)
	b.await(`document.querySelector('link[rel="icon"]').href.includes("degraded.svg")`)

	p.src.Publish(after(fixture.Down(), 2*time.Second))
	b.await(says("#headline", "bond0 is down"))
	p.src.Publish(after(fixture.BrokenConfig(), 3*time.Second))
	b.await(says("#config-error", "write \\\"100ms\\\""))
	p.src.Publish(after(fixture.NoNIC(), 4*time.Second))
	b.await(says("#headline", "No bond"))
	p.src.Publish(after(fixture.Several(), 5*time.Second))
	b.await(says("#bond-bond1", "bond1 is degraded"))
	p.src.Publish(after(fixture.Healthy(), 6*time.Second))
	b.await(says("#headline", "bond0 is healthy"))

	if !eval[bool](b, `window.sameDocument === true`) {
		t.Error("the page was loaded again")
	}
	for _, c := range complaints() {
		t.Errorf("the browser complains: %s", c)
	}
}

func TestBrowserKeepsWhatTheReaderDid(t *testing.T) {
	b := newBrowser(t)
	p := newPageServer(t, fixture.Healthy())
	b.do(chromedp.EmulateViewport(390, 844), chromedp.Navigate(p.url()))
	b.await(says("#live", "Live"))
	eval[bool](b, `document.querySelector("#config details").open = true`)
	eval[bool](b, `(document.querySelector("#config summary").focus(), true)`)
	eval[bool](b, `(window.scrollTo(0, 500), true)`)
	before := eval[float64](b, `window.scrollY`)
	p.src.Publish(after(fixture.Degraded(), time.Second))
	b.await(says("#headline", "degraded"))
	if !eval[bool](b, `document.querySelector("#config details").open`) {
		t.Error("an open part was closed")
	}
	if !eval[bool](b, `document.activeElement === document.querySelector("#config summary")`) {
		t.Error("the focus was lost")
	}
	if got := eval[float64](b, `window.scrollY`); got < before-100 || got > before+100 {
		t.Errorf("the page jumped from %v to %v", before, got)
	}
}

// What a person reads of paths, damping, LACP and failovers, without a reload.
func TestBrowserShowsWhatTheCableDoesNot(t *testing.T) {
	b := newBrowser(t)
	complaints := b.listen()
	p := newPageServer(t, fixture.Healthy())
	b.do(chromedp.Navigate(p.url()))
	b.await(says("#live", "Live"))
	b.await(says(`[data-notes='eth1']`, "192.168.1.1 answers in 0.44 ms"))
	for i, step := range []struct {
		shape func() *state.Snapshot
		says  map[string]string
	}{
		{fixture.PathDead, map[string]string{
			"#headline":              "look at its cable, its switch port and the card itself",
			"[data-notes='eth0']":    "no answer from 192.168.1.1",
			"[data-slave='eth0']":    "Path is dead", // first letter by style
			"#failovers li":          "nothing answers through eth0",
			"[data-failover='19'] b": "eth0 → eth1",
			"[data-failover='17']":   "took 1.21 ms",
			"#bond-bond0 .facts":     "192.168.1.1",
			"#counters tbody.words":  "not offered",
		}},
		{fixture.Suppressed, map[string]string{"[data-slave='eth0']": "Held out", "[data-notes='eth0']": "held out for another 27 s, because it failed too often"}},
		{fixture.Parked, map[string]string{"[data-slave='eth1']": "Parked", "[data-notes='eth1']": "out of the bond until its path is back", "#failovers li": "eth1 out"}},
		{fixture.LACP, map[string]string{"[data-notes='eth0']": "LACP has agreed, aggregator 1", "#bond-bond0 .facts": "00:1b:21:3c:9d:f8, key 1001"}},
		{fixture.HalfOpen, map[string]string{"[data-slave='eth1']": "Half-open", "[data-notes='eth1']": "the other end sends LACP, but does not hear this end's", "#bond-bond0 .facts": "1, with 1 port"}},
	} {
		p.src.Publish(after(step.shape(), time.Duration(i+1)*time.Second))
		for selector, text := range step.says {
			b.await(`(document.querySelector("` + selector + `")?.innerText ?? "").toLowerCase().includes("` + strings.ToLower(text) + `")`)
		}
	}
	for _, c := range complaints() {
		t.Errorf("the browser complains: %s", c)
	}
}

// The time line of a switch opens by a click, and stays open when another
// switch comes before it.
func TestBrowserKeepsATimeLineOpen(t *testing.T) {
	b := newBrowser(t)
	p := newPageServer(t, fixture.Healthy())
	b.do(chromedp.Navigate(p.url()))
	b.await(says("#live", "Live"))
	if eval[bool](b, says("#failovers", "Carrier lost")) {
		t.Error("every time line is open at first")
	}
	b.do(chromedp.Click(chromedp.CSS("#failover-17 summary")))
	b.await(says("#failover-17", "Carrier lost"))
	b.await(says("#failover-17", "+85 µs"))
	b.await(`document.querySelector("#failover-17 rect[x='42.0%']").getBoundingClientRect().width > 50`)
	eval[bool](b, `(window.seventeen = document.querySelector("#failover-17"), true)`)

	p.src.Publish(after(fixture.PathDead(), time.Second))
	b.await(`document.querySelector("#failover-19") !== null`)
	if open := eval[string](b, `[...document.querySelectorAll("#failovers details[open]")].map((d) => d.closest("li").id).join()`); open != "failover-17" {
		t.Errorf("open after a new failover: %q, want the one that was", open)
	}
	if !eval[bool](b, `window.seventeen === document.querySelector("#failover-17")`) {
		t.Error("an entry that did not change was made anew")
	}
	if order := eval[string](b, `[...document.querySelectorAll("#failovers li")].map((l) => l.id).join()`); order != "failover-19,failover-18,failover-17" {
		t.Errorf("entries %s", order)
	}

	// What comes and goes before all else leaves the rest as it is.
	p.src.Publish(after(fixture.BrokenConfig(), 2*time.Second))
	b.await(says("#config-error", "miimon"))
	p.src.Publish(after(fixture.Healthy(), 3*time.Second))
	b.await(`document.querySelector("#config-error") === null`)
	if !eval[bool](b, `document.querySelector("#failover-17 details").open`) {
		t.Error("an error of the configuration closed the time line")
	}
}

func TestBrowserShowsRates(t *testing.T) {
	b := newBrowser(t)
	p := newPageServer(t, fixture.Healthy())
	b.do(chromedp.Navigate(p.url()))
	b.await(says("#live", "Live"))
	busy := after(fixture.Healthy(), 2*time.Second)
	busy.Bonds[0].Slaves[0].Counters.RxBytes += 3_000_000
	busy.Bonds[0].Slaves[0].Counters.RxPackets += 2_468
	p.src.Publish(busy)
	b.await(says(`[data-rate='eth0/rx_bytes']`, "1.50 MB/s"))
	b.await(says(`[data-rate='eth0/rx_packets']`, "1,234/s"))
	b.await(says(`[data-rate='eth1/rx_packets']`, "0/s"))
	b.await(says(`[data-counter='eth0/rx_packets']`, "18,448,681"))

	// A card that was reset has no rate until its counter has been seen twice.
	reset := after(fixture.Healthy(), 4*time.Second)
	reset.Bonds[0].Slaves[0].Counters.RxBytes = 5
	p.src.Publish(reset)
	b.await(says(`[data-counter='eth0/rx_bytes']`, "5 B"))
	b.await(says(`[data-rate='eth0/rx_bytes']`, "–"))
}

func TestBrowserSaysWhenItIsNotLive(t *testing.T) {
	b := newBrowser(t)
	p := newPageServer(t, fixture.Healthy())
	b.do(chromedp.Navigate(p.url()))
	b.await(says("#live", "Live"))
	if eval[bool](b, says("#lost", "Not live")) {
		t.Error("a live page says that it is not")
	}
	p.halt()
	b.await(says("#lost", "Not live since "))
	b.await(says("#live", "Not live"))
	p.src.Publish(after(fixture.Degraded(), time.Second))
	p.start()
	b.await(says("#headline", "degraded"))
	b.await(`document.querySelector("#lost").hidden && document.querySelector("#live").innerText === "Live"`)
}

func TestBrowserPollsWithoutEvents(t *testing.T) {
	b := newBrowser(t)
	src := fixture.NewLiveSource(fixture.Healthy())
	h := Handler(src, http.NotFoundHandler(), nil, discard())
	address, stop := serveOn(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/events") {
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		h.ServeHTTP(w, r)
	}))
	b.do(chromedp.Navigate(address))
	b.await(says("#live", "Live"))
	src.Publish(after(fixture.Degraded(), time.Second))
	b.await(says("#headline", "degraded"))
	b.await(says("#live", "Live"))
	if err := stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestBrowserWithoutScripts(t *testing.T) {
	b := newBrowser(t)
	p := newPageServer(t, fixture.Healthy())
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Navigate(p.url()))
	text := b.text("body")
	for _, want := range []string{"bond0 is healthy: traffic on eth0, eth1 ready", "18,446,213", "eth0 lost its link", "15:04:26 UTC", "192.168.1.1 answers in 0.41 ms", "eth0 → eth1"} {
		if !strings.Contains(text, want) {
			t.Errorf("without scripts the page does not say %q:\n%s", want, text)
		}
	}
	for _, useless := range []string{"RX bytes/s", "Live"} {
		if strings.Contains(text, useless) {
			t.Errorf("without scripts the page says %q", useless)
		}
	}
	b.do(chromedp.Click(chromedp.CSS("#failover-17 summary")))
	if text := b.text("#failover-17"); !strings.Contains(text, "First packet") || !strings.Contains(text, "+3.08 ms") {
		t.Errorf("without scripts the time line does not open:\n%s", text)
	}
}

// Nothing but the table's own frame may be wider than the screen.
func TestBrowserOnAPhone(t *testing.T) {
	b := newBrowser(t)
	b.do(chromedp.EmulateViewport(360, 740))
	for _, shape := range fixture.Shapes() {
		t.Run(shape.Name, func(t *testing.T) {
			b.t = t
			p := newPageServer(t, shape.Snapshot)
			b.do(chromedp.Navigate(p.url()))
			b.await(says("#live", "Live"))
			if got := eval[int](b, `document.documentElement.scrollWidth`); got > 360 {
				t.Errorf("the page is %d wide on a screen of 360", got)
			}
			wide := eval[string](b, `[...document.querySelectorAll("main *")].filter((e) => !e.closest(".scroll, svg, .sr") && e.getBoundingClientRect().right > 360).map((e) => e.outerHTML.slice(0, 80)).join("\n")`)
			if wide != "" {
				t.Errorf("wider than the screen:\n%s", wide)
			}
			torn := eval[string](b, `(() => {
				const torn = [];
				const texts = document.createTreeWalker(document.querySelector("#main"), NodeFilter.SHOW_TEXT);
				while (texts.nextNode()) {
					for (const byte of texts.currentNode.data.matchAll(/[0-9a-f]{2}:[0-9a-f]{2}/g)) {
						const range = document.createRange();
						for (const at of [byte.index, byte.index + 3]) {
							range.setStart(texts.currentNode, at);
							range.setEnd(texts.currentNode, at + 2);
							if (new Set([...range.getClientRects()].map((r) => r.top)).size > 1) torn.push(texts.currentNode.data);
						}
					}
				}
				return torn.join(", ");
			})()`)
			if torn != "" {
				t.Errorf("broken in the middle of a byte: %s", torn)
			}
			b.do(chromedp.Navigate("about:blank")) // ends the event stream
		})
	}
}
