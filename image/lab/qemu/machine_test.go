package qemu_test

import (
	"slices"
	"strings"
	"testing"

	"bondd.internal/image/lab/qemu"
)

// A command line is what it always was: a figure that a guest measures depends on
// each of these words.
func TestMachine(t *testing.T) {
	m := qemu.NewMachine(qemu.AccelTCG, 1, "512M")
	m.Add("-cpu", qemu.AccelTCG.BestCPU(), "-icount", "shift=0,sleep=off")
	m.Boot("vmlinuz", "initramfs", "quiet rdinit=/init")
	m.Console(qemu.File("/tmp/a,b/console"))
	m.SerialPorts()
	m.SerialPort("result", "bondd.result", qemu.File("/tmp/result"))
	m.Monitor(qemu.Listen("/tmp/monitor"))
	m.SerialPort("monitor", "bondd.monitor", qemu.Dial("/tmp/monitor"))

	want := strings.Split("-nodefaults|-no-user-config|-display|none|-machine|pc,usb=off|-smp|1|-m|512M|"+
		"-accel|tcg,thread=single|-cpu|max|-icount|shift=0,sleep=off|"+
		"-kernel|vmlinuz|-initrd|initramfs|-append|quiet rdinit=/init|"+
		"-chardev|file,id=console,path=/tmp/a,,b/console|-serial|chardev:console|"+
		"-device|virtio-serial-pci,ioeventfd=off|"+
		"-chardev|file,id=result,path=/tmp/result|-device|virtserialport,chardev=result,name=bondd.result|"+
		"-chardev|socket,id=qmp,path=/tmp/monitor,server=on,wait=off|-mon|chardev=qmp,mode=control|"+
		"-chardev|socket,id=monitor,path=/tmp/monitor,server=off|"+
		"-device|virtserialport,chardev=monitor,name=bondd.monitor", "|")
	if got := m.Args(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := qemu.NewMachine(qemu.AccelKVM, 2, "1G").Args(); !slices.Equal(got[len(got)-2:], []string{"-accel", "kvm"}) {
		t.Errorf("under KVM: %q", got)
	}
}

func TestChoose(t *testing.T) {
	fake(t, "exit 0")
	q := find(t)
	for _, tt := range []struct {
		asked       qemu.Accel
		environment string
		want        qemu.Accel
		err         string
	}{
		{asked: "kvm", environment: "tcg", want: qemu.AccelKVM},
		{asked: "", environment: "tcg", want: qemu.AccelTCG},
		{asked: "hvf", err: `accelerator "hvf" is none of kvm, tcg, auto`},
		{asked: "", environment: "xen", err: `accelerator "xen" is none of kvm, tcg, auto`},
	} {
		t.Setenv("BONDD_ACCEL", tt.environment)
		got, err := q.Choose(t.Context(), tt.asked)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("Choose(%q) with BONDD_ACCEL=%s: %q, %v; want %q, %s", tt.asked, tt.environment, got, err, tt.want, tt.err)
		}
	}
}
