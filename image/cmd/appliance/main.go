// Command appliance runs the appliance's disk image in a virtual machine with
// its network cards on a virtual switch, and pulls and returns their cables.
//
//	appliance run [flags]     boot the image, print where its page is, run until Ctrl-C
//	appliance unplug eth0     take the cable of the running machine's first card out
//	appliance plug eth0       put it back
//
// `make run`, `make unplug NIC=eth0` and `make plug NIC=eth0` call it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage:
  appliance run [flags]     boot the image in a virtual machine; run -help lists the flags
  appliance unplug NIC      take a cable of the running machine out; NIC is eth0, eth1, …
  appliance plug NIC        put it back
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := dispatch(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "appliance:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("wrong usage")

func dispatch(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	switch command, args := args[0], args[1:]; command {
	case "run":
		return run(ctx, args, out)
	case "unplug", "plug":
		if len(args) != 1 || args[0] == "" {
			return fmt.Errorf("which card? For example: make %s NIC=eth0", command)
		}
		return sendCable(ctx, runDir, command, args[0], out)
	case "help", "-h", "-help", "--help":
		_, err := io.WriteString(out, usage)
		return err
	}
	return errUsage
}
