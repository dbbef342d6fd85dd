package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bondd.internal/bondd/internal/state"
)

const testFamily = 0x15

// A fakeEthtool answers like the kernel's ethtool family, for a Poller.
type fakeEthtool struct {
	t      *testing.T
	cards  map[int]*fakeCard // by interface index
	sends  [][]int           // the indexes that each send asked for
	dials  int
	closed int
	queue  [][]byte      // replies that are not received yet
	refuse error         // what send says
	noDial error         // what dial says
	hang   chan struct{} // send does not return before it is closed
	lose   bool          // replies get lost
}

// A fakeCard is a card as its driver speaks of it.
type fakeCard struct {
	link  *bool // nil: the driver does not tell
	errno unix.Errno
	takes time.Duration
}

func (f *fakeEthtool) dial() (pollSocket, error) {
	if f.noDial != nil {
		return nil, f.noDial
	}
	f.dials++
	return f, nil
}

func (f *fakeEthtool) family() uint16 { return testFamily }
func (f *fakeEthtool) close()         { f.closed++ }

func (f *fakeEthtool) send(b []byte) error {
	if f.refuse != nil {
		return f.refuse
	}
	if f.hang != nil {
		<-f.hang
	}
	var asked []int
	for len(b) > 0 {
		size := int(binary.NativeEndian.Uint32(b))
		seq := binary.NativeEndian.Uint32(b[8:])
		ad, err := netlink.NewAttributeDecoder(b[unix.SizeofNlMsghdr+unix.GENL_HDRLEN : size])
		if err != nil {
			f.t.Fatal(err)
		}
		index := 0
		for ad.Next() {
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					index = int(ad.Uint32())
				}
				return nil
			})
		}
		if ad.Err() != nil {
			f.t.Fatal(ad.Err())
		}
		asked = append(asked, index)
		if !f.lose {
			f.queue = append(f.queue, f.answer(seq, index))
		}
		b = b[size:]
	}
	f.sends = append(f.sends, asked)
	return nil
}

// answer is the reply to one request.
func (f *fakeEthtool) answer(seq uint32, index int) []byte {
	c := f.cards[index]
	if c == nil {
		return errorMessage(seq, unix.ENODEV)
	}
	time.Sleep(c.takes)
	if c.errno != 0 {
		return errorMessage(seq, c.errno)
	}
	return linkStateMessage(f.t, seq, index, c.link)
}

func (f *fakeEthtool) receive(d *datagrams) error {
	if len(f.queue) == 0 {
		return unix.EAGAIN
	}
	d.count = 0
	for len(f.queue) > 0 && d.count < len(d.headers) {
		d.headers[d.count].length = replySize
		d.headers[d.count].length = uint32(copy(d.at(d.count), f.queue[0]))
		d.count++
		f.queue = f.queue[1:]
	}
	return nil
}

func header(kind uint16, seq uint32, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, 0)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 4711)
	return append(b, body...)
}

// errorMessage is an error as netlink_ack has it, with the request's header.
func errorMessage(seq uint32, errno unix.Errno) []byte {
	body := binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
	return header(unix.NLMSG_ERROR, seq, append(body, make([]byte, unix.SizeofNlMsghdr)...))
}

func linkStateMessage(t testing.TB, seq uint32, index int, link *bool) []byte {
	body := attributes(t, []byte{unix.ETHTOOL_MSG_LINKSTATE_GET_REPLY, 1, 0, 0}, func(ae *netlink.AttributeEncoder) {
		ae.Nested(unix.ETHTOOL_A_LINKSTATE_HEADER, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(unix.ETHTOOL_A_HEADER_DEV_INDEX, uint32(index))
			ae.String(unix.ETHTOOL_A_HEADER_DEV_NAME, "eth0")
			return nil
		})
		if link != nil {
			value := uint8(0)
			if *link {
				value = 1
			}
			ae.Uint8(unix.ETHTOOL_A_LINKSTATE_LINK, value)
		}
		ae.Uint32(unix.ETHTOOL_A_LINKSTATE_SQI, 7)
		ae.Uint8(4000, 1) // of a newer kernel
	})
	return header(testFamily, seq, body)
}

func newFakeEthtool(t *testing.T) (*fakeEthtool, *Poller) {
	yes, no := true, false
	f := &fakeEthtool{t: t, cards: map[int]*fakeCard{1: {link: &yes}, 2: {link: &no}, 3: {link: &yes}, 4: {link: &yes}}}
	p := &Poller{dial: f.dial}
	t.Cleanup(p.Close)
	return f, p
}

// ask polls these links.
func ask(p *Poller, indexes ...int) ([]state.LinkState, error) {
	links := make([]state.LinkState, len(indexes))
	for i, index := range indexes {
		links[i].Index = index
	}
	err := p.Poll(context.Background(), links)
	synctest.Wait() // what is asked apart is asked then
	return links, err
}

// answers polls these links, and has the answers alone.
func answers(t *testing.T, p *Poller, indexes ...int) []state.LinkReply {
	t.Helper()
	links, err := ask(p, indexes...)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]state.LinkReply, len(links))
	for i, l := range links {
		if l.Index != indexes[i] {
			t.Errorf("the list has the links %v, asked were %v", links, indexes)
		}
		list[i] = l.Reply
	}
	return list
}

func TestLinkStateRequest(t *testing.T) {
	b := appendLinkStateRequest(nil, testFamily, 0x01020304, 0x0a0b)
	want := "20000000" + "1500" + "0100" + "04030201" + "00000000" + // length, family, request, sequence, port
		"06" + "01" + "0000" + // LINKSTATE_GET, version 1
		"0c00" + "0180" + "0800" + "0100" + "0b0a0000" // header, nested: index
	if got := hex.EncodeToString(b); got != want || len(b) != linkStateRequestSize {
		t.Errorf("the request is\n%s, want\n%s", got, want)
	}
}

func TestNextLinkState(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		name string
		b    []byte
		want linkStateReply
		ok   bool
	}{
		{"up", linkStateMessage(t, 9, 3, &yes), linkStateReply{9, 3, state.SaysUp, nil}, true},
		{"down", linkStateMessage(t, 9, 3, &no), linkStateReply{9, 3, state.SaysDown, nil}, true},
		{"untold", linkStateMessage(t, 9, 3, nil), linkStateReply{9, 3, state.Unknown, nil}, true},
		{"ENODEV", errorMessage(9, unix.ENODEV), linkStateReply{9, 0, state.NoDevice, unix.ENODEV}, true},
		{"ENXIO", errorMessage(9, unix.ENXIO), linkStateReply{9, 0, state.NoDevice, unix.ENXIO}, true},
		{"EOPNOTSUPP", errorMessage(9, unix.EOPNOTSUPP), linkStateReply{9, 0, state.Unknown, nil}, true},
		{"EIO", errorMessage(9, unix.EIO), linkStateReply{9, 0, state.Failed, unix.EIO}, true},
		{"an acknowledgement", errorMessage(9, 0), linkStateReply{seq: 9}, false},
		{"another family", header(testFamily+1, 9, make([]byte, 8)), linkStateReply{seq: 9}, false},
		{"another command", header(testFamily, 9, []byte{99, 1, 0, 0}), linkStateReply{seq: 9}, false},
	} {
		b := append(bytes.Clone(tt.b), "rest"...)
		got, ok, rest, err := nextLinkState(b, testFamily)
		if err != nil || ok != tt.ok || got != tt.want || string(rest) != "rest" {
			t.Errorf("%s: %+v %t %q %v, want %+v %t", tt.name, got, ok, rest, err, tt.want, tt.ok)
		}
	}
}

func FuzzNextLinkState(f *testing.F) {
	yes := true
	f.Add(linkStateMessage(f, 1, 2, &yes))
	f.Add(errorMessage(1, unix.ENODEV))
	f.Add(append(errorMessage(1, unix.ENODEV), linkStateMessage(f, 2, 2, nil)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			r, ok, rest, err := nextLinkState(b, testFamily)
			if err != nil {
				return
			}
			if ok && (r.answer == state.NotAsked || r.answer > state.Failed || r.answer == state.SaysUp && r.index == 0) {
				t.Fatalf("%x is decoded as %+v", b, r)
			}
			if len(rest) >= len(b) {
				t.Fatal("nothing is split off")
			}
			b = rest
		}
	})
}

// Every link gets its own answer, whatever the others get.
func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newFakeEthtool(t)
		f.cards[5] = &fakeCard{errno: unix.EIO}
		f.cards[6] = &fakeCard{}                       // does not tell
		f.cards[7] = &fakeCard{errno: unix.EOPNOTSUPP} // cannot be asked
		f.cards[8] = &fakeCard{errno: unix.ENXIO}
		got := answers(t, p, 8, 9, 5, 6, 7, 1, 2)
		if want := []state.LinkReply{state.NoDevice, state.NoDevice, state.Failed, state.Unknown, state.Unknown, state.SaysUp, state.SaysDown}; !slices.Equal(got, want) {
			t.Errorf("answers are %v, want %v", got, want)
		}
		links, err := ask(p, 1)
		if err != nil || links[0].Err != nil || links[0].Asked.IsZero() {
			t.Errorf("%+v, %v", links, err)
		}
	})
}

// All requests go out at once, and only for what was asked.
func TestPollBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newFakeEthtool(t)
		yes := true
		var indexes []int
		for i := range 150 {
			indexes = append(indexes, 100+i)
			f.cards[100+i] = &fakeCard{link: &yes}
		}
		for _, a := range answers(t, p, indexes...) {
			if a != state.SaysUp {
				t.Fatalf("an answer is %v", a)
			}
		}
		var asked []int
		for _, s := range f.sends {
			if len(s) > pollBatch {
				t.Errorf("%d requests in one send", len(s))
			}
			asked = append(asked, s...)
		}
		if len(f.sends) != 3 || !slices.Equal(asked, indexes) {
			t.Errorf("%d sends asked for %v", len(f.sends), asked)
		}
		if got := answers(t, p); len(got) != 0 || len(f.sends) != 3 {
			t.Errorf("no links: %v after %d sends", got, len(f.sends))
		}
	})
}

// A dead device is asked once a second, apart from the others, and comes back
// among them when it answers.
func TestPollDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newFakeEthtool(t)
		alive := f.cards[2]
		f.cards[2] = &fakeCard{errno: unix.ENODEV}
		dead, told := 0, 0
		for range 50 {
			got := answers(t, p, 1, 2, 3)
			if got[0] != state.SaysUp || got[2] != state.SaysUp {
				t.Fatalf("answers are %v", got)
			}
			if got[1] == state.NoDevice {
				told++
			} else if got[1] != state.NotAsked {
				t.Fatalf("the dead device has the answer %v", got[1])
			}
			time.Sleep(100 * time.Millisecond)
		}
		for i, s := range f.sends {
			if slices.Contains(s, 2) {
				dead++
				if i > 0 && len(s) > 1 {
					t.Errorf("the dead device is asked with others: %v", s)
				}
			}
		}
		if dead < 4 || dead > 6 || told != dead {
			t.Errorf("in 5 s the dead device was asked %d times, and %d times told of", dead, told)
		}
		f.cards[2] = alive
		var last []state.LinkReply
		for range 13 {
			last = answers(t, p, 1, 2, 3)
			time.Sleep(100 * time.Millisecond)
		}
		if want := []state.LinkReply{state.SaysUp, state.SaysDown, state.SaysUp}; !slices.Equal(last, want) || len(f.sends[len(f.sends)-1]) != 3 {
			t.Errorf("alive again: %v by %v", last, f.sends[len(f.sends)-1])
		}
	})
}

// A device that takes long delays the others twice, until it is known which it
// is; from then on it has a small part of the time.
func TestPollSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newFakeEthtool(t)
		f.cards[2].takes = 100 * time.Millisecond
		late, news := 0, 0
		began := time.Now()
		for range 100 {
			asked := time.Now()
			links := []state.LinkState{{Index: 1}, {Index: 2}, {Index: 3}}
			if err := p.Poll(context.Background(), links); err != nil {
				t.Fatal(err)
			}
			if time.Since(asked) > slowReply {
				late++
			}
			if links[0].Reply != state.SaysUp || links[2].Reply != state.SaysUp {
				t.Fatalf("answers are %+v", links)
			}
			switch links[1].Reply {
			case state.SaysDown:
				news++
			case state.NotAsked:
			default:
				t.Fatalf("the slow device's answer is %+v", links[1])
			}
			time.Sleep(100 * time.Millisecond)
		}
		asked := 0
		for _, s := range f.sends {
			if slices.Contains(s, 2) {
				asked++
			}
		}
		// Where the poll comes while the slow one is being asked, it waits.
		if late > 2+asked || asked < 5 || time.Duration(asked-2)*100*time.Millisecond > time.Since(began)/slowShare {
			t.Errorf("in %v the slow device was asked %d times, and %d polls were late", time.Since(began), asked, late)
		}
		if news < asked-1 {
			t.Errorf("its answer is told %d times, asked %d times", news, asked)
		}
		f.cards[2].takes = 0
		time.Sleep(slowShare * 100 * time.Millisecond)
		answers(t, p, 1, 2, 3)
		answers(t, p, 1, 2, 3)
		if got := answers(t, p, 1, 2, 3); got[1] != state.SaysDown || len(f.sends[len(f.sends)-1]) != 3 {
			t.Errorf("quick again: %v by %v", got, f.sends[len(f.sends)-1])
		}
	})
}

// What has not been asked for any more is forgotten.
func TestPollForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newFakeEthtool(t)
		answers(t, p, 1, 9)
		time.Sleep(10 * time.Second)
		answers(t, p, 1)
		if p.worker.apart[9] != nil {
			t.Error("a link that nobody asks for is kept")
		}
		if last := f.sends[len(f.sends)-1]; !slices.Equal(last, []int{1}) {
			t.Errorf("the last send asked for %v", last)
		}
	})
}

// A call that does not come back from the kernel costs a poll its time limit, and
// no more threads than one.
func TestPollHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newFakeEthtool(t)
		answers(t, p, 1)
		f.hang = make(chan struct{})
		for range 3 {
			began := time.Now()
			if _, err := ask(p, 1, 2); !errors.Is(err, errWaiting) || time.Since(began) != pollTimeout {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := p.Poll(ctx, []state.LinkState{{Index: 1}}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a poll whose context ends: %v", err)
		}
		if f.dials != 1 {
			t.Errorf("%d sockets", f.dials)
		}
		close(f.hang)
		if got := answers(t, p, 3, 2); !slices.Equal(got, []state.LinkReply{state.SaysUp, state.SaysDown}) {
			t.Errorf("after that: %v", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f, p := newFakeEthtool(t)
		f.hang = make(chan struct{})
		if _, err := ask(p, 1); err == nil {
			t.Error("a poll succeeds without an answer")
		}
		p.Close()
		close(f.hang)
		synctest.Wait()
		if f.closed != 1 {
			t.Error("the socket stays open")
		}
	})
}

// A poll that fails as a whole says so, leaves the list, and takes a new socket
// the next time.
func TestPollFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(f *fakeEthtool)
		want string
	}{
		{"dial", func(f *fakeEthtool) { f.noDial = unix.ENOENT }, "poll link states: no such file or directory"},
		{"send", func(f *fakeEthtool) { f.refuse = unix.ENOBUFS }, "poll link states: send to ethtool: no buffer space available"},
		{"lost replies", func(f *fakeEthtool) { f.lose = true }, "poll link states: receive from ethtool: resource temporarily unavailable"},
		{"malformed", func(f *fakeEthtool) { f.queue = [][]byte{{1, 2, 3}} }, "poll link states: the reply is malformed"},
		{"about another", func(f *fakeEthtool) { f.cards[1], f.queue = nil, [][]byte{linkStateMessage(f.t, 1, 77, nil)} },
			"poll link states: the reply is malformed: it is about interface 77, asked was 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, p := newFakeEthtool(t)
				tt.fail(f)
				links, err := ask(p, 1)
				if err == nil || err.Error() != tt.want || links[0] != (state.LinkState{Index: 1}) {
					t.Fatalf("%+v, %v; want %s", links, err, tt.want)
				}
				yes := true
				f.noDial, f.refuse, f.lose, f.queue, f.cards[1] = nil, nil, false, nil, &fakeCard{link: &yes}
				dials := f.dials
				if got := answers(t, p, 1); got[0] != state.SaysUp || f.dials != dials+1 || f.closed != dials {
					t.Errorf("after that: %v, %d sockets, %d closed", got, f.dials, f.closed)
				}
			})
		})
	}
}

// What replies to an earlier request is not taken for an answer to this one.
func TestPollLateReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newFakeEthtool(t)
		no := false
		answers(t, p, 1, 3)
		f.queue = [][]byte{linkStateMessage(t, 1, 1, &no), linkStateMessage(t, 2, 3, &no), linkStateMessage(t, 77, 3, &no)}
		if got := answers(t, p, 1, 3); !slices.Equal(got, []state.LinkReply{state.SaysUp, state.SaysUp}) {
			t.Errorf("answers are %v", got)
		}
	})
}

// An echo is a pollSocket that allocates nothing.
type echo struct {
	reply []byte
	seqs  [pollBatch]uint32
	sent  int
}

func (e *echo) family() uint16 { return testFamily }
func (e *echo) close()         {}

func (e *echo) send(b []byte) error {
	e.sent = 0
	for len(b) > 0 {
		e.seqs[e.sent] = binary.NativeEndian.Uint32(b[8:])
		e.sent++
		b = b[linkStateRequestSize:]
	}
	return nil
}

func (e *echo) receive(d *datagrams) error {
	for d.count = 0; d.count < e.sent; d.count++ {
		d.headers[d.count].length = uint32(len(e.reply))
		copy(d.at(d.count), e.reply)
		binary.NativeEndian.PutUint32(d.at(d.count)[8:], e.seqs[d.count])
	}
	return nil
}

func TestPollAllocates(t *testing.T) {
	yes := true
	p := &Poller{dial: func() (pollSocket, error) { return &echo{reply: linkStateMessage(t, 0, 1, &yes)}, nil }}
	defer p.Close()
	links, ctx := slices.Repeat([]state.LinkState{{Index: 1}}, 40), context.Background()
	if n := testing.AllocsPerRun(100, func() {
		if err := p.Poll(ctx, links); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each poll", n)
	}
}

func TestReplyWords(t *testing.T) {
	for a := state.NotAsked; a <= state.Failed; a++ {
		if a.String() == "" || strings.Contains(a.String(), "undefined") {
			t.Errorf("%d has no word", a)
		}
	}
}
