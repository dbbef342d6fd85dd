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
	vendorID, deviceID, ok := strings.Cut(id, ":")
	if !ok {
		return "", ""
	}
	found := false
	for line := range strings.Lines(pciIDs) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "\t") {
			if name, ok := strings.CutPrefix(line[1:], deviceID+"  "); ok && found {
				return vendor, name
			}
			continue
		}
		if found { // the next vendor begins
			break
		}
		vendor, found = strings.CutPrefix(line, vendorID+"  ")
	}
	if !found {
		return "", ""
	}
	return vendor, ""
}
