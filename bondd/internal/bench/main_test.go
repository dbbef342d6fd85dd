package bench

import (
	"testing"
	"time"

	"bondd.internal/image/guest"
	"bondd.internal/image/guest/netlab"
)

func TestMain(m *testing.M) {
	guest.Main(m, guest.Config{
		Programs: append(netlab.Programs(), "teamd", "teamdctl"),
		Packages: map[string]string{"/bin/bondd": "bondd.internal/bondd"},
		Limit:    15 * time.Minute,
	})
}
