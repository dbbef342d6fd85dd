package lan

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// shortest is the shortest frame on a wire, in bytes without its checksum (IEEE
// 802.3, 4A.2.3.2.4). A sender fills up what is shorter, as QEMU's stream does
// not; some cards count what is not filled up as received with an error.
const shortest = 60

// filling is what short frames are filled up with.
var filling [shortest]byte

// Serve joins the port with a connection that speaks QEMU's stream protocol:
// each frame is preceded by its length as a 32-bit big-endian number. It
// returns nil when ctx ends or the other end closes the connection, and closes
// it in any case.
func (p *Port) Serve(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Ends a read and a write that wait.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	written := make(chan error, 1)
	go func() {
		defer cancel()
		written <- p.writeTo(ctx, conn)
	}()
	err := p.readFrom(conn)
	cancel()
	err = errors.Join(err, <-written)
	conn.Close()
	if err != nil {
		return fmt.Errorf("serve port %s: %w", p.name, err)
	}
	return nil
}

func (p *Port) readFrom(conn net.Conn) error {
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		var length [4]byte
		if _, err := io.ReadFull(r, length[:]); err != nil {
			return ended(err)
		}
		n := binary.BigEndian.Uint32(length[:])
		if n > maxFrame {
			return fmt.Errorf("frame of %d bytes, at most %d are possible", n, maxFrame)
		}
		frame := make([]byte, n)
		if _, err := io.ReadFull(r, frame); err != nil {
			return ended(err)
		}
		p.sw.receive(p, frame)
	}
}

func (p *Port) writeTo(ctx context.Context, conn net.Conn) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case frame := <-p.out:
			fill := filling[:max(0, shortest-len(frame))]
			length := binary.BigEndian.AppendUint32(nil, uint32(len(frame)+len(fill)))
			buffers := net.Buffers{length, frame, fill}
			if _, err := buffers.WriteTo(conn); err != nil {
				return ended(err)
			}
		}
	}
}

// ended turns the errors of a connection that either end has closed into nil.
func ended(err error) error {
	var op *net.OpError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, net.ErrClosed) || errors.As(err, &op) {
		return nil
	}
	return err
}

// A Tap is a host's end of a cable: what a test sends and receives as a host
// on the network.
type Tap struct {
	port *Port
}

// Tap adds a port whose other end is the caller.
func (s *Switch) Tap(name string) *Tap {
	return &Tap{port: s.NewPort(name)}
}

// Port returns the switch's end.
func (t *Tap) Port() *Port { return t.port }

// Send sends an Ethernet frame, without its checksum, into the switch.
func (t *Tap) Send(frame []byte) {
	t.port.sw.receive(t.port, append([]byte(nil), frame...))
}

// Receive returns the next frame that the switch sends to the tap. The frame
// is shared with other ports and must not be changed.
func (t *Tap) Receive(ctx context.Context) ([]byte, error) {
	select {
	case frame := <-t.port.out:
		return frame, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
