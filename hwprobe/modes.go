package hwprobe

import (
	"slices"
	"strconv"
	"strings"
)

// modeSpeeds names the speeds, in ascending megabits per second, of link modes. A mode's name begins with its speed
// ("2500baseT/Full"); those that do not are no speeds (autonegotiation, ports, pause, FEC).
func modeSpeeds(modes []string) []int {
	var speeds []int
	for _, mode := range modes {
		digits := leadingDigits(mode)
		if mbps, err := strconv.Atoi(digits); err == nil && mbps > 0 && strings.HasPrefix(mode[len(digits):], "base") {
			speeds = append(speeds, mbps)
		}
	}
	slices.Sort(speeds)
	return slices.Compact(speeds)
}
