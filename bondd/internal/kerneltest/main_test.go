package kerneltest

import (
	"os"
	"testing"

	"bondd.internal/image/guest"
	"bondd.internal/image/guest/netlab"
)

func TestMain(m *testing.M) {
	if os.Getenv(clientsVar) != "" {
		os.Exit(runClients())
	}
	if os.Getenv(watchVar) != "" {
		os.Exit(runEngine())
	}
	guest.Main(m, guest.Config{
		Programs: append(netlab.Programs(), "teamd", "teamdctl"),
		Packages: map[string]string{"/bin/bondd": "bondd.internal/bondd"},
	})
}
