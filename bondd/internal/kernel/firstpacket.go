package kernel

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// FirstPacket waits for the first frame that arrives on a link from now on and
// returns when it did, by the kernel's own stamp. It ends with an error when
// ctx or timeout ends, and at once when the link goes down or away.
func FirstPacket(ctx context.Context, index int, timeout time.Duration) (time.Time, error) {
	stamp, err := firstPacket(ctx, index, timeout)
	if err != nil {
		return time.Time{}, fmt.Errorf("wait for a packet on link %d: %w", index, err)
	}
	return stamp, nil
}

func firstPacket(ctx context.Context, index int, timeout time.Duration) (time.Time, error) {
	f, err := packetSocket(index)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	if err := f.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return time.Time{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return time.Time{}, err
	}
	var stamp time.Time
	var received error
	err = raw.Read(func(fd uintptr) bool {
		stamp, received = receiveStamp(int(fd))
		return received != unix.EAGAIN
	})
	switch {
	case ctx.Err() != nil:
		return time.Time{}, ctx.Err()
	case err != nil:
		return time.Time{}, err
	}
	return stamp, received
}

// packetSocket opens a socket that gets the first byte and the stamp of every
// frame that comes in by a link.
func packetSocket(index int) (*os.File, error) {
	// Without a protocol it gets nothing until it is bound.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "packet socket")
	const smallest = 4096 // the kernel makes more of it if it is too little; what does not fit is dropped
	first := [...]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 1}}
	for _, err := range []error{
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, smallest),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(first)), Filter: &first[0]}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}),
			Ifindex: index}),
	} {
		if err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// receiveStamp takes one frame from a socket and returns its stamp.
func receiveStamp(fd int) (time.Time, error) {
	var frame [1]byte
	control := make([]byte, 128)
	_, n, _, _, err := unix.Recvmsg(fd, frame[:], control, 0)
	if err != nil {
		return time.Time{}, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return time.Time{}, err
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(
				int64(binary.NativeEndian.Uint64(m.Data)),
				int64(binary.NativeEndian.Uint64(m.Data[8:])),
			), nil
		}
	}
	return time.Time{}, fmt.Errorf("the kernel gave no time stamp")
}
