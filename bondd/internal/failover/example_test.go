package failover_test

import (
	"fmt"

	"bondd.internal/bondd/internal/failover"
	"bondd.internal/bondd/internal/state"
)

// The active slave has lost its link: traffic moves to the other one.
func ExampleDecide() {
	b := failover.Bond{ActiveBackup: true, Active: 2, Monitored: true, Slaves: []failover.Slave{
		{Index: 2, LinkUp: false, MII: state.MIIUp}, // the driver has not seen the loss yet
		{Index: 3, LinkUp: true, MII: state.MIIUp},
	}}
	d := failover.Decide(&b)
	fmt.Println(d.Action == failover.Switch, d.To, d.Reason)
	// Output: true 3 link
}
