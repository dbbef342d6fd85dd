package hwprobe

import (
	_ "embed"
	"strings"
)

// The appliance has neither a PCI ID list on disk nor a network before its cards are judged, so an excerpt is built in.
// Its terms are at its head.
//
//go:generate sh -c "(cat pci.ids.notice && awk -f pciids.awk /usr/share/misc/pci.ids) >pci.ids"
//go:embed pci.ids
var pciIDs string

// pciNames looks up the names of vendor and model for an id such as "8086:100e"; both are empty if it is not listed.
func pciNames(id string) (vendor, model string) {
	vendor, model, _ = pciEntry(id)
	return vendor, model
}

// subsystemName looks up the name of a board, such as "1028:04dd", with a chip.
func subsystemName(id, subsystem string) string {
	_, _, boards := pciEntry(id)
	vendor, device, ok := strings.Cut(subsystem, ":")
	if !ok {
		return ""
	}
	_, name, found := strings.Cut("\n"+boards, "\n\t\t"+vendor+" "+device+"  ")
	if !found {
		return ""
	}
	name, _, _ = strings.Cut(name, "\n")
	return name
}

// pciEntry finds the names of vendor and model in the list, and the lines of the boards with that chip.
func pciEntry(id string) (vendor, model, boards string) {
	vendorID, deviceID, ok := strings.Cut(id, ":")
	if !ok {
		return "", "", ""
	}
	_, section, ok := strings.Cut(pciIDs, "\n"+vendorID+"  ")
	if !ok {
		return "", "", ""
	}
	vendor, section, _ = strings.Cut(section, "\n")
	// Up to the next vendor, whose line is not indented.
	for end := 0; end < len(section); {
		if section[end] != '\t' {
			section = section[:end]
			break
		}
		_, rest, _ := strings.Cut(section[end:], "\n")
		end = len(section) - len(rest)
	}
	_, entry, ok := strings.Cut("\n"+section, "\n\t"+deviceID+"  ")
	if !ok {
		return vendor, "", ""
	}
	model, boards, _ = strings.Cut(entry, "\n")
	for end := 0; end < len(boards); {
		if !strings.HasPrefix(boards[end:], "\t\t") {
			boards = boards[:end]
			break
		}
		_, rest, _ := strings.Cut(boards[end:], "\n")
		end = len(boards) - len(rest)
	}
	return vendor, model, boards
}
