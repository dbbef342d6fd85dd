// Package hwprobe lists the network cards of a Linux machine and judges whether they are fit to be bonded.
//
// The prerequisite it checks is the classic one of bonding: cards of the same chipset and driver, each on a PCI device
// of its own and with its own option ROM. In the flow of the program it stands beside the configuration: it is asked
// once at start, and again when a card comes or goes, and its Report says which slaves may be enslaved and why the
// others may not. It changes nothing on the machine and needs no privileges.
//
// Inventory does all the input: rtnetlink, ethtool and sysfs, each bounded in time. Everything after it (Judge, Group,
// Resolve, WriteText) is pure. The package imports nothing else of this module, so that it can be used on its own:
//
//	nics, err := hwprobe.Inventory(ctx, hwprobe.Source{})
//	…
//	report := hwprobe.Judge(nics, hwprobe.Policy{Mode: hwprobe.Enforce, Match: hwprobe.MatchChipset}, nil)
//	err = report.WriteText(os.Stdout)
package hwprobe
