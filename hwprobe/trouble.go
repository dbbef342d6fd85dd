package hwprobe

import (
	"slices"
	"strconv"
	"strings"
)

// A Trouble is a weakness that a kind of card is known for. It warns, and never keeps a card out of a bond.
type Trouble struct {
	// ID names the row in findings and in the documentation.
	ID string
	// Cards names the cards for people.
	Cards string
	// Driver is the kernel's driver; empty for any.
	Driver string
	// Chips are the PCI or USB ids, vendor:device.
	Chips []string
	// Revisions are the PCI revisions that have it; empty for all.
	Revisions []string
	// Needs is what must be on for the trouble to occur; empty if nothing that can be read.
	Needs Condition
	// Since is the first kernel that has it, and Mended the first one that has it no more; empty if unknown.
	Since, Mended string
	// Symptom is what happens, Do what to do against it.
	Symptom, Do string
	// Sources are public reports.
	Sources []string
}

// Condition is something that must be on for a Trouble to occur.
type Condition string

const (
	NeedsASPM   Condition = "ASPM"      // any power saving state of the card's PCI Express link
	NeedsASPML1 Condition = "ASPM L1.2" // the deepest of them
	NeedsEEE    Condition = "EEE"       // Energy-Efficient Ethernet
	NeedsSleep  Condition = "autosuspend"
)

const aspmOff = `switch ASPM off: in the machine's setup, or with "pcie_aspm=off" on the kernel's command line`

// Troubles is the table of known troubles. Every row has public sources that have been read.
func Troubles() []Trouble {
	igc225 := []string{"8086:15f2", "8086:15f3"}
	igc226 := []string{"8086:125b", "8086:125c", "8086:125d"}
	return []Trouble{
		{
			ID: "i225-v1", Cards: "Intel I225-LM and I225-V, first version", Driver: "igc",
			Chips: igc225, Revisions: []string{"01"},
			Symptom: "at 2.5 Gb/s it loses packets with many switches, because it does not keep the gap between packets",
			Do:      "let it advertise no more than 1000 Mb/s, or use a card of a later revision",
			Sources: []string{
				"https://www.heise.de/newsticker/meldung/" +
					"Hardware-Fehler-Intels-2-5-GBit-Ethernet-kann-kein-richtiges-2-5-GBit-4711623.html",
				"https://github.com/armarquez/infra/issues/168",
				"https://github.com/hwti/G-010S-A/issues/7",
			},
		},
		{
			ID: "i225-v1-eee", Cards: "Intel I225-V, first version", Driver: "igc",
			Chips: []string{"8086:15f3"}, Revisions: []string{"01"}, Needs: NeedsEEE,
			Symptom: "also at 1 Gb/s it loses its link every 20 to 30 minutes",
			Do:      "switch Energy-Efficient Ethernet off for the card",
			Sources: []string{"https://github.com/armarquez/infra/issues/168"},
		},
		{
			ID: "igc-detach", Cards: "Intel I225 and I226", Driver: "igc",
			Chips: slices.Concat(igc225, igc226), Needs: NeedsASPM,
			Symptom: `after hours or days the card falls off its bus ("PCIe link lost, device now detached") and still looks up`,
			Do:      aspmOff,
			Sources: []string{
				"https://github.com/ublue-os/bazzite/issues/5337",
				"https://avizard.blogspot.com/2026/06/pcie-link-lost-device-now-detached.html",
				"https://lkml.iu.edu/hypermail/linux/kernel/2602.1/04714.html",
			},
		},
		{
			ID: "i226-l12", Cards: "Intel I226", Driver: "igc",
			Chips: igc226, Needs: NeedsASPML1,
			Symptom: "reception stalls under load, because waking from L1.2 takes longer than the card can buffer",
			Do:      `use a kernel whose driver switches L1.2 off, or write "0" to link/l1_2_aspm in the card's folder in sysfs`,
			Sources: []string{"https://github.com/freebsd/freebsd-src/pull/2318"},
		},
		{
			ID: "igc-flaps", Cards: "Intel I225 and I226", Driver: "igc",
			Chips:   slices.Concat(igc225, igc226),
			Symptom: "some lose their link for seconds at 2.5 Gb/s, again and again",
			Do:      "if this one does: try another cable and another kernel, then let it advertise no more than 1000 Mb/s",
			Sources: []string{
				"https://github.com/openwrt/openwrt/issues/16898",
				"https://github.com/ublue-os/bazzite/issues/4627",
				"https://github.com/coolsnowwolf/lede/issues/8486",
				"https://github.com/coolsnowwolf/lede/issues/9371",
			},
		},
		{
			ID: "i211-detach", Cards: "Intel I211", Driver: "igb",
			Chips:   []string{"8086:1539"},
			Symptom: `some fall off their bus ("PCIe link lost") and come back only with a restart`,
			Do:      "if this one does: switch the machine off and on, and look for another version of its firmware",
			Sources: []string{"https://github.com/pcengines/apu2-documentation/issues/174"},
		},
		{
			ID: "e1000e-hang", Cards: "Intel 82579 and I219, the chipsets' own cards", Driver: "e1000e",
			Chips: []string{
				"8086:1502", "8086:1503", "8086:156f", "8086:1570", "8086:15b7", "8086:15b8", "8086:15b9", "8086:15d7",
				"8086:15d8", "8086:15e3", "8086:15d6", "8086:15bd", "8086:15be", "8086:15bb", "8086:15bc", "8086:15df",
				"8086:15e0", "8086:15e1", "8086:15e2", "8086:0d4f", "8086:57a0",
			},
			Symptom: `under load some stop sending ("Detected Hardware Unit Hang") while the link stays up`,
			Do: "check a path ([[bond.path]]), which sees it; if this one does it, try it with segmentation offload off, and " +
				"else use another card",
			Sources: []string{
				"https://github.com/lxc/incus-os/issues/849",
				"https://github.com/clearlinux/distribution/issues/2091",
				"https://github.com/gislab-npo/gislab/issues/407",
				"https://github.com/ipxe/ipxe/issues/1731",
				"https://github.com/mkuthan/homelab-public/issues/46",
			},
		},
		{
			ID: "rtl8168-aspm", Cards: "Realtek RTL8111 and RTL8168", Driver: "r8169",
			Chips: []string{"10ec:8168"}, Needs: NeedsASPM,
			Symptom: `reception is very slow, or sending stops ("NETDEV WATCHDOG: transmit queue timed out")`,
			Do:      aspmOff,
			Sources: []string{
				"https://github.com/openwrt/openwrt/issues/13248",
				"https://github.com/KastB/r8169/issues/3",
			},
		},
		{
			ID: "rtl8125-aspm", Cards: "Realtek RTL8125",
			Chips: []string{"10ec:8125"}, Needs: NeedsASPM,
			Symptom: "delays and uneven throughput, down to a tenth of the speed",
			Do:      aspmOff,
			Sources: []string{
				"https://github.com/openwrt/openwrt/pull/18509",
				"https://github.com/awesometic/realtek-r8125-dkms/issues/1",
			},
		},
		{
			ID: "r8169-vlan", Cards: "Realtek RTL8111 and RTL8168", Driver: "r8169",
			Chips: []string{"10ec:8168"}, Since: "6.18.52",
			Symptom: `with VLANs on it, sending stops ("transmit queue timed out") until transmit checksumming is off`,
			Do:      "if the bond has VLANs: switch transmit checksumming off for the card, or use another kernel",
			Sources: []string{
				"https://github.com/home-assistant/operating-system/issues/5019",
				"https://github.com/home-assistant/operating-system/issues/5023",
			},
		},
		{
			ID: "rtl8153-reset", Cards: "Realtek RTL8153 and RTL8156 over USB", Driver: "r8152",
			Chips:   []string{"0bda:8153", "0bda:8156"},
			Symptom: "under load or after hours some reset themselves, or stop until they are plugged in again",
			Do:      "use it as the last slave only; a PCI Express card is better",
			Sources: []string{
				"https://github.com/raspberrypi/linux/issues/5239",
				"https://github.com/bb-qq/r8152/issues/188",
				"https://github.com/bb-qq/r8152/issues/366",
			},
		},
		{
			ID: "rtl8153-autosuspend", Cards: "Realtek RTL8153 over USB", Driver: "r8152",
			Chips: []string{"0bda:8153"}, Needs: NeedsSleep,
			Symptom: "it disconnects now and then when the USB may put it to sleep",
			Do:      `write "on" to the card's power/control in sysfs, or start the kernel with "usbcore.autosuspend=-1"`,
			Sources: []string{"https://github.com/coolsnowwolf/lede/issues/2003"},
		},
		{
			ID: "ax88179-stops", Cards: "ASIX AX88179 over USB", Driver: "ax88179_178a",
			Chips:   []string{"0b95:1790"},
			Symptom: "under load some stop, or lose their link again and again",
			Do:      "use it as the last slave only; a PCI Express card is better",
			Sources: []string{
				"https://github.com/hardkernel/linux/issues/75",
				"https://github.com/pop-os/linux/issues/172",
			},
		},
	}
}

// certainty is how sure it is that a card has a trouble.
type certainty int

const (
	no        certainty = iota
	maybe               // the card is of the kind, and nothing that can be read tells more
	unread              // a condition could not be read
	certainly           // a condition is met
)

// of says whether a card has the trouble.
func (t Trouble) of(n NIC) certainty {
	if t.Driver != "" && n.Driver != t.Driver || !slices.Contains(t.Chips, n.chip()) {
		return no
	}
	sure := maybe
	if len(t.Revisions) > 0 {
		if n.Revision == "" {
			return unread
		}
		if !slices.Contains(t.Revisions, n.Revision) {
			return no
		}
		sure = certainly
	}
	if t.Since != "" || t.Mended != "" {
		kernel, ok := parseVersion(n.DriverVersion)
		if !ok {
			return unread
		}
		since, _ := parseVersion(t.Since)
		mended, _ := parseVersion(t.Mended)
		if slices.Compare(kernel, since) < 0 || mended != nil && slices.Compare(kernel, mended) >= 0 {
			return no
		}
	}
	if t.Needs == "" {
		return sure
	}
	on, known := t.Needs.of(n)
	switch {
	case !known:
		return unread
	case !on:
		return no
	}
	return certainly
}

// of says whether the condition is on for a card.
func (c Condition) of(n NIC) (on, known bool) {
	switch c {
	case NeedsASPM:
		return n.ASPM != nil && len(n.ASPM.Enabled) > 0, n.ASPM != nil
	case NeedsASPML1:
		return n.ASPM != nil && slices.Contains(n.ASPM.Enabled, "L1.2"), n.ASPM != nil
	case NeedsEEE:
		return n.EEE != nil && n.EEE.Enabled, n.EEE != nil
	case NeedsSleep:
		return n.PowerControl == "auto", n.PowerControl != ""
	}
	return false, false
}

// parseVersion reads the numbers at the beginning of a kernel's release, "6.12.117-bondd".
func parseVersion(release string) (numbers []int, ok bool) {
	for part := range strings.SplitSeq(release, ".") {
		digits := leadingDigits(part)
		number, err := strconv.Atoi(digits)
		if err != nil {
			break
		}
		numbers = append(numbers, number)
		if digits != part {
			break
		}
	}
	return numbers, len(numbers) >= 2
}
