package bench

import (
	"os"
	"testing"
	"time"

	"bondd.internal/image/lab/guest"
	"bondd.internal/image/lab/netlab"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case rolePuller:
		os.Exit(pullerMain())
	case roleLoop:
		loopMain()
	case roleScraper:
		os.Exit(scraperMain())
	}
	guest.Main(m, guest.Config{
		Programs: append(netlab.Programs(), "teamd", "teamdctl"),
		Packages: map[string]string{"/bin/bondd": "bondd.internal/bondd"},
		Devices:  cardDevices(),
		Monitor:  true,
		Limit:    time.Hour,
		// What the kernel does against processors' faults costs time where bondd runs.
		KernelArgs: "mitigations=auto",
	})
}
