// Package bench measures what a failover costs, side by side with what else a
// person could use: the kernel's own monitor and teamd. All of them run in one
// virtual machine under the appliance's kernel, on the same network, under the
// same stream of packets.
//
// The machine's clock counts instructions, so the figures are those of the
// programs and not of the machine they were measured on, however busy it is. A run
// repeats the one before packet by packet for a while; in the long run the
// emulator's threads let some microseconds slip, and from there on the monitors'
// timers fall differently between the pulls. So the figures of the kernel's
// monitor, which are spread evenly over its interval, differ between runs as
// samples do; those of teamd and bondd by about one packet. What they leave out is the hardware: how long a
// card takes to notice that its cable is gone, and other processors that could
// work at the same time.
//
// A short form runs with all tests; `make bench` runs the long one and leaves
// build/bench.md and build/bench.json. BONDD_BENCH_N is how many failovers each
// contender has to make.
package bench
