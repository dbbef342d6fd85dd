package web

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"bondd.internal/bondd/internal/web/fixture"
)

// An obedient engine carries out every order.
type obedient struct{}

func (obedient) Failover(context.Context, string, string) error { return nil }

// Behind the toolkit's own check of users, while they come and go.
func TestCommandsWithUsers(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("users' own"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	file, password := filepath.Join(folder, "web.yml"), filepath.Join(folder, "gokr-pw.txt")
	set := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set(file, "")
	set(password, "secret")
	address, stop := serveOn(t, file, Handler(fixture.NewLiveSource(fixture.Healthy()), http.NotFoundHandler(), &Commands{
		Control: obedient{}, Credentials: Credentials{WebConfig: file, Passwords: []string{password}},
	}, discard()))
	post := func(name, password string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/api/v1/failover", strings.NewReader(`{"to":"eth1"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(name, password)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	for _, tt := range []struct {
		config               string
		administrator, admin int
	}{
		{"", 200, 401},
		{"basic_auth_users:\n  admin: " + string(hash) + "\n", 401, 200},
		{"", 200, 401},
		{"basic_auth_users: [broken\n", 500, 500},
	} {
		set(file, tt.config)
		if got := post(Administrator, "secret"); got != tt.administrator {
			t.Errorf("with %q the administrator gets %d, want %d", tt.config, got, tt.administrator)
		}
		if got := post("admin", "users' own"); got != tt.admin {
			t.Errorf("with %q the user gets %d, want %d", tt.config, got, tt.admin)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestAttempts(t *testing.T) {
	var a attempts
	here, there := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	now := time.Unix(1000, 0)
	right, wrong := func() bool { return true }, func() bool { return false }
	for i, tt := range []struct {
		after time.Duration
		from  netip.Prefix
		try   func() bool
		want  outcome
		first bool
	}{
		{0, here, right, admitted, false},
		{0, here, wrong, rejected, true},
		{0, here, wrong, rejected, false},
		{0, here, wrong, rejected, false},
		{0, here, wrong, rejected, false},
		{0, here, right, admitted, false},
		{0, here, wrong, rejected, false},
		{0, here, wrong, exhausted, false},
		{0, here, right, exhausted, false},
		{0, there, right, admitted, false},
		{0, there, wrong, rejected, true},
		{attemptEvery - time.Millisecond, here, right, exhausted, false},
		{time.Millisecond, here, right, admitted, false},
		{0, here, wrong, rejected, false},
		{0, here, right, exhausted, false},
		{attemptBurst * attemptEvery, here, wrong, rejected, true}, // quiet for long enough
	} {
		now = now.Add(tt.after)
		if got, first := a.try(tt.from, now, tt.try); got != tt.want || first != tt.first {
			t.Errorf("attempt %d: %d, first %t; want %d, %t", i, got, first, tt.want, tt.first)
		}
	}
}

// However many places wrong passwords come from, the memory for them is
// bounded, and so are the attempts.
func TestAttemptsFromEverywhere(t *testing.T) {
	var a attempts
	now := time.Unix(1000, 0)
	rejections := 0
	for i := range 4 * maxPlaces {
		from := netip.MustParsePrefix(fmt.Sprintf("10.0.%d.%d/32", i>>8, i&0xff))
		if got, _ := a.try(from, now, func() bool { return false }); got == rejected {
			rejections++
		}
	}
	if len(a.places) > maxPlaces+1 || rejections > maxPlaces+attemptBurst {
		t.Errorf("%d places are remembered and %d attempts were looked at", len(a.places), rejections)
	}
	now = now.Add(attemptBurst * attemptEvery)
	if got, _ := a.try(netip.MustParsePrefix("10.1.0.0/32"), now, func() bool { return true }); got != admitted || len(a.places) != 0 {
		t.Errorf("after a quiet time: %d, and %d places are remembered", got, len(a.places))
	}
}

func TestPlace(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:1234":          "192.0.2.1/32",
		"[::ffff:192.0.2.1]:1234": "192.0.2.1/32",
		"[2001:db8::1:2:3]:1234":  "2001:db8::/64",
		"[fe80::1%bond0]:1234":    "fe80::/64",
		"@":                       "invalid Prefix",
	} {
		if got := place(&http.Request{RemoteAddr: remote}).String(); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}
