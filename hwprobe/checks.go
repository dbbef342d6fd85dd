package hwprobe

// The checks, by the stable names that appear in reports.
const (
	CheckNoNIC         = "no-nic"         // there is nothing to bond
	CheckMissing       = "missing"        // a configured slave is not in the machine
	CheckCount         = "count"          // one slave alone has nothing to fail over to
	CheckGroup         = "group"          // which cards were chosen, and why
	CheckDriver        = "driver"         // same driver
	CheckChipset       = "chipset"        // same chipset
	CheckRevision      = "revision"       // same revision and firmware
	CheckOwnDevice     = "own-device"     // each on a device of its own
	CheckSharedFate    = "shared-fate"    // no PCIe switch, root port or USB hub in common
	CheckOptionROM     = "option-rom"     // each with its own option ROM
	CheckPermanentMAC  = "permanent-mac"  // each with an address of its own
	CheckMACChange     = "mac-change"     // each can take on the bond's address
	CheckBestMode      = "best-mode"      // each can do the same speed at best
	CheckPCIeLink      = "pcie-link"      // the slot is fast enough for the card
	CheckCarrierReport = "carrier-report" // the driver says whether there is a link
	CheckKnownTrouble  = "known-trouble"  // what the kind of card is known for
	CheckUnread        = "unread"         // what could not be read of a slave

	// These change while the machine runs.
	CheckDetached     = "detached"      // the device answers
	CheckLink         = "link"          // there is a link
	CheckSpeed        = "speed"         // the same speed now, and the best that both ends can do
	CheckDuplex       = "duplex"        // no half duplex
	CheckCarrierFlaps = "carrier-flaps" // the link is not lost again and again
	CheckPCIeErrors   = "pcie-errors"   // no errors on the PCIe links
)

// A Check is one thing that is looked at.
type Check struct {
	ID string
	// Asks is the question.
	Asks string
	// Means is what a finding means for failover, and Do what to do about it. A finding may say it more exactly.
	Means, Do string
	// Changes says that the answer may change while the machine runs.
	Changes bool
}

// Checks lists all checks, the weightiest first.
func Checks() []Check {
	return []Check{
		{ID: CheckNoNIC, Asks: "Is there a card at all?",
			Means: "the machine cannot be reached", Do: "put a card in, or use a kernel with the driver for it"},
		{ID: CheckMissing, Asks: "Are the configured slaves in the machine?",
			Means: "the bond runs without the slave", Do: "put the card in, or name one that is there"},
		{ID: CheckDetached, Asks: "Does the card's device answer?", Changes: true,
			Means: "the card has fallen off its bus: the interface still exists, may look up, and carries nothing",
			Do:    "switch the machine off and on; then look at ASPM, at the slot, and at a riser card if there is one"},
		{ID: CheckDriver, Asks: "Have the cards the same driver?",
			Means: "cards of different drivers differ in what they offload, in how soon they see a link, and in their faults",
			Do:    "use cards of one model"},
		{ID: CheckChipset, Asks: "Have the cards the same chipset?",
			Means: "different chips differ in what they offload, in how soon they see a link, and in their faults",
			Do:    "use cards of one model"},
		{ID: CheckOwnDevice, Asks: "Is each slave a card of its own?",
			Means: "if the card fails, all its ports fail, and there is nothing to fail over to", Do: "use cards of their own"},
		{ID: CheckSharedFate, Asks: "Do the cards share a PCIe switch, a root port or a USB hub?",
			Means: "if it fails or is reset, all cards behind it fail at once, and there is nothing to fail over to",
			Do:    "put one card in another slot, or another USB port of the machine"},
		{ID: CheckKnownTrouble, Asks: "Is the kind of card known for trouble?",
			Means: "others have had this trouble with such a card", Do: "see the row in docs/hardware.md"},
		{ID: CheckCount, Asks: "Are there at least two slaves?",
			Means: "one fault in the card, the cable or the switch's port takes the machine off the network",
			Do:    "add a second card"},
		{ID: CheckMACChange, Asks: "Can each card take on the bond's address?",
			Means: "the bond cannot give the card its own address", Do: `set fail_over_mac = "active" for the bond`},
		{ID: CheckCarrierReport, Asks: "Does the driver say whether there is a link?",
			Means: "a pulled cable is not noticed by the link state", Do: "check a path ([[bond.path]]), which notices it"},
		{ID: CheckPCIeErrors, Asks: "Are the PCIe links free of errors?", Changes: true,
			Means: "a bad contact, riser or slot: such cards get slow, and then fall off their bus",
			Do:    "take the card out and put it in again, try another slot, leave a riser out"},
		{ID: CheckCarrierFlaps, Asks: "Does the link stay up?", Changes: true,
			Means: "every loss is a failover if the card is active",
			Do:    "try another cable, another switch port, another speed"},
		{ID: CheckLink, Asks: "Has each slave a link?", Changes: true,
			Means: "the slave cannot take over", Do: "plug the cable in, look at both its ends and at the switch's port"},
		{ID: CheckDuplex, Asks: "Is each link full duplex?", Changes: true,
			Means: "packets collide and get lost under load, above all if the other end is full duplex",
			Do:    "let both ends negotiate, or set both alike"},
		{ID: CheckSpeed, Asks: "Have the links the same speed, and their best?", Changes: true,
			Means: "after a failover the bond is slower", Do: "try another cable, look at the settings of the switch's port"},
		{ID: CheckBestMode, Asks: "Can all cards do the same speed?",
			Means: "after a failover the bond is slower", Do: "use cards of one model"},
		{ID: CheckPCIeLink, Asks: "Is the slot fast enough for the card?",
			Means: "the card cannot carry what its cable can", Do: "take it out and put it in again, or use a faster slot"},
		{ID: CheckPermanentMAC, Asks: "Has each card an address of its own?",
			Means: "a switch cannot tell the cards apart outside the bond, or the bond's address changes with every start",
			Do:    "set mac in the bond's configuration, and use cards with an address of their own"},
		{ID: CheckRevision, Asks: "Have the cards the same revision and firmware?",
			Means: "one of them may have a fault that the other has not", Do: "bring them to one firmware"},
		{ID: CheckOptionROM, Asks: "Has each card its own option ROM?",
			Means: "bonding does not need one; starting from the network does", Do: "nothing, or use cards of one model"},
		{ID: CheckGroup, Asks: "Which cards are chosen where none are named?",
			Means: "the other cards are left alone", Do: "name the slaves in the configuration to choose others"},
		{ID: CheckUnread, Asks: "Could everything be read?",
			Means: "what was not read was not judged", Do: "probe as root, outside a container"},
	}
}
