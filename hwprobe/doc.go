// Package hwprobe reads the network cards of a Linux machine and judges whether they are fit to be bonded, as an
// experienced engineer would: the same chipset and driver, cards that do not fail together, slots and cables that are
// good enough, and nothing that the kind of card is known for.
//
// Probe does all the input: rtnetlink, ethtool and sysfs, each bounded in time and each of them by itself, so that one
// dead or hanging card costs the others nothing. It reads only: it takes no interface up or down, and wakes no card. It
// needs no privileges, and says what it could not read without them. Everything after it (Judge, Observe, Choices,
// Resolve, WriteText) is pure.
//
// Record keeps what Probe has read as an Archive, which can be saved, sent and judged elsewhere.
//
//	machine, err := hwprobe.Probe(ctx, hwprobe.Source{})
//	…
//	report := machine.Judge(hwprobe.Policy{Mode: hwprobe.Enforce, Match: hwprobe.MatchChipset}, nil)
//	err = report.WriteText(os.Stdout)
//
// What does not change while the machine runs is in Judge, what does is in Machine.Observe: a program that stays asks
// the first when a card comes or goes, and the second every minute, with the look before, so that only what is new
// counts. Machine.Judge is both.
//
// The package imports nothing else of this module, so that it can be used on its own.
package hwprobe
