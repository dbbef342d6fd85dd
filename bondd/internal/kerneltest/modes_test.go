package kerneltest

import (
	"testing"

	"bondd.internal/image/guest/netlab"
)

func TestCreate(t *testing.T) {
	lan := netlab.NewLAN(t, 2)
	d := start(t, lan, bondConfig(2, `miimon = "100ms"`, `num_grat_arp = 3`, `primary = "eth1"`, `mtu = 1400`))
	l := links(lan)
	bond := l["bond0"]
	if got := bond.LinkInfo.Data; got.Mode != "active-backup" || got.Miimon != 100 || got.NumPeerNotif != 3 || got.Primary != "eth1" || got.ActiveSlave != "eth1" {
		t.Errorf("bond0 has options %+v", got)
	}
	for _, name := range []string{"eth0", "eth1"} {
		if l[name].Master != "bond0" || l[name].Address != bond.Address || l[name].MTU != 1400 {
			t.Errorf("%s is %+v; want a slave of bond0 with its MAC %s and MTU 1400", name, l[name], bond.Address)
		}
	}
	s := d.status()
	if len(s.Bonds) != 1 || !s.Bonds[0].Up || s.Bonds[0].Degraded || s.Bonds[0].ActiveSlave != "eth1" {
		t.Errorf("status says %+v", s)
	}
	t.Log(d.log)
}
