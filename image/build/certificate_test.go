package build

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"testing"
	"time"
)

func TestCertificate(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c, err := newCertificate("bondd", now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(c.certPEM, c.keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%X", sha256.Sum256(pair.Certificate[0])); c.fingerprint != want {
		t.Errorf("fingerprint %s, want %s", c.fingerprint, want)
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	for _, at := range []time.Time{now.Add(-12 * time.Hour), now, now.AddDate(9, 0, 0)} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "bondd", Roots: roots, CurrentTime: at}); err != nil {
			t.Errorf("at %v: %v", at, err)
		}
	}

	// The settings are those of gokrazy's init, setupTLS in its gokrazy.go.
	server := &tls.Config{
		Certificates:     []tls.Certificate{pair},
		MinVersion:       tls.VersionTLS12,
		CurvePreferences: []tls.CurveID{tls.CurveP521, tls.CurveP384, tls.CurveP256},
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		},
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		served := make(chan error, 1)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				served <- err
				return
			}
			defer conn.Close()
			served <- conn.(*tls.Conn).Handshake()
		}()
		client, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{ServerName: "bondd", RootCAs: roots, MinVersion: version, MaxVersion: version, Time: func() time.Time { return now }})
		if err != nil {
			t.Fatalf("%s: %v", tls.VersionName(version), err)
		}
		if err := <-served; err != nil {
			t.Errorf("%s: server: %v", tls.VersionName(version), err)
		}
		client.Close()
	}
}
