package pathcheck

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/neighbour"
	"bondd.internal/bondd/internal/state"
)

const (
	// receiveBuffer of a socket, in bytes: where all slaves are one port of the
	// switch, the answers to all may come in at once by one of them.
	receiveBuffer = 1 << 20
	// burst is how many frames are read from a socket before it is another's turn.
	burst = 1024
	// retryAfter is when a card is tried again on which no socket could be opened.
	retryAfter = time.Second
	// priority of probes: TC_PRIO_CONTROL, as the bonding driver has for LACP.
	// They are not to wait behind the traffic whose way they check.
	priority = 7
)

// sockets is the wire of the kernel's packet sockets, one for each card and
// protocol, bound to both: only such a socket hears a standby (bond_handle_frame,
// drivers/net/bonding/bond_main.c). They are in an epoll set that Go's poller
// watches, so that one goroutine serves all.
//
// Opening and closing takes the kernel's RTNL lock, which others hold for
// seconds; it is left to run, and probes go on meanwhile.
type sockets struct {
	protocols []protocol
	strict    bool

	poll   *os.File // the epoll set
	raw    syscall.RawConn
	set    int // its descriptor
	event  int // eventfd in it, for wake
	events []unix.EpollEvent
	frame  []byte
	oob    []byte

	kick chan struct{} // there is something for run

	mu     sync.Mutex
	wanted []card
	bond   int // index of its interface
	ports  map[card]*port
	byFD   map[int]*port
}

// A port is a card's sockets. If they could not be opened it has only err.
type port struct {
	card   card
	fds    []int       // one for each of sockets.protocols
	joined []state.MAC // unicast addresses that the card has to let in; for run alone
	err    error
	stale  bool // the interface was removed: the sockets are of no more use
}

// A protocol is one of those in which probes are sent.
type protocol struct {
	number uint16 // ETH_P_*
	filter []unix.SockFilter
}

// dial prepares to probe the targets of cfg. It opens no socket yet.
func dial(cfg *Config) (wire, error) { return newSockets(cfg) }

func newSockets(cfg *Config) (w *sockets, err error) {
	w = &sockets{
		strict: cfg.Strict,
		events: make([]unix.EpollEvent, 256),
		frame:  make([]byte, neighbour.FrameLen),
		oob:    make([]byte, unix.CmsgSpace(int(unsafe.Sizeof(unix.Timespec{})))),
		kick:   make(chan struct{}, 1),
		byFD:   make(map[int]*port),
		set:    -1, event: -1,
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	var about []netip.Addr
	for i := range cfg.Targets {
		about = append(about, cfg.Targets[i].Addr)
	}
	for _, p := range []neighbour.Protocol{neighbour.ARP, neighbour.Discovery} {
		if !slices.ContainsFunc(cfg.Targets, func(t Target) bool { return neighbour.ProtocolOf(t.Addr) == p }) {
			continue
		}
		filter, err := assemble(p.Watch(about))
		if err != nil {
			return nil, err
		}
		w.protocols = append(w.protocols, protocol{uint16(p), filter})
	}
	if w.set, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make epoll set: %w", err)
	}
	if err := unix.SetNonblock(w.set, true); err != nil { // or Go's poller does not take it
		return nil, fmt.Errorf("prepare epoll set: %w", err)
	}
	w.poll = os.NewFile(uintptr(w.set), "epoll")
	if w.raw, err = w.poll.SyscallConn(); err != nil {
		return nil, fmt.Errorf("use epoll set: %w", err)
	}
	if w.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	if err := w.watch(w.event); err != nil {
		return nil, err
	}
	return w, nil
}

func assemble(program []bpf.Instruction) ([]unix.SockFilter, error) {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("assemble socket filter: %w", err)
	}
	filter := make([]unix.SockFilter, 0, len(raw))
	for _, i := range raw {
		filter = append(filter, unix.SockFilter{Code: i.Op, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	return filter, nil
}

// watch puts a descriptor into the epoll set. Closing it takes it out.
func (w *sockets) watch(fd int) error {
	if err := unix.EpollCtl(w.set, unix.EPOLL_CTL_ADD, fd,
		&unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("add to epoll set: %w", err)
	}
	return nil
}

func (w *sockets) close() {
	for _, p := range w.ports {
		p.close()
	}
	if w.event >= 0 {
		unix.Close(w.event)
	}
	switch {
	case w.poll != nil:
		w.poll.Close()
	case w.set >= 0:
		unix.Close(w.set)
	}
}

func (w *sockets) wake() {
	// It fails only where the counter is at its limit: then it wakes anyway.
	_, _ = unix.Write(w.event, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

func (w *sockets) use(cards []card, bond int) {
	w.mu.Lock()
	w.wanted, w.bond = cards, bond
	w.mu.Unlock()
	w.kickRun()
}

func (w *sockets) kickRun() {
	select {
	case w.kick <- struct{}{}:
	default: // it will look anyway
	}
}

func (w *sockets) ready(c card) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ports[c] != nil
}

func (w *sockets) send(c card, frame []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.ports[c]
	switch {
	case p == nil:
		return errNotReady
	case p.err != nil:
		return p.err
	}
	number := binary.BigEndian.Uint16(frame[12:])
	i := slices.IndexFunc(w.protocols, func(p protocol) bool { return p.number == number })
	_, err := unix.Write(p.fds[i], frame)
	if err == nil {
		return nil
	}
	// ENETDOWN comes and goes as a slave changes hands. But a socket whose
	// interface was removed (ENXIO) stays deaf, even if another one gets its index.
	if errors.Is(err, unix.ENXIO) && !p.stale {
		p.stale = true
		w.kickRun()
	}
	return fmt.Errorf("send: %w", err)
}

func (w *sockets) mac(c card) (state.MAC, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.ports[c]
	switch {
	case p == nil:
		return state.MAC{}, errNotReady
	case p.err != nil:
		return state.MAC{}, p.err
	}
	address, err := unix.Getsockname(p.fds[0])
	if err != nil {
		return state.MAC{}, fmt.Errorf("read MAC: %w", err)
	}
	ll, ok := address.(*unix.SockaddrLinklayer)
	if !ok || int(ll.Halen) != len(c.mac) {
		return state.MAC{}, errors.New("it has no Ethernet address")
	}
	return state.MAC(ll.Addr[:len(c.mac)]), nil
}

func (w *sockets) wait(until time.Time) error {
	if err := w.poll.SetReadDeadline(until); err != nil {
		return fmt.Errorf("set deadline of epoll set: %w", err)
	}
	var waitErr error
	err := w.raw.Read(func(fd uintptr) bool {
		n, err := unix.EpollWait(int(fd), w.events[:1], 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			waitErr = err
		}
		return n > 0 || waitErr != nil
	})
	if err == nil {
		err = waitErr
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("wait for answers: %w", err)
	}
	return nil
}

func (w *sockets) receive(handle func(in card, frame []byte, at time.Time)) (woken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		n, err := unix.EpollWait(w.set, w.events, 0)
		if err != nil { // EINTR: what is there will end the next wait
			return woken
		}
		for _, ev := range w.events[:n] {
			if int(ev.Fd) == w.event {
				var count [8]byte
				_, _ = unix.Read(w.event, count[:])
				woken = true
			} else if p := w.byFD[int(ev.Fd)]; p != nil {
				w.drain(int(ev.Fd), p.card, handle)
			}
		}
		if n < len(w.events) {
			return woken
		}
	}
}

// drain reads what has come in at a socket.
func (w *sockets) drain(fd int, in card, handle func(in card, frame []byte, at time.Time)) {
	for range burst {
		n, oobn, _, from, err := unix.Recvmsg(fd, w.frame, w.oob, unix.MSG_DONTWAIT)
		if err != nil {
			// There is nothing more, or the interface went down, which the next
			// probe will say.
			return
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && n > 0 && !tagged(ll, w.frame, in.index, w.bond) {
			handle(in, w.frame[:n], stamp(w.oob[:oobn]))
		}
	}
}

// tagged reports whether a frame that came in by a card was one of a VLAN, and so
// of another network. The kernel hands those to every packet socket of their
// protocol, too, with the tag taken off. It is known by where else they went: to
// an interface of the VLAN, neither the card nor its bond; or nowhere, though they
// are for everybody. What is for one MAC alone and went nowhere looks like any
// other (__netif_receive_skb_core, net/core/dev.c).
func tagged(at *unix.SockaddrLinklayer, frame []byte, card, bond int) bool {
	return at.Ifindex != card && at.Ifindex != bond || at.Pkttype == unix.PACKET_OTHERHOST && frame[0]&0x01 != 0
}

// stamp takes the kernel's receive stamp out of a frame's control messages. If
// there were none, it would be now.
func stamp(oob []byte) time.Time {
	for len(oob) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if header.Level == unix.SOL_SOCKET && header.Type == unix.SO_TIMESTAMPNS &&
			len(data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			ts := *(*unix.Timespec)(unsafe.Pointer(&data[0]))
			return time.Unix(ts.Unix())
		}
		oob = rest
	}
	return time.Now()
}

// run opens and closes sockets as use says, until ctx ends.
func (w *sockets) run(ctx context.Context) {
	defer w.wake()
	for {
		var retry <-chan time.Time
		if !w.settle() {
			retry = time.After(retryAfter)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.kick:
		case <-retry:
		}
	}
}

// settle makes the ports what they are wanted to be. It reports whether all of
// them are open. What it did takes effect all at once: slaves that came together
// are probed together.
func (w *sockets) settle() bool {
	w.mu.Lock()
	wanted, before := w.wanted, w.ports
	keep := make(map[card]*port, len(wanted))
	macs := make([]state.MAC, 0, len(wanted))
	for _, c := range wanted {
		if p := before[c]; p != nil && p.err == nil && !p.stale {
			keep[c] = p
		}
		if !c.mac.IsZero() {
			macs = append(macs, c.mac)
		}
	}
	w.mu.Unlock()

	ports, good := make(map[card]*port, len(wanted)), true
	for _, c := range wanted {
		let := macs
		switch {
		case c.mac.IsZero():
			let = nil
		case w.strict:
			let = []state.MAC{c.mac}
		}
		p, kept := keep[c]
		var err error
		if !kept {
			p = &port{card: c}
			err = p.open(w.protocols)
		}
		if err == nil {
			err = p.join(let)
		}
		if err != nil {
			if !kept {
				p.close()
			}
			p, good = &port{card: c, err: err}, false
		}
		ports[c] = p
	}

	var old []*port
	w.mu.Lock()
	for c, p := range before {
		if ports[c] != p {
			old = append(old, p)
			for _, fd := range p.fds {
				_ = unix.EpollCtl(w.set, unix.EPOLL_CTL_DEL, fd, nil) // closing it does so too, but later
				delete(w.byFD, fd)
			}
		}
	}
	for c, p := range ports {
		if before[c] == p {
			continue
		}
		for _, fd := range p.fds {
			if err := w.watch(fd); err != nil {
				p.err, good = err, false // its sockets are closed when it is tried again
			}
			w.byFD[fd] = p
		}
	}
	w.ports = ports
	w.mu.Unlock()
	w.wake()
	for _, p := range old {
		p.close()
	}
	return good
}

// open opens a card's sockets. If it fails, some may be open.
func (p *port) open(protocols []protocol) error {
	for _, proto := range protocols {
		// Protocol 0: it hears nothing before it is bound and has its filter.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		p.fds = append(p.fds, fd)
		if p.card.mac.IsZero() {
			proto.number = 0
		}
		if err := prepare(fd, p.card.index, &proto); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes a new packet socket one for a protocol on an interface; 0 hears
// nothing. The interface need not be up.
func prepare(fd, index int, p *protocol) error {
	program := unix.SockFprog{Len: uint16(len(p.filter)), Filter: &p.filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		return fmt.Errorf("attach socket filter: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("ask for receive stamps: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, priority); err != nil {
		return fmt.Errorf("set priority of packet socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) // a smaller one does for most
	number := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, p.number))
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: number, Ifindex: index}); err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

// join has the card let in frames to these addresses and, of those joined
// before, to no others. It lasts as long as the socket that asked.
func (p *port) join(macs []state.MAC) error {
	if len(p.fds) == 0 {
		return nil
	}
	set := func(option int, mac state.MAC) error {
		request := unix.PacketMreq{Ifindex: int32(p.card.index), Type: unix.PACKET_MR_UNICAST, Alen: uint16(len(mac))}
		copy(request.Address[:], mac[:])
		return unix.SetsockoptPacketMreq(p.fds[0], unix.SOL_PACKET, option, &request)
	}
	for _, mac := range macs {
		if slices.Contains(p.joined, mac) {
			continue
		}
		if err := set(unix.PACKET_ADD_MEMBERSHIP, mac); err != nil {
			return fmt.Errorf("have frames to %v let in: %w", mac, err)
		}
		p.joined = append(p.joined, mac)
	}
	for i := len(p.joined) - 1; i >= 0; i-- {
		if mac := p.joined[i]; !slices.Contains(macs, mac) {
			if err := set(unix.PACKET_DROP_MEMBERSHIP, mac); err != nil {
				return fmt.Errorf("have frames to %v kept out: %w", mac, err)
			}
			p.joined = slices.Delete(p.joined, i, i+1)
		}
	}
	return nil
}

func (p *port) close() {
	for _, fd := range p.fds {
		unix.Close(fd)
	}
	p.fds = nil
}
