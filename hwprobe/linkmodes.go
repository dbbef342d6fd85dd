package hwprobe

import (
	"encoding/binary"
	"slices"
)

// modeRuns gives the speed of each link mode, as runs of neighbouring bits of enum ethtool_link_mode_bit_indices
// (include/uapi/linux/ethtool.h of Linux 6.12). Bits that are no speed (autonegotiation, ports, pause, FEC) are left
// out, and so are modes younger than this table.
var modeRuns = []struct{ first, last, mbps int }{
	{0, 1, 10}, {2, 3, 100}, {4, 5, 1000}, {12, 12, 10_000},
	{15, 15, 2500}, {17, 17, 1000}, {18, 20, 10_000}, {21, 22, 20_000},
	{23, 26, 40_000}, {27, 30, 56_000}, {31, 33, 25_000}, {34, 35, 50_000},
	{36, 39, 100_000}, {40, 40, 50_000}, {41, 41, 1000}, {42, 46, 10_000},
	{47, 47, 2500}, {48, 48, 5000}, {52, 56, 50_000}, {57, 61, 100_000},
	{62, 66, 200_000}, {67, 67, 100}, {68, 68, 1000}, {69, 73, 400_000},
	{75, 79, 100_000}, {80, 84, 200_000}, {85, 89, 400_000}, {90, 91, 100},
	{92, 92, 10}, {93, 98, 800_000}, {99, 102, 10},
}

// modeSpeeds names the speeds, in ascending megabits per second, of a compact bit set of link modes: 32-bit words in
// the machine's order, as many as the kernel sent. Bits beyond the table and a torn last word are ignored.
func modeSpeeds(set []byte) []int {
	var speeds []int
	for _, run := range modeRuns {
		for bit := run.first; bit <= run.last; bit++ {
			word := bit / 32 * 4
			if word+4 <= len(set) && binary.NativeEndian.Uint32(set[word:])>>(bit%32)&1 != 0 {
				speeds = append(speeds, run.mbps)
			}
		}
	}
	slices.Sort(speeds)
	return slices.Compact(speeds)
}
