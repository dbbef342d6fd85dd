package vmtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bondd.internal/image/lab/guest"
	"bondd.internal/image/lab/netlab"
)

// card is the Ethernet address of a card that no bond has. It is of a model that
// can be told to hold the kernel's lock.
const card = "02:00:00:00:0e:01"

func TestMain(m *testing.M) {
	if name := os.Getenv(holdVar); name != "" {
		os.Exit(hold(name))
	}
	guest.Main(m, guest.Config{
		Programs: netlab.Programs(),
		Packages: map[string]string{"/bin/bondd": "bondd.internal/bondd"},
		Devices: []string{"-netdev", "hubport,id=card,hubid=0",
			"-device", "e1000,netdev=card,romfile=,mac=" + card},
	})
}

// A daemon is a running bondd in the host of a LAN.
type daemon struct {
	t      *testing.T
	client http.Client
}

// start runs bondd over two cards until the test ends, and waits until it is healthy.
func start(t *testing.T) *daemon {
	t.Helper()
	lan := netlab.NewLAN(t, 2)
	file := filepath.Join(t.TempDir(), "bondd.toml")
	text := fmt.Sprintf("[[bond]]\nname = \"bond0\"\nslaves = [\"eth0\", \"eth1\"]\naddresses = [%q]\n",
		netlab.HostAddress)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := lan.Host.Command("bondd", "run", "--config", file)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("bondd: %v", err)
		}
		if t.Failed() {
			t.Logf("bondd said:\n%s", log.String())
		}
	})
	d := &daemon{t: t}
	d.client.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = lan.Host.Do(func() error {
				conn, err = new(net.Dialer).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		},
	}
	d.eventually("healthy bond", func() bool {
		ok, _ := d.health()
		return ok
	})
	return d
}

func (d *daemon) eventually(what string, ok func() bool) {
	d.t.Helper()
	netlab.Eventually(d.t, 30*time.Second, what, ok)
}

// get reads a page of bondd's; the code is 0 where it does not answer.
func (d *daemon) get(path string) (code int, body []byte) {
	response, err := d.client.Get("http://127.0.0.1:80" + path)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	if body, err = io.ReadAll(response.Body); err != nil {
		return 0, nil
	}
	return response.StatusCode, body
}

// health asks /healthz.
func (d *daemon) health() (ok bool, firstError string) {
	d.t.Helper()
	code, body := d.get("/healthz")
	if code == 0 {
		return false, "bondd does not answer"
	}
	var got struct {
		OK         bool   `json:"ok"`
		FirstError string `json:"first_error"`
	}
	if err := json.Unmarshal(body, &got); err != nil || got.OK != (code == http.StatusOK) {
		d.t.Errorf("healthz: %d %s", code, body)
	}
	return got.OK, got.FirstError
}

// age asks for the age of the snapshot, in seconds, as /metrics has it.
func (d *daemon) age() float64 {
	d.t.Helper()
	_, body := d.get("/metrics")
	_, rest, found := strings.Cut(string(body), "\nbondd_snapshot_age_seconds ")
	value, _, _ := strings.Cut(rest, "\n")
	age, err := strconv.ParseFloat(value, 64)
	if !found || err != nil {
		d.t.Fatalf("the metrics do not say how old the snapshot is: %v\n%s", err, body)
	}
	return age
}
