package kernel

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/mdlayher/genetlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

const (
	// pollTimeout bounds one poll: whoever holds the kernel's RTNL lock delays it.
	pollTimeout = 2 * time.Second
	// pollBatch is how many requests are sent at once. Each reply waits in the
	// socket's receive buffer, with some 1 KB of the 208 KB that it has at least.
	pollBatch = 64
	// slowReply is from when on a batch took so long that it is found out which
	// device it was: while one is asked, nobody else gets at the network's
	// configuration, and thereby at the bond.
	slowReply = 20 * time.Millisecond
	// slowShare bounds a slow device's part of the time: it is asked again after
	// so many times as long as it took.
	slowShare = 20
	// deadEvery is how often a device is asked that has not answered. To ask it
	// may have the kernel try to wake it, which takes time and is logged.
	deadEvery = time.Second
)

// A Poller asks ethtool for the link state of links: those that it is given, and
// no others, so that a card of somebody else's is neither awakened nor waited
// for. It is for one goroutine at a time.
//
// All requests go to the kernel in one system call. The kernel answers each
// while it is being sent, and one failed request takes no other with it. A
// device that takes long or is dead is asked apart, after the answers of the
// others have been handed over, and more rarely; what it says comes with the
// next poll.
type Poller struct {
	dial   func() (pollSocket, error) // nil: a real one
	worker *pollWorker                // nil: none is running
	busy   bool                       // it has a job that was given up
	limit  *time.Timer
}

// A pollSocket is a socket to the ethtool family.
type pollSocket interface {
	family() uint16
	// send has the kernel answer every request in b before it returns.
	send(b []byte) error
	// receive takes as many datagrams as there are, and at most as many as there is
	// room for; the error is EAGAIN if there is none.
	receive(d *datagrams) error
	close()
}

// Close ends the socket. A call that waits in the kernel ends when the kernel
// lets it go.
func (p *Poller) Close() {
	if p.worker != nil {
		close(p.worker.jobC)
		p.worker = nil
	}
	p.busy = false
}

// Poll fills in what ethtool says now of each link in the list. Its error means
// that nothing is known of any of them; then the list is as it was.
func (p *Poller) Poll(ctx context.Context, links []state.LinkState) error {
	if err := p.poll(ctx, links); err != nil {
		return fmt.Errorf("poll link states: %w", err)
	}
	return nil
}

// errWaiting: a call does not come back from the kernel.
var errWaiting = errors.New("the kernel has not answered within " + pollTimeout.String())

func (p *Poller) poll(ctx context.Context, links []state.LinkState) error {
	if p.limit == nil {
		p.limit = time.NewTimer(pollTimeout)
	} else {
		p.limit.Reset(pollTimeout)
	}
	defer p.limit.Stop()
	if p.busy {
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
	if p.worker == nil {
		dial := p.dial
		if dial == nil {
			dial = dialEthtool
		}
		socket, err := dial()
		if err != nil {
			return err
		}
		p.worker = newPollWorker(socket)
		go p.worker.run()
	}
	a := p.worker
	a.links = append(a.links[:0], links...)
	p.busy = true
	a.jobC <- struct{}{}
	if err := p.wait(ctx); err != nil {
		return err
	}
	if a.err != nil {
		err := a.err
		p.Close() // on a socket that failed, more may be under way
		return err
	}
	copy(links, a.links)
	return nil
}

// wait waits until the pollWorker has done its job.
func (p *Poller) wait(ctx context.Context) error {
	select {
	case <-p.worker.doneC:
		p.busy = false
		return nil
	case <-p.limit.C:
		return errWaiting
	case <-ctx.Done():
		return ctx.Err()
	}
}

// An pollWorker is the goroutine that waits in the kernel for the Poller. Between a
// value in jobC and one in doneC links and err belong to it, else to the Poller.
// It ends when jobC is closed.
type pollWorker struct {
	jobC  chan struct{}
	doneC chan struct{}
	links []state.LinkState
	err   error

	// What follows is its own.
	socket  pollSocket
	seq     uint32
	request []byte
	replies datagrams
	order   []int             // of the links that are asked together, in links
	batch   []state.LinkState // the same links
	single  bool              // the last batch took long: each is asked by itself
	apart   map[int]*trouble  // by interface index
	failed  error             // of a request that was asked apart
}

// A trouble is a device that is asked apart.
type trouble struct {
	until  time.Time       // it is not asked before; zero: its last answer was well and quick
	said   state.LinkState // its last answer
	isNews bool            // the Poller has not been told it yet
	wanted bool            // it was in the last job
}

func newPollWorker(s pollSocket) *pollWorker {
	return &pollWorker{
		jobC: make(chan struct{}, 1), doneC: make(chan struct{}, 1),
		socket: s, replies: newDatagrams(), apart: make(map[int]*trouble),
	}
}

func (a *pollWorker) run() {
	defer a.socket.close()
	for range a.jobC {
		a.err = a.failed
		if a.err == nil {
			a.err = a.together()
		}
		failed := a.err != nil
		a.doneC <- struct{}{}
		if !failed && len(a.apart) > 0 {
			a.failed = a.apartly()
		}
	}
}

// together asks all links of a job that are not asked apart.
func (a *pollWorker) together() error {
	a.order, a.batch = a.order[:0], a.batch[:0]
	for _, t := range a.apart {
		t.wanted = false
	}
	for i := range a.links {
		l := &a.links[i]
		l.Reply, l.Err, l.Asked = state.NotAsked, nil, time.Time{}
		t := a.apart[l.Index]
		if t == nil {
			a.order = append(a.order, i)
			a.batch = append(a.batch, *l)
			continue
		}
		t.wanted = true
		if t.isNews {
			*l, t.isNews = t.said, false
			if t.until.IsZero() {
				delete(a.apart, l.Index) // it is well, and asked with the others from now on
			}
		}
	}
	size := pollBatch
	if a.single {
		size = 1
	}
	a.single = false
	for rest := a.batch; len(rest) > 0; {
		n := min(size, len(rest))
		took, err := a.ask(rest[:n])
		if err != nil {
			return err
		}
		for i := range rest[:n] {
			a.judge(&rest[i], took, n == 1)
		}
		a.single = a.single || n > 1 && took > slowReply
		rest = rest[n:]
	}
	for i, at := range a.order {
		a.links[at] = a.batch[i]
	}
	return nil
}

// apartly asks the links of the last job that are asked apart, if it is time.
func (a *pollWorker) apartly() error {
	var one [1]state.LinkState
	for index, t := range a.apart {
		if !t.wanted {
			delete(a.apart, index) // nobody asks for it any more
			continue
		}
		if t.isNews || time.Now().Before(t.until) {
			continue
		}
		one[0] = state.LinkState{Index: index}
		took, err := a.ask(one[:])
		if err != nil {
			return err
		}
		a.judge(&one[0], took, true)
	}
	return nil
}

// judge decides whether a link is asked apart from now on.
func (a *pollWorker) judge(l *state.LinkState, took time.Duration, alone bool) {
	t := a.apart[l.Index]
	dead := l.Reply == state.NoDevice || l.Reply == state.Failed
	slow := alone && took > slowReply
	if t == nil {
		if !dead && !slow {
			return
		}
		t = &trouble{wanted: true}
		a.apart[l.Index] = t
	} else {
		t.said, t.isNews = *l, true
	}
	t.until = time.Time{}
	if dead {
		t.until = l.Asked.Add(deadEvery)
	}
	if slow {
		if until := l.Asked.Add(slowShare * took); until.After(t.until) {
			t.until = until
		}
	}
}

// ask asks for the state of some links at once and says how long that took.
func (a *pollWorker) ask(links []state.LinkState) (took time.Duration, err error) {
	first := a.seq + 1
	a.seq += uint32(len(links))
	a.request = a.request[:0]
	family := a.socket.family()
	began := time.Now()
	for i := range links {
		links[i].Reply, links[i].Err, links[i].Asked = state.NotAsked, nil, began
		a.request = appendLinkStateRequest(a.request, family, first+uint32(i), links[i].Index)
	}
	if err := a.socket.send(a.request); err != nil {
		return 0, fmt.Errorf("send to ethtool: %w", err)
	}
	for open := len(links); open > 0; {
		if err := a.socket.receive(&a.replies); err != nil {
			return 0, fmt.Errorf("receive from ethtool: %w", err)
		}
		for i := range a.replies.count {
			n, err := takeAll(links, first, a.replies.at(i), family)
			if err != nil {
				return 0, err
			}
			open -= n
		}
	}
	return time.Since(began), nil
}

// An ethtoolSocket is a pollSocket to the kernel. It is not one of the netlink
// library's: Go's poller would be woken by every reply on that.
type ethtoolSocket struct {
	fd int
	id uint16
}

// dialEthtool opens a socket in the network namespace of the calling thread.
func dialEthtool() (pollSocket, error) {
	id, err := ethtoolFamily()
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("open generic netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind generic netlink socket: %w", err)
	}
	return &ethtoolSocket{fd: fd, id: id}, nil
}

// ethtoolFamily finds the number of the ethtool family.
func ethtoolFamily() (uint16, error) {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return 0, fmt.Errorf("dial generic netlink: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(pollTimeout)); err != nil {
		return 0, fmt.Errorf("set deadline of generic netlink socket: %w", err)
	}
	family, err := conn.GetFamily(unix.ETHTOOL_GENL_NAME)
	if err != nil {
		return 0, fmt.Errorf("find the ethtool family: %w", err)
	}
	return family.ID, nil
}

func (s *ethtoolSocket) family() uint16 { return s.id }

func (s *ethtoolSocket) send(b []byte) error {
	_, err := unix.Write(s.fd, b)
	return err
}

// receive takes replies, all of which are there before the send returns. That
// one is not there means that it was lost.
func (s *ethtoolSocket) receive(d *datagrams) error {
	for {
		n, _, errno := unix.Syscall6(
			unix.SYS_RECVMMSG,
			uintptr(s.fd),
			uintptr(unsafe.Pointer(&d.headers[0])),
			uintptr(len(d.headers)),
			unix.MSG_DONTWAIT,
			0,
			0,
		)
		switch errno {
		case 0:
			d.count = int(n)
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

func (s *ethtoolSocket) close() { unix.Close(s.fd) }

// datagrams are what one system call receives.
type datagrams struct {
	headers []mmsghdr
	iovecs  []unix.Iovec
	room    []byte
	count   int
}

// A mmsghdr is recvmmsg's (include/linux/socket.h).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// replySize is the room for one reply, which has some 100 bytes.
const replySize = 512

func newDatagrams() datagrams {
	d := datagrams{
		headers: make([]mmsghdr, pollBatch),
		iovecs:  make([]unix.Iovec, pollBatch),
		room:    make([]byte, pollBatch*replySize),
	}
	for i := range d.headers {
		d.iovecs[i].Base = &d.room[i*replySize]
		d.iovecs[i].SetLen(replySize)
		d.headers[i].header.Iov = &d.iovecs[i]
		d.headers[i].header.SetIovlen(1)
	}
	return d
}

// at is one of the datagrams.
func (d *datagrams) at(i int) []byte {
	return d.room[i*replySize : i*replySize+int(min(d.headers[i].length, replySize))]
}
