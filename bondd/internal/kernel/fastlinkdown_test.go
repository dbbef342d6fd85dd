package kernel

import (
	"encoding/hex"
	"testing"

	"golang.org/x/sys/unix"
)

// The bytes of struct ethtool_tunable and its value, as ethtool(8) sends them
// for --get-phy-tunable and --set-phy-tunable.
func TestTunable(t *testing.T) {
	for _, tt := range []struct {
		got  *tunable
		want string
	}{
		{fastLinkDownTunable(unix.ETHTOOL_PHY_GTUNABLE, 0), "4e000000" + "02000000" + "01000000" + "01000000" + "00"},
		{fastLinkDownTunable(unix.ETHTOOL_PHY_STUNABLE, 255), "4f000000" + "02000000" + "01000000" + "01000000" + "ff"},
	} {
		if got := hex.EncodeToString(tt.got[:]); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// A PHY is told once, and only if it does not do so already.
func TestFastLinkDown(t *testing.T) {
	for _, tt := range []struct {
		name     string
		value    uint8 // of the PHY
		get, set error
		want     string
		err      error
		sets     int
	}{
		{"at once already", 0, nil, nil, "on", nil, 0},
		{"off", 255, nil, nil, "on", nil, 1},
		{"after 40 ms", 40, nil, nil, "on", nil, 1},
		{"no PHY", 0, unix.EOPNOTSUPP, nil, "not offered", nil, 0},
		{"a kernel that does not know it", 0, unix.EINVAL, nil, "not offered", nil, 0},
		{"one that can only be read", 255, nil, unix.EOPNOTSUPP, "not offered", nil, 1},
		{"EEE is on", 255, nil, unix.EBUSY, "", unix.EBUSY, 1},
		{"the card is gone", 0, unix.ENODEV, nil, "", unix.ENODEV, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sets := 0
			got, err := fastLinkDown(func(c *tunable) error {
				if c[0] == unix.ETHTOOL_PHY_STUNABLE {
					if sets++; c.value() != 0 {
						t.Errorf("the PHY is told %d, want 0", c.value())
					}
					return tt.set
				}
				c[16] = tt.value
				return tt.get
			})
			if got != tt.want || err != tt.err || sets != tt.sets {
				t.Errorf("got %q, %v, told %d times; want %q, %v, %d", got, err, sets, tt.want, tt.err, tt.sets)
			}
		})
	}
}
