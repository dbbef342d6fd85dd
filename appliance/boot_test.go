package appliance_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/build"
	"bondd.internal/image/lab/vm"
)

// The image boots on every machine it may be flashed for, and comes up with bondd
// on port 80. gokrazy's own pages, which a page of another site could use to
// switch the machine off or to another system, are not on the network.
func TestBoot(t *testing.T) {
	img := wholeImage(t)
	for _, firmware := range []vm.Firmware{vm.BIOS, vm.UEFI} {
		for _, bus := range []vm.Bus{vm.Virtio, vm.SATA, vm.NVMe, vm.USB} {
			t.Run(fmt.Sprintf("%s-%s", firmware, bus), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
				defer cancel()
				m, err := vm.Start(ctx, vm.Config{
					Image:    img.file,
					Firmware: firmware,
					Bus:      bus,
					NICs:     []vm.NIC{{Model: "virtio-net-pci"}, {Model: "virtio-net-pci"}},
				})
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()

				client := m.HTTPClient(answerLimit)
				if got := await(ctx, t, m, client, "http://guest/"); got.StatusCode != http.StatusOK {
					t.Errorf("bondd's page: %s", got.Status)
				}
				for _, url := range []string{"http://guest:8080/", "https://guest:8443/", "https://guest/"} {
					if body, code, err := get(ctx, client, url); err == nil || strings.Contains(err.Error(), "tls: ") {
						t.Errorf("%s answers: code %d, error %v: %s", url, code, err, body)
					}
				}
				if console := m.Console(); strings.Contains(console, "Could not mount permanent storage") {
					t.Errorf("/perm is not mounted; the console:\n%s", console)
				}
				checkServers(t, m.Console())
			})
		}
	}
}

// await asks for a page until it is answered. If the machine goes off or ctx ends
// before, the test fails and shows the console.
func await(ctx context.Context, t *testing.T, m *vm.VM, client *http.Client, url string) *http.Response {
	t.Helper()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			return resp
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%v; the console:\n%s", err, m.Console())
		case <-m.Done():
			t.Fatalf("the machine went off; the console:\n%s", m.Console())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// checkServers reads on the console where gokrazy's init serves its pages: on a
// Unix socket, and on no address.
func checkServers(t *testing.T, console string) {
	t.Helper()
	const socket = "/run/gokrazy-http.sock"
	var served []string
	for line := range strings.Lines(console) {
		if _, where, ok := strings.Cut(line, "now listening on "); ok {
			served = append(served, strings.TrimSpace(where))
		}
	}
	if len(served) != 1 || served[0] != socket {
		t.Errorf("init serves its pages on %q, want %q", served, socket)
	}
}

// The page by TLS, with the image's own certificate; orders with the image's own
// password; and the orders that gokrazy's pages took, which come to nothing when a
// form on another site sends them with the password, as a browser does that has
// it in its cache.
func TestOrders(t *testing.T) {
	t.Parallel()
	img := wholeImage(t)
	cfg := with("virtio-net-pci", "virtio-net-pci")
	cfg.Image = copyImage(t)
	const tlsConfig = `
tls_server_config:
  cert_file: /etc/ssl/gokrazy-web.pem
  key_file: /etc/ssl/gokrazy-web.key.pem
`
	configuration := "[http]\nweb_config = \"/perm/bondd/web.yml\"\n" + fmt.Sprintf(classic, "active-backup", "")
	if err := build.WritePerm(cfg.Image, map[string][]byte{
		"bondd/bondd.toml": []byte(configuration),
		"bondd/web.yml":    []byte(tlsConfig),
	}); err != nil {
		t.Fatal(err)
	}
	m := bootFile(t, cfg)
	m.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{
		// A self-signed certificate is as good as its fingerprint.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if got := fmt.Sprintf("%X", sha256.Sum256(s.PeerCertificates[0].Raw)); got != img.Fingerprint {
				return fmt.Errorf("the certificate has the fingerprint %s, want %s", got, img.Fingerprint)
			}
			return nil
		},
	}
	answers := func(ctx context.Context) string {
		_, code, err := get(ctx, m.client, "https://guest:80/")
		if err != nil || code != http.StatusOK {
			return fmt.Sprintf("code %d, error %v", code, err)
		}
		return ""
	}
	m.eventually("the page by TLS", answers)

	post := func(url, password, body string, header ...string) (code int, err error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		req.SetBasicAuth("gokrazy", password)
		resp, err := m.client.Do(req)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	for _, base := range []string{"https://guest:80", "http://guest:8080", "https://guest:8443"} {
		for _, path := range []string{"/reboot", "/poweroff", "/update/switch", "/update/testboot"} {
			code, err := post(base+path, img.password, "a=b",
				"Content-Type", "application/x-www-form-urlencoded", "Origin", "http://elsewhere.example")
			if err == nil && code < 400 {
				t.Errorf("%s%s: code %d", base, path, code)
			}
		}
	}
	for password, want := range map[string]bool{"": false, "wrong": false, img.password: true} {
		code, err := post("https://guest:80/api/v1/failover", password, `{"bond": "bond0", "to": "eth1"}`)
		if err != nil || want != (code == http.StatusOK) || !want && code != http.StatusUnauthorized {
			t.Errorf("an order with the password %q: code %d, error %v", password, code, err)
		}
	}
	m.eventually("the page after the orders", answers)
	if strings.Count(m.Console(), "gokrazy build timestamp") != 1 {
		t.Errorf("the machine was booted again; the console:\n%s", m.Console())
	}
}
