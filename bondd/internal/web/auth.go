package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	toolkit "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"
)

// Administrator is the name that goes with the administrator's password. It is
// the one that gokrazy's own pages ask for where an image serves them.
const Administrator = "gokrazy"

// Credentials say who may change something over HTTP: the users of the web
// configuration, and while that has none, the administrator. Both files are
// read at every request that would change something, since either may change
// while bondd runs.
type Credentials struct {
	// WebConfig is the path of the exporter-toolkit web configuration, the same
	// that Serve is given, or empty.
	WebConfig string
	// Passwords are the paths where the administrator's password may be. The
	// first file that exists counts.
	Passwords []string
}

// errNobody means that there is neither a user nor a password.
var errNobody = errors.New(
	"nothing can be changed over HTTP, because no password is set: write one to /perm/gokr-pw.txt, or " +
		"users to the file that [http] web_config names",
)

// maxPassword is the size in bytes up to which a password file is taken for one.
const maxPassword = 1024

// read returns what tells right names and passwords from wrong ones. The error
// is errNobody if no name and password can be right.
//
// The toolkit has looked at the users already where there are any. To look
// again costs some 100 ms, and makes a write safe whatever serves this handler
// and whenever the file changes.
func (c *Credentials) read() (right func(name, password string) bool, err error) {
	if c.WebConfig != "" {
		text, err := os.ReadFile(c.WebConfig)
		if err != nil {
			return nil, fmt.Errorf("read web configuration: %w", err)
		}
		var file toolkit.Config
		if err := yaml.UnmarshalStrict(text, &file); err != nil {
			return nil, fmt.Errorf("read web configuration %s: %w", c.WebConfig, err)
		}
		if len(file.Users) > 0 {
			return func(name, password string) bool {
				hash, known := file.Users[name]
				for _, other := range file.Users {
					if !known {
						hash = other // so that an unknown name takes as long
					}
					break
				}
				return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil && known
			}, nil
		}
	}
	want, err := c.password()
	if err != nil {
		return nil, err
	}
	return func(name, password string) bool {
		return same(name, Administrator)&same(password, want) == 1
	}, nil
}

// password reads the administrator's password, never an empty one. White space
// around it is no part of it, as it is for gokrazy's init.
func (c *Credentials) password() (string, error) {
	for _, path := range c.Passwords {
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		text, err := io.ReadAll(io.LimitReader(file, maxPassword+1))
		file.Close()
		if err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		if len(text) > maxPassword {
			return "", fmt.Errorf("read password: %s is longer than %d bytes", path, maxPassword)
		}
		if password := strings.TrimSpace(string(text)); password != "" {
			return password, nil
		}
		break
	}
	return "", errNobody
}

// same compares in a time that tells nothing, not even the length: 1 if equal.
func same(a, b string) int {
	ha, hb := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(ha[:], hb[:])
}

// A guard lets only those through who may change something.
type guard struct {
	credentials Credentials
	origins     http.CrossOriginProtection
	attempts    attempts
	log         *slog.Logger
}

// protect puts the guard before a handler. Of the body of a request that does
// not pass nothing is read.
func (g *guard) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.passes(w, r) {
			next.ServeHTTP(w, r)
		}
	})
}

// passes reports whether a request may change something, and answers if not.
func (g *guard) passes(w http.ResponseWriter, r *http.Request) bool {
	refuse := func(code int, why string) bool {
		w.Header().Set("Connection", "close") // or the server would wait for the body
		refuse(w, code, why)
		return false
	}
	unauthorized := func(why string) bool {
		w.Header().Set("WWW-Authenticate", `Basic realm="bondd", charset="UTF-8"`)
		return refuse(http.StatusUnauthorized, why)
	}
	// First, so that no page of somebody else's makes a browser ask its user for
	// the password.
	if err := g.origins.Check(r); err != nil {
		return refuse(http.StatusForbidden, "a page of another origin may change nothing here")
	}
	right, err := g.credentials.read()
	if errors.Is(err, errNobody) {
		return refuse(http.StatusForbidden, err.Error())
	}
	if err != nil {
		g.log.Error("http: nobody can be let in", "err", err)
		return refuse(http.StatusInternalServerError, "the password or the users cannot be read; bondd's log says why")
	}
	name, password, given := r.BasicAuth()
	if !given {
		return unauthorized("a name and a password are needed")
	}
	switch o, first := g.attempts.try(place(r), time.Now(), func() bool { return right(name, password) }); o {
	case rejected:
		if first {
			g.log.Warn("http: wrong name or password", "remote", r.RemoteAddr, "path", r.URL.Path)
		}
		return unauthorized("the name or the password is wrong")
	case exhausted:
		w.Header().Set("Retry-After", fmt.Sprint(int(attemptEvery.Seconds())))
		return refuse(http.StatusTooManyRequests, "too many wrong passwords: try again in a few seconds")
	}
	return true
}

// place is where a request comes from: an IPv4 address, or the /64 network that
// whoever has an IPv6 address has all of.
func place(r *http.Request) netip.Prefix {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	addr := from.Addr().Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	network, _ := addr.Prefix(bits) // the bits fit the family
	return network
}

// What is let pass of wrong passwords from one place.
const (
	attemptBurst = 5
	attemptEvery = 3 * time.Second
	maxPlaces    = 256 // that are told apart; all others count as one
)

// attempts limits wrong passwords for each place that they come from.
type attempts struct {
	mu     sync.Mutex
	places map[netip.Prefix]*rate.Limiter // that had a wrong one; absent: none for a while
}

// What becomes of an attempt.
type outcome int

const (
	admitted outcome = iota
	rejected
	exhausted // not even looked at
)

// try looks at a name and a password, one at a time, unless too many from the
// same place were wrong. first marks the first wrong one for a while.
func (a *attempts) try(from netip.Prefix, now time.Time, right func() bool) (o outcome, first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	limiter := a.places[from]
	if limiter == nil && len(a.places) >= maxPlaces {
		a.forget(now)
		if len(a.places) >= maxPlaces {
			from = netip.Prefix{}
			limiter = a.places[from]
		}
	}
	if limiter != nil && limiter.TokensAt(now) < 1 {
		return exhausted, false
	}
	if right() {
		return admitted, false
	}
	if limiter == nil {
		limiter = rate.NewLimiter(rate.Every(attemptEvery), attemptBurst)
		if a.places == nil {
			a.places = make(map[netip.Prefix]*rate.Limiter)
		}
		a.places[from] = limiter
	}
	first = limiter.TokensAt(now) >= attemptBurst
	limiter.AllowN(now, 1)
	return rejected, first
}

// forget drops the places that had no wrong password for a while.
func (a *attempts) forget(now time.Time) {
	for from, limiter := range a.places {
		if limiter.TokensAt(now) >= attemptBurst {
			delete(a.places, from)
		}
	}
}
