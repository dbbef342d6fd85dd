package address

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"bondd.internal/bondd/internal/reconcile"
)

// An Update is what a DHCP client has to tell: in words, and the lease.
type Update struct {
	Bond   string
	Status string           // for a person: "lease of 192.168.1.17 until 12:00:00 from 192.168.1.1"
	Lease  *reconcile.Lease // nil: none
}

// A DHCP4 keeps a lease for one bond (RFC 2131).
type DHCP4 struct {
	Bond     string
	Hostname string // told to the server; may be empty
	// Ready returns once the bond can carry packets: before that a request
	// would only start the wait for an answer that cannot come. It returns the
	// address that the bond already has, if any, which is asked for again, so
	// that a restart does not change it.
	Ready func(context.Context) (netip.Addr, error)
	// Random returns once the kernel gives random numbers, which the client
	// library needs, or with an error when that takes too long; random.Source's
	// Wait. May be nil.
	Random func(context.Context) error
	Update func(context.Context, Update)
	Log    *slog.Logger
}

// Times of the client. RFC 2131 section 4.1 has the first answer waited for
// 4 s, meant for a shared wire; a LAN of today answers in milliseconds.
const (
	answerTimeout = 2 * time.Second
	answerTries   = 3
	retryFirst    = time.Second
	retryMost     = time.Minute
	leaseLeast    = 30 * time.Second // a shorter lease is taken as one of this length
	defaultLease  = time.Hour
)

// Run keeps a lease until ctx ends. It does not give the lease back: the
// address stays for whoever comes after.
func (d *DHCP4) Run(ctx context.Context) error {
	wait := retryFirst
	for ctx.Err() == nil {
		previous, err := d.Ready(ctx)
		if err != nil {
			break
		}
		held, err := d.session(ctx, previous)
		if ctx.Err() != nil {
			break
		}
		if held {
			wait = retryFirst
		}
		d.Log.Warn("dhcp: no lease", "bond", d.Bond, "err", err, "retry", wait)
		if err := sleep(ctx, wait/2+rand.N(wait)); err != nil {
			break
		}
		wait = min(2*wait, retryMost)
	}
	return nil
}

// session gets a lease and renews it for as long as the server agrees. held
// reports whether there was one.
func (d *DHCP4) session(ctx context.Context, previous netip.Addr) (held bool, err error) {
	if d.Random != nil {
		if err := d.Random(ctx); err != nil {
			d.Update(ctx, Update{Bond: d.Bond, Status: "waiting for random numbers from the kernel"})
			return false, fmt.Errorf("prepare a DHCP request on %s: %w", d.Bond, err)
		}
	}
	client, err := nclient4.New(d.Bond, nclient4.WithTimeout(answerTimeout), nclient4.WithRetry(answerTries))
	if err != nil {
		return false, fmt.Errorf("open DHCP socket on %s: %w", d.Bond, err)
	}
	defer client.Close()

	d.Update(ctx, Update{Bond: d.Bond, Status: "asking for an address"})
	options := []dhcpv4.Modifier{dhcpv4.WithRequestedOptions(
		dhcpv4.OptionSubnetMask, dhcpv4.OptionBroadcastAddress, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer)}
	if d.Hostname != "" {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptHostName(d.Hostname)))
	}
	discover := options
	if previous.Is4() {
		discover = append(
			discover[:len(discover):len(discover)],
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(previous.AsSlice())),
		)
	}
	// The client library passes the same modifiers to the request, where the
	// requested address has to be the offered one: so the two steps apart.
	offer, err := client.DiscoverOffer(ctx, discover...)
	if err != nil {
		d.Update(ctx, Update{Bond: d.Bond, Status: "no DHCP server answers"})
		return false, fmt.Errorf("discover a DHCP server on %s: %w", d.Bond, err)
	}
	raw, err := client.RequestFromOffer(ctx, offer, options...)
	for {
		if err != nil {
			return held, fmt.Errorf("request a DHCP lease on %s: %w", d.Bond, err)
		}
		lease, times, err := parse(raw.ACK, time.Now())
		if err != nil {
			return held, err
		}
		held = true
		d.Update(ctx, Update{Bond: d.Bond, Lease: lease,
			Status: fmt.Sprintf(
				"lease of %s until %s from %s",
				lease.Prefix.Addr(),
				lease.Expires.UTC().Format("15:04:05 MST"),
				raw.ACK.ServerIdentifier(),
			)})

		next, err := d.renew(ctx, client, raw, lease.Expires, times)
		if err != nil {
			if ctx.Err() == nil {
				d.Update(ctx, Update{Bond: d.Bond, Status: "the lease ended"})
			}
			return held, err
		}
		raw = next
	}
}

// renew asks for the lease again at T1 and, while nobody answers, at ever
// shorter intervals until it ends (RFC 2131 section 4.4.5). The library
// broadcasts its requests, so any server that knows the lease may answer.
func (d *DHCP4) renew(
	ctx context.Context,
	client *nclient4.Client,
	lease *nclient4.Lease,
	expires time.Time,
	t1 time.Duration,
) (*nclient4.Lease, error) {
	if err := sleep(ctx, t1); err != nil {
		return nil, err
	}
	for {
		renewed, err := client.Renew(ctx, lease)
		if err == nil {
			return renewed, nil
		}
		var nak *nclient4.ErrNak
		if errors.As(err, &nak) {
			return nil, fmt.Errorf("renew the lease on %s: the server withdrew it", d.Bond)
		}
		left := time.Until(expires)
		if left <= 0 {
			return nil, fmt.Errorf("renew the lease on %s until its end: %w", d.Bond, err)
		}
		if err := sleep(ctx, min(left, max(left/2, 10*time.Second))); err != nil {
			return nil, err
		}
	}
}

// parse reads a DHCPACK. t1 is how long the lease is left alone.
func parse(ack *dhcpv4.DHCPv4, now time.Time) (l *reconcile.Lease, t1 time.Duration, err error) {
	ip, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() {
		return nil, 0, fmt.Errorf("read DHCP lease: %v is not a host address", ack.YourIPAddr)
	}
	bits := 32
	if mask := ack.SubnetMask(); mask != nil {
		ones, size := mask.Size()
		if size != 32 || ones == 0 {
			return nil, 0, fmt.Errorf("read DHCP lease: %v is not a subnet mask", net.IP(mask))
		}
		bits = ones
	}
	length := max(ack.IPAddressLeaseTime(defaultLease), leaseLeast)
	t1 = ack.IPAddressRenewalTime(length / 2)
	if t1 <= 0 || t1 > length {
		t1 = length / 2
	}
	l = &reconcile.Lease{Prefix: netip.PrefixFrom(ip, bits), Expires: now.Add(length), DNS: addrs(ack.DNS())}
	if b, ok := netip.AddrFromSlice(ack.BroadcastAddress().To4()); ok && !b.IsUnspecified() {
		l.Broadcast = b
	}
	for _, g := range addrs(ack.Router()) {
		if l.Prefix.Contains(g) { // a router elsewhere could not be reached
			l.Gateways = append(l.Gateways, g)
			break // the first is the preferred one (RFC 2132 section 3.5)
		}
	}
	return l, t1, nil
}

func addrs(ips []net.IP) []netip.Addr {
	var as []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip.To4()); ok && !a.IsUnspecified() {
			as = append(as, a)
		}
	}
	return as
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
