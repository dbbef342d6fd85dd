package hwprobe

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// WriteText writes the report for people: a table of the NICs, the findings, and the verdict as the last line.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	if len(r.NICs) > 0 {
		table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NIC\tDRIVER\tFIRMWARE\tBUS\tADDRESS\tID\tPERMANENT MAC\tROM\tLINK\tCAN DO (Mb/s)\tMODEL")
		for _, n := range r.NICs {
			columns := []string{n.Name, n.Driver, n.Firmware, n.Bus, n.Address, n.chip(), n.PermanentMAC, romText(n.OptionROM), linkText(n), speedsText(n.SupportedMbps)}
			for i := range columns {
				columns[i] = cmp.Or(columns[i], "-")
			}
			fmt.Fprintln(table, strings.Join(append(columns, cmp.Or(strings.TrimSpace(n.Vendor+" "+n.Model), "-")), "\t"))
		}
		table.Flush() // a strings.Builder takes every write
		b.WriteByte('\n')
	}
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range r.Findings {
		fmt.Fprintf(table, "%s\t%s\t%s\n", strings.ToUpper(string(f.Severity)), f.Check, f.Message)
	}
	table.Flush()
	fmt.Fprintf(&b, "\nverdict: %s; may be bonded: %s\n", r.Verdict, cmp.Or(strings.Join(r.Members, ", "), "none"))
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func romText(rom *bool) string {
	switch {
	case rom == nil:
		return ""
	case *rom:
		return "yes"
	default:
		return "no"
	}
}

func linkText(n NIC) string {
	switch {
	case n.LinkUp == nil:
		return ""
	case !*n.LinkUp:
		return "no link"
	case n.SpeedMbps == nil:
		return "up"
	default:
		return strings.TrimSpace(strconv.Itoa(*n.SpeedMbps) + " " + n.Duplex)
	}
}

func speedsText(mbps []int) string {
	s := make([]string, len(mbps))
	for i, speed := range mbps {
		s[i] = strconv.Itoa(speed)
	}
	return strings.Join(s, "/")
}
