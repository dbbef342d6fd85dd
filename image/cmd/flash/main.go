// Command flash writes the disk image of the appliance to a real disk.
//
//	flash [-image FILE] /dev/sdX
//	flash -check /dev/sdX
//
// It shows the disk's model and size, and what the image was built with, and asks
// before it writes. It refuses a disk any part of which is in use; -check does no
// more than that, before an image is built. After writing it reads the disk back and
// compares. It needs root for opening the disk, and for nothing else.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"bondd.internal/image/build"
	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], system{dev: "/dev", sys: "/sys", proc: "/proc"}, os.Stdin, os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "flash:", err)
		os.Exit(1)
	}
}

// run does everything, on the machine that s describes.
func run(ctx context.Context, args []string, s system, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("flash", flag.ContinueOnError)
	image := flags.String("image", "build/appliance.img", "the image to write, from `FILE`")
	check := flags.Bool("check", false, "only say whether the disk can be written to; no image is needed")
	flags.Usage = func() {
		fmt.Fprintf(
			flags.Output(),
			"usage: flash [-image FILE] /dev/sdX\n\nWrites the image of the appliance to a whole disk, after asking.\n\n",
		)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		flags.Usage()
		return errors.New("name one disk, such as /dev/sdb")
	}
	if *check {
		d, err := s.inspect(flags.Arg(0))
		if err != nil {
			return err
		}
		return d.accepts(build.DefaultSize)
	}

	src, err := os.Open(*image)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist: run `make image`", *image)
	} else if err != nil {
		return fmt.Errorf("open image: %w", err)
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return fmt.Errorf("open image: %w", err)
	}
	perm, err := build.Perm(src)
	if err != nil {
		return fmt.Errorf("%s: %w", *image, err)
	}

	d, err := s.inspect(flags.Arg(0))
	if err != nil {
		return err
	}
	if err := d.accepts(info.Size()); err != nil {
		return err
	}
	inputs, err := build.ReadInputs(*image)
	if err != nil {
		return err
	}
	lines := [][2]string{
		{"disk", d.path},
		{"model", d.model},
		{"size", gigabytes(d.size)},
		{"image", fmt.Sprintf("%s, %s, of which %s for /perm", *image, gigabytes(info.Size()), gigabytes(perm.Size))},
	}
	if inputs == nil || inputs.Image.IsZero() {
		lines = append(lines, [2]string{
			"configuration", fmt.Sprintf("not known: %s does not describe this image", build.InputsFile(*image)),
		})
	} else {
		lines = append(lines, inputs.Lines()...)
	}
	for _, line := range lines {
		fmt.Fprintf(stdout, "%-14s %s\n", line[0], line[1])
	}
	fmt.Fprintf(stdout, "\nEverything on this disk will be lost. Type its name, %s, to write the image to it: ",
		d.name)
	answer, err := bufio.NewReader(stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read answer: %w", err)
	}
	if strings.TrimSpace(answer) != d.name {
		return errors.New("not confirmed; nothing was written")
	}

	// With O_EXCL the kernel itself refuses a disk that is in use, and keeps
	// others from mounting it meanwhile.
	dst, err := os.OpenFile(d.path, os.O_RDWR|unix.O_EXCL, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s is in use; nothing was written", d.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: writing to a disk needs root", err)
	case err != nil:
		return fmt.Errorf("open disk: %w", err)
	}
	defer dst.Close()

	sum, err := write(ctx, dst, src, progress(stdout, "writing", info.Size()))
	if err != nil {
		return fmt.Errorf("write to %s: %w; the disk does not boot now", d.path, err)
	}
	if err := verify(ctx, dst, info.Size(), sum, progress(stdout, "reading back", info.Size())); err != nil {
		return fmt.Errorf("verify %s: %w", d.path, err)
	}
	if err := unix.IoctlSetInt(int(dst.Fd()), unix.BLKRRPART, 0); err != nil && !errors.Is(err, unix.ENOTTY) {
		fmt.Fprintf(
			stdout,
			"the kernel still has the old partitions of %s in mind (%v): take the disk out and put it back "+
				"before using them here\n",
			d.path,
			err,
		)
	}
	if err := dst.Close(); err != nil {
		return fmt.Errorf("close %s: %w", d.path, err)
	}
	fmt.Fprintf(stdout, "%s now holds the appliance (SHA-256 %x, as the image)\n", d.path, sum)
	return nil
}

// progress returns a function that shows, for a step of so many bytes, how much
// of it is done: on one line, and only when the percentage has changed.
func progress(w io.Writer, step string, total int64) func(done int64) {
	last := int64(-1)
	return func(done int64) {
		percent := done * 100 / total
		if percent == last {
			return
		}
		last = percent
		fmt.Fprintf(w, "\r%s %3d %%", step, percent)
		if done == total {
			fmt.Fprintln(w)
		}
	}
}

// gigabytes formats a size in bytes as disks are labelled: 1 GB is 10^9 bytes.
func gigabytes(n int64) string {
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
