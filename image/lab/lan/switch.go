package lan

import (
	"fmt"
	"hash/fnv"
	"net"
	"slices"
	"sync"
)

const (
	// minFrame is an Ethernet header: two addresses and the type, in bytes.
	minFrame = 14
	// maxFrame is the largest frame that a port takes, in bytes: one segment of
	// a card that leaves segmentation to the next one, and its header.
	maxFrame = 128 << 10
	// queueLength is how many frames wait at a port for a slow reader before
	// further ones are dropped.
	queueLength = 1024
)

type address [6]byte

func (a address) multicast() bool { return a[0]&1 != 0 }

// A Switch forwards frames between its ports. The zero value is a switch
// without ports.
type Switch struct {
	// mu guards everything below, and all that changes in ports and trunks.
	mu     sync.Mutex
	ports  []*Port
	trunks []*trunk
	table  map[address]*trunk
}

// A trunk is what the switch forwards to: a port, or a channel group of them.
type trunk struct {
	ports []*Port
	last  map[address]*Port // the port on which an address was seen last
}

// NewPort adds a port. Its link is up, its cable leads nowhere until it is
// served or tapped.
func (s *Switch) NewPort(name string) *Port {
	p := &Port{sw: s, name: name, up: true, out: make(chan []byte, queueLength)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports = append(s.ports, p)
	p.trunk = &trunk{ports: []*Port{p}, last: make(map[address]*Port)}
	s.trunks = append(s.trunks, p.trunk)
	return p
}

// Group makes the ports one static channel group: an address is learned for
// all of them, each frame for the group leaves by one of those whose link is
// up, and no frame from the group goes back into it.
func (s *Switch) Group(ports ...*Port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	group := &trunk{last: make(map[address]*Port)}
	for _, p := range ports {
		s.forget(p)
		p.trunk.ports = slices.DeleteFunc(p.trunk.ports, func(other *Port) bool { return other == p })
		p.trunk = group
		group.ports = append(group.ports, p)
	}
	s.trunks = slices.DeleteFunc(s.trunks, func(t *trunk) bool { return len(t.ports) == 0 })
	s.trunks = append(s.trunks, group)
}

// Lookup returns the name of the port where an address was seen last, and
// whether the switch knows it.
func (s *Switch) Lookup(mac net.HardwareAddr) (string, bool) {
	if len(mac) != len(address{}) {
		return "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.table[address(mac)]
	if !ok {
		return "", false
	}
	return t.last[address(mac)].name, true
}

// receive takes a frame that came in at a port. The switch owns it from here.
func (s *Switch) receive(p *Port, frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(frame) < minFrame || !p.up || p.silent {
		p.counters.Dropped++
		return
	}
	p.counters.RxFrames++
	p.counters.RxBytes += uint64(len(frame))

	dst, src := address(frame[0:6]), address(frame[6:12])
	if !src.multicast() {
		if s.table == nil {
			s.table = make(map[address]*trunk)
		}
		s.table[src] = p.trunk
		p.trunk.last[src] = p
	}
	if t, ok := s.table[dst]; ok && !dst.multicast() {
		if t != p.trunk {
			t.transmit(dst, src, frame)
		}
		return
	}
	for _, t := range s.trunks {
		if t != p.trunk {
			t.transmit(dst, src, frame)
		}
	}
}

// transmit sends a frame by one port of the trunk, the same one for the same
// pair of addresses as long as no link changes.
func (t *trunk) transmit(dst, src address, frame []byte) {
	up := make([]*Port, 0, len(t.ports))
	for _, p := range t.ports {
		if p.up {
			up = append(up, p)
		}
	}
	if len(up) == 0 {
		return
	}
	h := fnv.New32a()
	h.Write(dst[:])
	h.Write(src[:])
	up[int(h.Sum32()%uint32(len(up)))].transmit(frame)
}

// forget removes what was learned on a port. The caller holds s.mu.
func (s *Switch) forget(p *Port) {
	for mac, last := range p.trunk.last {
		if last == p {
			delete(p.trunk.last, mac)
			if s.table[mac] == p.trunk {
				delete(s.table, mac)
			}
		}
	}
}

// Counters are a port's counters, seen from the switch: Rx is what the other
// end sent.
type Counters struct {
	RxFrames, RxBytes uint64
	TxFrames, TxBytes uint64
	// Dropped counts frames in both directions that the port dropped: while it
	// was silent or down, or because the other end does not read.
	Dropped uint64
}

// A Port is one port of a switch.
type Port struct {
	sw   *Switch
	name string
	out  chan []byte // to the other end

	// Guarded by sw.mu.
	trunk    *trunk
	up       bool
	silent   bool
	counters Counters
}

// Name returns the port's name.
func (p *Port) Name() string { return p.name }

// SetUp sets the port's link. A port whose link is down passes nothing, and the
// switch forgets what it learned there.
func (p *Port) SetUp(up bool) {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	p.up = up
	if !up {
		p.sw.forget(p)
	}
}

// Silence makes the port drop all frames in both directions without telling
// either end, or ends that.
func (p *Port) Silence(on bool) {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	p.silent = on
}

// Counters returns the port's counters.
func (p *Port) Counters() Counters {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	return p.counters
}

// String returns the port's name, state and counters.
func (p *Port) String() string {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	return fmt.Sprintf("%s up=%t silent=%t %+v", p.name, p.up, p.silent, p.counters)
}

// transmit queues a frame for the other end. Several ports may have the same
// frame, so nobody writes to it. The caller holds sw.mu.
func (p *Port) transmit(frame []byte) {
	if p.silent {
		p.counters.Dropped++
		return
	}
	select {
	case p.out <- frame:
		p.counters.TxFrames++
		p.counters.TxBytes += uint64(len(frame))
	default:
		p.counters.Dropped++
	}
}
