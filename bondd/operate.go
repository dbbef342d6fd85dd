package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"golang.org/x/term"

	"bondd.internal/bondd/internal/client"
	"bondd.internal/bondd/internal/drill"
	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/web"
)

// passwordVariable is the environment variable that may have the password.
const passwordVariable = "BONDD_PASSWORD"

const (
	failoverTimeout = 15 * time.Second // longer than bondd's own
	drillTimeout    = 10 * time.Minute // some seconds for each standby
)

// An operator has what every command has that changes something in a running
// bondd.
type operator struct {
	std       *stdio
	name      string // of the command, for messages
	url, file *string
}

// operatorFlags defines the flags that those commands share.
func operatorFlags(std *stdio, flags *flag.FlagSet) *operator {
	return &operator{
		std: std, name: flags.Name(),
		url: flags.String(
			"url",
			"http://localhost",
			"`URL` of the daemon's page; a name and a password may stand in it",
		),
		file: flags.String(
			"password-file",
			"",
			"`FILE` with the password; else that in the URL, $"+passwordVariable+", or a question on the terminal",
		),
	}
}

// post sends an order. It returns the command's exit code if that fails.
func (o *operator) post(ctx context.Context, path string, order, answer any) (code int, ok bool) {
	c, err := client.New(*o.url)
	if err == nil {
		err = o.identify(ctx, c)
	}
	if err == nil {
		err = c.Post(ctx, path, order, answer)
	}
	var failure *client.Error
	switch {
	case err == nil:
		return exitOK, true
	case errors.As(err, &failure) && failure.Code == http.StatusUnauthorized:
		err = fmt.Errorf(
			"%s does not take this name and password; as long as no users are configured, the name is %s and the "+
				"password is the image's",
			c.Address(),
			web.Administrator,
		)
	case errors.As(err, &failure) && failure.Message != "":
		err = failure // bondd says in a sentence what there is to say
	}
	fmt.Fprintf(o.std.err, "%s: %v\n", o.name, err)
	return exitError, false
}

// maxPassword is the size in bytes up to which a file is taken for a password.
const maxPassword = 1024

// identify gives a client its name and password.
func (o *operator) identify(ctx context.Context, c *client.Client) error {
	name, password := c.User()
	name = cmp.Or(name, web.Administrator)
	switch {
	case *o.file != "":
		text, err := os.ReadFile(*o.file)
		if err != nil {
			return fmt.Errorf("read password: %w", err)
		}
		password = string(bytes.TrimSpace(text))
		if password == "" || len(password) > maxPassword {
			return fmt.Errorf("read password: %s has none", *o.file)
		}
	case password != "":
	case os.Getenv(passwordVariable) != "":
		password = os.Getenv(passwordVariable)
	case term.IsTerminal(int(os.Stdin.Fd())):
		fmt.Fprintf(o.std.err, "Password of %s at %s: ", name, c.Address())
		var err error
		if password, err = askPassword(ctx); err != nil {
			return fmt.Errorf("read password: %w", err)
		}
		fmt.Fprintln(o.std.err)
	default:
		return fmt.Errorf("a password is needed: give it with --password-file FILE or in $%s", passwordVariable)
	}
	c.SetUser(name, password)
	return nil
}

// askPassword reads a line from the terminal without showing it. When ctx ends
// it leaves the terminal as it was.
func askPassword(ctx context.Context) (string, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	type line struct {
		text []byte
		err  error
	}
	lineC := make(chan line, 1) // the reader cannot be stopped: it ends with the process
	go func() {
		text, err := term.ReadPassword(fd)
		lineC <- line{text, err}
	}()
	select {
	case l := <-lineC:
		return string(l.text), l.err
	case <-ctx.Done():
		_ = term.Restore(fd, before)
		return "", ctx.Err()
	}
}

func runFailover(ctx context.Context, std stdio, flags *flag.FlagSet, args []string) int {
	var order report.FailoverOrder
	flags.StringVar(&order.Bond, "bond", "", "the `BOND`; may be left out if there is only one")
	flags.StringVar(&order.To, "to", "", "the `SLAVE` that is to carry the traffic")
	operator := operatorFlags(&std, flags)
	if code, ok := parse(std, flags, args); !ok {
		return code
	}
	if order.To == "" {
		fmt.Fprintf(std.err, "%s: say which slave is to carry the traffic: --to SLAVE\n", flags.Name())
		flags.Usage()
		return exitUsage
	}
	ctx, cancel := context.WithTimeout(ctx, failoverTimeout)
	defer cancel()
	var done report.FailoverDone
	if code, ok := operator.post(ctx, "/api/v1/failover", order, &done); !ok {
		return code
	}
	if done.From == done.To {
		fmt.Fprintf(std.out, "%s: traffic was on %s already\n", done.Bond, done.To)
	} else {
		fmt.Fprintf(std.out, "%s: traffic moved from %s to %s in %s\n",
			done.Bond, cmp.Or(done.From, "no slave"), done.To, report.Took(done.TookSeconds))
	}
	return exitOK
}

func runDrill(ctx context.Context, std stdio, flags *flag.FlagSet, args []string) int {
	var order report.DrillOrder
	flags.StringVar(&order.Bond, "bond", "", "the `BOND`; may be left out if there is only one")
	operator := operatorFlags(&std, flags)
	if code, ok := parse(std, flags, args); !ok {
		return code
	}
	ctx, cancel := context.WithTimeout(ctx, drillTimeout)
	defer cancel()
	var report drill.Report
	if code, ok := operator.post(ctx, "/api/v1/drill", order, &report); !ok {
		return code
	}
	if err := report.Write(std.out); err != nil {
		fmt.Fprintf(std.err, "%s: %v\n", flags.Name(), err)
		return exitError
	}
	if !report.OK {
		return exitDegraded
	}
	return exitOK
}
