package bonding_test

import (
	"fmt"
	"time"

	"bondd.internal/config/bonding"
)

func ExampleLookup() {
	o, ok := bonding.Lookup("lacp_rate")
	if !ok {
		return
	}
	n, _ := o.Number("fast")
	fmt.Println(o.Name, "is one of", o.Words, "and", o.Default, "by default")
	fmt.Println("fast is", n, "in attribute", o.Attribute)
	fmt.Println("in active-backup:", o.In(bonding.ActiveBackup), "in 802.3ad:", o.In(bonding.LACP))
	fmt.Println("while the bond is up:", !o.OnlyDown)
	// Output:
	// lacp_rate is one of [slow fast] and slow by default
	// fast is 1 in attribute 21
	// in active-backup: false in 802.3ad: true
	// while the bond is up: false
}

func ExampleParseMode() {
	m, err := bonding.ParseMode("6")
	fmt.Println(m, err)
	fmt.Println("an active slave:", m.HasActiveSlave())
	fmt.Println("a static group at the switch:", m.StaticGroup())
	// Output:
	// balance-alb <nil>
	// an active slave: true
	// a static group at the switch: false
}

func ExampleSettings() {
	for o := range bonding.Settings() {
		if o.MultipleOf != "" {
			fmt.Println(o.Name, "is a multiple of", o.MultipleOf, "up to", time.Duration(o.Max)*o.Unit)
		}
	}
	// Output:
	// updelay is a multiple of miimon up to 596h31m23.647s
	// downdelay is a multiple of miimon up to 596h31m23.647s
	// peer_notif_delay is a multiple of miimon up to 5m0s
}
