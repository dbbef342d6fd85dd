package appliance_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"bondd.internal/image/vm"
)

// The image boots on every machine it may be flashed for, and comes up with
// bondd on port 80 and gokrazy's pages, behind the image's own password and
// certificate, on 8080.
func TestBoot(t *testing.T) {
	img := wholeImage(t)
	for _, firmware := range []vm.Firmware{vm.BIOS, vm.UEFI} {
		for _, bus := range []vm.Bus{vm.Virtio, vm.SATA, vm.NVMe, vm.USB} {
			t.Run(fmt.Sprintf("%s-%s", firmware, bus), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
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

				client := m.HTTPClient(20 * time.Second)
				// A redirect is something to look at, not to follow.
				client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				if got := await(ctx, t, m, client, "http://guest/"); got.StatusCode != http.StatusOK {
					t.Errorf("bondd's page: %s", got.Status)
				}
				got := await(ctx, t, m, client, "http://guest:8080/")
				if location := got.Header.Get("Location"); got.StatusCode != http.StatusFound || location != "https://guest:8443/" {
					t.Errorf("port 8080: %s to %q, want a redirect to https://guest:8443/", got.Status, location)
				}
				if console := m.Console(); strings.Contains(console, "Could not mount permanent storage") {
					t.Errorf("/perm is not mounted; the console:\n%s", console)
				}
				checkPages(ctx, t, m, img)
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

// checkPages asks gokrazy's pages whether they know the image's password, show
// its certificate, and run the programs they should.
func checkPages(ctx context.Context, t *testing.T, m *vm.VM, img *image) {
	t.Helper()
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       m.DialContext,
		TLSClientConfig: &tls.Config{
			// A self-signed certificate is as good as its fingerprint.
			InsecureSkipVerify: true,
			VerifyConnection: func(s tls.ConnectionState) error {
				if got := fmt.Sprintf("%X", sha256.Sum256(s.PeerCertificates[0].Raw)); got != img.Fingerprint {
					return fmt.Errorf("the certificate has the fingerprint %s, want %s", got, img.Fingerprint)
				}
				return nil
			},
		},
	}}
	for _, test := range []struct {
		password string
		want     int
	}{{"", http.StatusUnauthorized}, {"wrong", http.StatusUnauthorized}, {img.password, http.StatusOK}} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://guest:8443/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("gokrazy", test.password)
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("gokrazy's page: %v", err)
			return
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Errorf("gokrazy's page: %v", err)
		}
		if resp.StatusCode != test.want {
			t.Errorf("gokrazy's page with the password %q: %s, want %d", test.password, resp.Status, test.want)
		}
		if resp.StatusCode != http.StatusOK {
			continue
		}
		for _, program := range []string{"/user/bondd", "/gokrazy/ntp", "/gokrazy/randomd"} {
			if !strings.Contains(string(page), program) {
				t.Errorf("gokrazy's page does not name %s", program)
			}
		}
		if strings.Contains(string(page), "/gokrazy/dhcp") {
			t.Error("gokrazy's DHCP client is in the image: it would take a card from the bond")
		}
	}
}
