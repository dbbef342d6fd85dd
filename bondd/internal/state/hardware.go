package state

import "bondd.internal/hwprobe"

// What a hardware report says beside hwprobe's own words, where the cards could
// not be read.
const (
	// VerdictUnknown: no inventory has succeeded yet.
	VerdictUnknown hwprobe.Verdict = "unknown"
	// CheckInventory is whether the last inventory has succeeded.
	CheckInventory = "inventory"
)
