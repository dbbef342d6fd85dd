package hwprobe_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"bondd.internal/hwprobe"
)

// The machine that the program runs on is read and judged.
func Example() {
	machine, err := hwprobe.Probe(context.Background(), hwprobe.Source{})
	if err != nil {
		log.Fatal(err)
	}
	report := machine.Judge(hwprobe.Policy{Mode: hwprobe.Enforce, Match: hwprobe.MatchChipset}, nil)
	if err := report.WriteText(os.Stderr); err != nil {
		log.Fatal(err)
	}
}

// A machine that was saved with `bondd probe --save` is judged elsewhere.
func ExampleReadArchive() {
	f, err := os.Open("testdata/machines/openwrt-mt7622-rtl8125.json")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	archive, err := hwprobe.ReadArchive(f)
	if err != nil {
		log.Fatal(err)
	}
	machine, err := hwprobe.Probe(context.Background(), archive.Source())
	if err != nil {
		log.Fatal(err)
	}
	report := machine.Judge(hwprobe.Policy{}, nil)
	fmt.Println(report.Verdict)
	for _, f := range report.Findings {
		if f.Severity == hwprobe.SeverityWarn {
			fmt.Println(f.Check+":", f.Message)
		}
	}
	// Output:
	// warn
	// shared-fate: eth1 and eth2 are behind one PCIe switch (0000:01:00.0 ASM1182e 2-Port PCIe x1 Gen2 Packet Switch)
}

// Two cards that one looks at by hand.
func ExampleJudge() {
	nics := []hwprobe.NIC{
		{Name: "eth0", Driver: "igc", PCIID: "8086:125c", Bus: "pci", Address: "0000:03:00.0"},
		{Name: "eth1", Driver: "igc", PCIID: "8086:15f3", Bus: "pci", Address: "0000:04:00.0"},
	}
	report := hwprobe.Judge(nics, hwprobe.Policy{Match: hwprobe.MatchDriver}, []string{"eth0", "eth1"})
	fmt.Println(report.Members)
	report = hwprobe.Judge(nics, hwprobe.Policy{Match: hwprobe.MatchChipset}, []string{"eth0", "eth1"})
	fmt.Println(report.Members, report.LeftOut["eth1"])
	// Output:
	// [eth0 eth1]
	// [eth0] eth1 (igc, 8086:15f3) is left out: the first slave eth0 is igc 8086:125c, and policy "enforce" asks for the same chipset and driver
}

// Where no slaves are named, the best group is chosen.
func ExampleChoices() {
	nics := []hwprobe.NIC{
		{Name: "eth0", Driver: "igb", PCIID: "8086:1521", Bus: "pci", Address: "0000:03:00.0"},
		{Name: "eth1", Driver: "igb", PCIID: "8086:1521", Bus: "pci", Address: "0000:03:00.1"},
		{Name: "eth2", Driver: "igc", PCIID: "8086:125c", Bus: "pci", Address: "0000:04:00.0"},
		{Name: "eth3", Driver: "igc", PCIID: "8086:125c", Bus: "pci", Address: "0000:05:00.0"},
	}
	for _, c := range hwprobe.Choices(nics, hwprobe.MatchChipset) {
		fmt.Println(c.NICs, c.Kind, c.Independent)
	}
	// Output:
	// [eth2 eth3] igc 8086:125c 2
	// [eth0 eth1] igb 8086:1521 1
}
