package vmtest

import (
	"os"
	"testing"

	"bondd.internal/image/lab/guest"
	"bondd.internal/image/lab/netlab"
)

func TestMain(m *testing.M) {
	if os.Getenv(checkerVar) != "" {
		os.Exit(runChecker())
	}
	for os.Getenv(hogVar) != "" {
	}
	guest.Main(m, guest.Config{Programs: append(netlab.Programs(), "/usr/sbin/dhcpcd", "arping", "true")})
}
