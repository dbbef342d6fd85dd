package config

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// parseReference checks a reference to a NIC and puts it into its one form: a
// name as it is, mac:02:00:5e:10:00:01, pci:0000:03:00.0.
func parseReference(s string) (string, error) {
	if mac, ok := strings.CutPrefix(s, "mac:"); ok {
		mac, err := parseMAC(mac)
		if err != nil {
			return "", fmt.Errorf("%s: %w", quote(s), err)
		}
		return "mac:" + mac, nil
	}
	if pci, ok := strings.CutPrefix(s, "pci:"); ok {
		pci, err := parsePCI(pci)
		if err != nil {
			return "", fmt.Errorf("%s: %w", quote(s), err)
		}
		return "pci:" + pci, nil
	}
	for _, prefix := range []string{"mac:", "pci:"} {
		if len(s) > len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
			return "", fmt.Errorf("%s begins with capitals: write %q", quote(s), prefix+s[len(prefix):])
		}
	}
	if _, err := parseMAC(s); err == nil {
		return "", fmt.Errorf("%s is a MAC address, not a name: write %q", quote(s), "mac:"+s)
	}
	if pci, err := parsePCI(s); err == nil {
		return "", fmt.Errorf("%s is a PCI address, not a name: write %q", quote(s), "pci:"+pci)
	}
	return s, checkName(s)
}

// checkName checks the name of an interface as the kernel does (dev_valid_name
// in net/core/dev.c), and refuses the names that mean something else to it.
func checkName(s string) error {
	const longest = 15 // IFNAMSIZ less the final zero
	switch {
	case s == "":
		return errors.New("an interface name is not empty: write one, for example \"eth0\"")
	case s == "lo":
		return errors.New("\"lo\" is the loopback interface: name an Ethernet NIC, for example \"eth0\"")
	// "all" and "default" are directories beside those of the interfaces in
	// /proc/sys/net, and bonding_masters is a file beside them in
	// /sys/class/net.
	case s == "." || s == ".." || slices.Contains([]string{"all", "default", "bonding_masters"}, s):
		return fmt.Errorf("%q is not free as an interface name, the kernel uses it itself: choose another", s)
	case len(s) > longest:
		return fmt.Errorf(
			"%s is too long for an interface name: %d bytes, and the kernel takes %d",
			quote(s),
			len(s),
			longest,
		)
	}
	for _, r := range s {
		// % makes the kernel number a name by itself.
		if strings.ContainsRune("/:%", r) || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return fmt.Errorf("%s is not an interface name: %q cannot be in one", quote(s), r)
		}
	}
	return nil
}

// parseMAC checks the address of one Ethernet NIC and writes it in lower case
// with colons.
func parseMAC(s string) (string, error) {
	const example = "02:00:5e:10:00:01"
	hw, err := net.ParseMAC(s)
	switch {
	case err != nil || len(hw) != 6:
		return "", fmt.Errorf("%s is not a MAC address: write six bytes, for example %q", quote(s), example)
	case [6]byte(hw) == [6]byte{}:
		return "", fmt.Errorf(
			"%s is not the address of a NIC, all of it is zero: write one such as %q",
			quote(s),
			example,
		)
	case hw[0]&1 != 0:
		return "", fmt.Errorf(
			"%s is a multicast address, no NIC can have it: its first byte has to be even, as in %q",
			quote(s),
			example,
		)
	}
	return hw.String(), nil
}

var pciForm = regexp.MustCompile(`^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])$`)

// parsePCI checks the address of a PCI function and writes it as sysfs does.
func parsePCI(s string) (string, error) {
	m := pciForm.FindStringSubmatch(strings.ToLower(s))
	if m == nil {
		return "", fmt.Errorf(
			"%s is not a PCI address: write domain, bus, device and function, for example %q",
			quote(s),
			"0000:03:00.0",
		)
	}
	domain, _ := strconv.ParseUint("0"+m[1], 16, 64) // the form leaves no error
	return fmt.Sprintf("%04x:%s:%s.%s", domain, m[2], m[3], m[4]), nil
}
