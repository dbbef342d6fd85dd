package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What FastLinkDown found out.
const (
	FastLinkDownOn         = "on"
	FastLinkDownNotOffered = "not offered"
)

// fastLinkDownSoonest is the value that has a PHY report a lost link as soon as
// it can, instead of after the 350 ms or more that the standard allows for
// 1000BASE-T (ETHTOOL_PHY_FAST_LINK_DOWN_ON, include/uapi/linux/ethtool.h).
const fastLinkDownSoonest = unix.ETHTOOL_PHY_FAST_LINK_DOWN_ON

// FastLinkDown has a card report a lost link as soon as its PHY can, if the PHY
// offers that and does not do so already. It returns one of the words above, or
// why the card refused: Marvell's PHYs, for one, say EBUSY while Energy
// Efficient Ethernet is on. The kernel forgets the setting when the PHY is
// reset, as some drivers do when the card is taken up.
func FastLinkDown(ctx context.Context, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open socket for ethtool: %w", err)
	}
	type answer struct {
		state string
		err   error
	}
	// A system call that waits for the RTNL lock cannot be ended; it is left
	// alone then, and its goroutine ends with it.
	answered := make(chan answer, 1)
	go func() {
		defer unix.Close(fd)
		state, err := fastLinkDown(func(t *tunable) error { return t.ioctl(fd, name) })
		answered <- answer{state, err}
	}()
	select {
	case <-ctx.Done():
		return "", fmt.Errorf("set fast link down of %s: %w", name, ctx.Err())
	case a := <-answered:
		if a.err != nil {
			return "", fmt.Errorf("set fast link down of %s: %w", name, a.err)
		}
		return a.state, nil
	}
}

// fastLinkDown reads the setting and changes it if it has to be changed.
func fastLinkDown(ioctl func(*tunable) error) (string, error) {
	t := fastLinkDownTunable(unix.ETHTOOL_PHY_GTUNABLE, 0)
	err := ioctl(t)
	if err == nil && t.value() != fastLinkDownSoonest {
		t = fastLinkDownTunable(unix.ETHTOOL_PHY_STUNABLE, fastLinkDownSoonest)
		err = ioctl(t)
	}
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		// EINVAL: a kernel before 5.1 does not know the tunable.
		return FastLinkDownNotOffered, nil
	case err != nil:
		return "", err
	}
	return FastLinkDownOn, nil
}

// A tunable is a struct ethtool_tunable with a value of one byte behind it.
type tunable [17]byte

func fastLinkDownTunable(command uint32, value uint8) *tunable {
	t := new(tunable)
	binary.NativeEndian.PutUint32(t[0:], command)
	binary.NativeEndian.PutUint32(t[4:], unix.ETHTOOL_PHY_FAST_LINK_DOWN)
	binary.NativeEndian.PutUint32(t[8:], unix.ETHTOOL_TUNABLE_U8)
	binary.NativeEndian.PutUint32(t[12:], 1) // the value's length
	t[16] = value
	return t
}

func (t *tunable) value() uint8 { return t[16] }

// ioctl carries the command out on the link of that name.
func (t *tunable) ioctl(fd int, name string) error {
	// A struct ifreq, of which SIOCETHTOOL reads the name and the pointer.
	var ifr struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}
	if len(name) >= len(ifr.name) {
		return unix.ENODEV
	}
	copy(ifr.name[:], name)
	var pinner runtime.Pinner
	pinner.Pin(t)
	defer pinner.Unpin()
	ifr.data = unsafe.Pointer(t)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL,
		uintptr(unsafe.Pointer(&ifr))); errno != 0 {
		return errno
	}
	return nil
}
