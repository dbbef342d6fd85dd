package appliance_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/lab/vm"
)

// watched adds to the recipe's configuration that the gateway has to answer
// through each card. The gateway is a program of this host, which may be busy: it
// must not be late so often that its path is taken for dead.
const watched = `
  [[bond.path]]
  target = "192.168.1.1"
  interval = "1s"
  timeout = "900ms"
  missed_max = 4
`

// liar is a model whose driver goes on saying that it has a link when its cable
// is pulled.
const liar = "e1000e"

// liarLimit is for how long a lying card may keep requests from being answered.
// It is found out within 5 s, and what was under way is then sent again; the
// rest is for a busy machine.
const liarLimit = 30 * time.Second

// A card that says that it has a link while nothing passes is found out by the
// path check. What is recorded of it is still there after the power failed, and
// the recorder's numbers go on.
func TestLyingCard(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	cfg := with(liar, liar)
	cfg.Persistent = true
	cfg.Network.Forwards = []vm.Forward{{Listen: address, Port: 80}}
	m := boot(t, fmt.Sprintf(classic, "active-backup", watched), cfg)
	page := "http://" + address + "/"
	client := &http.Client{Timeout: answerLimit, Transport: &http.Transport{DisableKeepAlives: true}}
	// Which of the two has a link first is the cards' affair.
	lies := m.await("both paths up", (*status).reached).bond("bond0").ActiveSlave
	left := other(lies)
	found := fmt.Sprintf("bond0 is degraded: %s has a link, but no path to 192.168.1.1, which answers other slaves", lies)
	before := m.history()
	tab := openTab(t, page)

	r := newRequests(client, page+"healthz")
	r.wait(50)
	m.unplug(lies)
	st := m.await("traffic on "+left, func(st *status) bool { return st.bond("bond0").ActiveSlave == left && st.lying(lies) })
	r.wait(50)
	o := r.stop()
	t.Logf("when %s began to lie: %v", lies, o)
	if o.longest > liarLimit {
		t.Errorf("the lying card kept requests from being answered for %v, want %v at most", o.longest, liarLimit)
	}
	m.reachable("with a lying card")
	if b := st.bond("bond0"); !st.OK || !b.Up || !b.Degraded || !strings.HasPrefix("bond0 is degraded: "+b.Problem, found) || b.slave(lies).MIIStatus != "up" {
		t.Errorf("with a lying card: %+v", b)
	}
	m.says("/metrics",
		`bondd_failovers_total{bond="bond0",reason="path"} 1`+"\n",
		`bondd_failovers_total{bond="bond0",reason="link"} 0`+"\n",
		fmt.Sprintf(`bondd_slave_link_up{bond="bond0",slave=%q} 1`+"\n", lies),
		fmt.Sprintf(`bondd_slave_path_up{bond="bond0",slave=%q,target="192.168.1.1"} 0`+"\n", lies))
	moved := m.recorded("the switch", func(s entry) bool { return !s.Agreed.IsZero() && !s.FirstPacket.IsZero() })
	t.Logf("the history has %s", moved)
	if moved.From != lies || moved.To != left || moved.Reason != "path" || moved.Cause != "nothing answers through "+lies {
		t.Errorf("the history has %s", moved)
	}
	for _, v := range moved.After {
		if is := v.Name == left; !v.LinkUp || v.Active != is || v.PathUp == nil || *v.PathUp != is {
			t.Errorf("after the switch the history has %s", moved)
		}
	}
	t.Run("browser", func(t *testing.T) {
		tab.on(t).await(says("#headline", found))
		tab.await(`document.querySelector('[data-slave="` + lies + `"]').dataset.state === "down"`)
		tab.await(`document.querySelector('[data-slave="` + left + `"]').dataset.state === "active"`)
		tab.await(fmt.Sprintf(`document.querySelector('[data-failover="%d"]').dataset.reason === "path"`, moved.Seq))
		tab.await(says("#failovers", "nothing answers through "+lies))
		tab.await(says("#events", "192.168.1.1 does not answer through "+lies))
		tab.photograph("lying")
	})

	m.plug(lies)
	m.await("both paths up again, and traffic where it was", func(st *status) bool { return st.reached() && st.bond("bond0").ActiveSlave == left })

	// The standby lies: it is found out before it is needed.
	m.unplug(lies)
	st = m.await(lies+" found out as a standby", func(st *status) bool { return st.lying(lies) })
	if b := st.bond("bond0"); !st.OK || !b.Degraded || b.ActiveSlave != left || !strings.HasPrefix("bond0 is degraded: "+b.Problem, found) {
		t.Errorf("with a lying standby: %+v", b)
	}
	t.Run("browser standby", func(t *testing.T) { tab.on(t).await(says("#headline", found)) })
	m.plug(lies)
	st = m.await("both paths up in the end", (*status).reached)
	m.says("/metrics", `bondd_failovers_total{bond="bond0",reason="path"} 1`+"\n")
	now := m.history()
	if st.bond("bond0").ActiveSlave != left || len(now) != len(before)+1 {
		t.Errorf("neither a standby that lies nor cards that are well again move traffic; it is on %s, and the history has %v", st.bond("bond0").ActiveSlave, now)
	}
	testRecorder(m, now)
}

// testRecorder checks that the flight recorder's story goes on when the power
// fails, and when the machine is switched off in order.
func testRecorder(m *machine, before []entry) {
	t := m.t
	m.await("the history on the disk", func(st *status) bool { return st.Time.Sub(before[0].Written) > historySettles })
	if err := m.Close(); err != nil {
		t.Fatalf("cut the machine's power: %v", err)
	}
	m.restart()
	st := m.await("both paths up after the power failed", (*status).reached)
	if now := m.history(); len(now) != len(before) || !now[0].same(before[0]) {
		t.Fatalf("before the power failed the history had %v, and after it %v", before, now)
	}

	// An operator's order needs the password, and is recorded.
	active := st.bond("bond0").ActiveSlave
	standby := other(active)
	order := fmt.Sprintf(`{"bond":"bond0","to":%q}`, standby)
	if body, code := m.post("http://guest/api/v1/failover", "", order); code != http.StatusUnauthorized {
		t.Errorf("an order without a password: code %d, want 401; %s", code, body)
	}
	if now := m.history(); len(now) != len(before) {
		t.Errorf("an order without a password is carried out: %s", now[0])
	}
	password := wholeImage(t).password
	// Until its path has replied return_after times the standby is not proven, and
	// an order for it is refused.
	m.eventually("an order carried out", func(context.Context) string {
		body, code := m.post("http://guest/api/v1/failover", password, order)
		switch {
		case code == http.StatusConflict && strings.Contains(body, "try again in a few seconds"):
			return body
		case code != http.StatusOK || !strings.Contains(body, `"to": "`+standby+`"`):
			t.Fatalf("an order: code %d, want 200; %s", code, body)
		}
		return ""
	})
	m.await("traffic on "+standby, func(st *status) bool { return st.reached() && st.bond("bond0").ActiveSlave == standby })
	ordered := m.history()
	if len(ordered) != len(before)+1 {
		t.Fatalf("after an order the history has %v", ordered)
	}
	if s := ordered[0]; s.Seq != before[0].Seq+1 || s.Reason != "admin" || s.From != active || s.To != standby {
		t.Errorf("the order's entry in the history is %s", s)
	}

	// Asked to end, it writes what is not written yet.
	endAll(t, m.VM)
	m.eventually("bondd has stopped", func(context.Context) string {
		if !strings.Contains(m.Console(), "bondd is stopping") {
			return "the console does not say so"
		}
		return ""
	})
	if err := m.Close(); err != nil {
		t.Fatalf("cut the machine's power: %v", err)
	}
	m.restart()
	m.await("both paths up after a restart", (*status).reached)
	if now := m.history(); len(now) != len(ordered) || now[0].Seq != ordered[0].Seq || !now[1].same(before[0]) {
		t.Errorf("before a restart the history had %v, and after it %v", ordered, now)
	}
}

// historySettles is more than it takes until the first switch since a start is
// on the disk, by the machine's clock.
const historySettles = 15 * time.Second

// other is the other one of two slaves.
func other(slave string) string { return map[string]string{"eth0": "eth1", "eth1": "eth0"}[slave] }

// reached reports whether bond0 is whole, and its targets answer through every
// slave.
func (st *status) reached() bool {
	return st.whole() && !slices.ContainsFunc(st.bond("bond0").Slaves, func(s slave) bool { return s.PathUp == nil || !*s.PathUp })
}

// lying reports whether a slave of bond0 is known to have a link and no path.
func (st *status) lying(name string) bool {
	s := st.bond("bond0").slave(name)
	return s.LinkUp && s.PathUp != nil && !*s.PathUp
}

// An entry is what the tests read of an entry of /api/v1/history.
type entry struct {
	Seq         int                 `json:"seq"`
	Bond        string              `json:"bond"`
	From        string              `json:"from"`
	To          string              `json:"to"`
	Reason      string              `json:"reason"`
	Cause       string              `json:"cause"`
	CarrierLost time.Time           `json:"carrier_lost,omitzero"`
	EventRead   time.Time           `json:"event_read,omitzero"`
	Decided     time.Time           `json:"decided,omitzero"`
	Written     time.Time           `json:"written,omitzero"`
	Agreed      time.Time           `json:"agreed,omitzero"`
	FirstPacket time.Time           `json:"first_packet,omitzero"`
	Before      []view              `json:"before"`
	After       []view              `json:"after"`
	Seconds     map[string]*float64 `json:"seconds"`
}

type view struct {
	Name   string `json:"name"`
	Active bool   `json:"active"`
	LinkUp bool   `json:"link_up"`
	PathUp *bool  `json:"path_up"`
}

// String is the entry as the API has it, for a message.
func (e entry) String() string {
	text, err := json.Marshal(e)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// same reports whether two entries tell the same. Lengths of time are computed
// from two clocks' readings while bondd runs, and from one's after a restart.
func (e entry) same(other entry) bool {
	e.Seconds, other.Seconds = nil, nil
	return reflect.DeepEqual(e, other)
}

// history returns the flight recorder's entries, newest first.
func (m *machine) history() []entry {
	m.t.Helper()
	body, _ := m.says("/api/v1/history", `"failovers"`)
	var h struct {
		Failovers []entry `json:"failovers"`
	}
	if err := json.Unmarshal([]byte(body), &h); err != nil {
		m.t.Fatalf("/api/v1/history: %v:\n%s", err, body)
	}
	return h.Failovers
}

// recorded waits until the newest entry is as wanted, and returns it.
func (m *machine) recorded(what string, ok func(entry) bool) (newest entry) {
	m.t.Helper()
	m.eventually(what+" in the history", func(context.Context) string {
		h := m.history()
		if len(h) == 0 {
			return "the history is empty"
		}
		if newest = h[0]; !ok(newest) {
			return newest.String()
		}
		return ""
	})
	return newest
}

// post sends an order as the administrator, or as nobody if the password is
// empty.
func (m *machine) post(url, password, order string) (body string, code int) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodPost, url, strings.NewReader(order))
	if err != nil {
		m.t.Fatal(err)
	}
	if password != "" {
		req.SetBasicAuth("gokrazy", password)
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       m.DialContext,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // TestBoot looks at the certificate
	}}
	resp, err := client.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text), resp.StatusCode
}
