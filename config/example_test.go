package config_test

import (
	"fmt"

	"bondd.internal/config"
)

// A configuration is read; what the file leaves out has its default.
func ExampleParse() {
	cfg, err := config.Parse("bondd.toml", []byte(`
[[bond]]
name      = "bond0"
mode      = "active-backup"
slaves    = ["eth0", "eth1"]
addresses = ["192.168.1.202/24"]
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	b := &cfg.Bonds[0]
	fmt.Println(b.Name, b.Mode(), b.Slaves, b.Miimon())
	// Output: bond0 active-backup [eth0 eth1] 100ms
}

// An error has the place in the file and what would be right.
func ExampleCheck() {
	_, _, err := config.Check("bondd.toml", []byte(`[[bond]]
name = "bond0"
mode = "active_backup"
slaves = ["eth0", "eth1"]
addresses = ["192.168.1.202/24"]
`))
	fmt.Println(err)
	// Output: bondd.toml:3:8: unknown mode "active_backup"; did you mean "active-backup"?
}
