package vmtest

import (
	"os"
	"slices"
	"testing"

	"bondd.internal/image/lab/guest"
	"bondd.internal/image/lab/netlab"
	"bondd.internal/image/lab/usbcard"
)

func TestMain(m *testing.M) {
	if os.Getenv(clientsVar) != "" {
		os.Exit(runClients())
	}
	usbcard.Main()
	if os.Getenv(watchVar) != "" {
		os.Exit(runEngine())
	}
	guest.Main(m, guest.Config{
		Programs: slices.Concat(netlab.Programs(), usbcard.Programs(), []string{"teamd", "teamdctl"}),
		Packages: map[string]string{"/bin/bondd": "bondd.internal/bondd"},
		Devices:  usbcard.Devices(),
	})
}
