// Package guest runs a package's Go tests inside a virtual machine, under the
// kernel that the appliance ships, as if they had run on the host.
//
// A test package opts in with one function:
//
//	func TestMain(m *testing.M) {
//		guest.Main(m, guest.Config{Programs: []string{"ip"}})
//	}
//
// Started by `go test`, on the host, Main packs its own test binary and what
// Config lists into an initramfs, boots image/kernel/vmlinuz with it in QEMU
// and ends with the exit status the tests had in there. Their output passes
// through untouched, so `go test -v`, `-json`, `-run`, `-bench`, `-count`,
// `-short` and `-coverprofile` mean what they always mean.
//
// The machine has one CPU whose clock counts instructions (one nanosecond
// each) and which skips the time it would sleep. A test that waits for a minute
// costs nothing, and what a test measures is what its programs did, however
// busy the host is. A short run repeats the one before to the nanosecond; in a
// long one some microseconds slip at times, and what follows falls differently.
// There is no network, no disk and no input but the initramfs.
//
// In the machine the test binary has three roles. As process 1 it mounts the
// usual file systems, starts itself again as the tests, reaps orphans, hands
// back the exit status and what the tests left in [Output], and powers off. As
// the tests it is what `go test` would have run; the netlab package starts it
// once more for each stream of packets, to send them (see the sender package).
package guest
