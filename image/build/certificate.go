package build

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// validity is how long the certificate of an image can be used: the page by
// which an appliance is updated must outlive the appliance.
const validity = 10 * 365 * 24 * time.Hour

// certificate is a self-signed TLS certificate with its private key.
type certificate struct {
	certPEM, keyPEM []byte
	// fingerprint is the SHA-256 of the certificate, as browsers show it.
	fingerprint string
}

// newCertificate returns a self-signed certificate for hostname. It is valid
// from a day before now, for a machine whose clock is a little behind.
//
// The key is on the P-256 curve, which gokrazy's init accepts: an RSA key as
// large as the one gokrazy's packer would make costs a small machine most of a
// second at every connection.
func newCertificate(hostname string, now time.Time) (*certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fmt.Errorf("generate serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: hostname, Organization: []string{"bondd appliance"}},
		DNSNames:              []string{hostname},
		NotBefore:             now.Add(-24 * time.Hour),
		NotAfter:              now.Add(validity),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return &certificate{
		certPEM:     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		fingerprint: fmt.Sprintf("%X", sha256.Sum256(der)),
	}, nil
}
