package hwprobe

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// docs/hardware.md has every check and every known trouble, as the tables have them.
func TestHardwareDocument(t *testing.T) {
	const name = "../docs/hardware.md"
	want := hardwareDocument()
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the tables say: go test ./hwprobe -run TestHardwareDocument -update", name)
	}
}

const hardwareIntroduction = `# What the hardware check looks at

` + "`bondd probe`" + ` reads the cards of a machine, and nothing is changed by that: no card is taken up or down, none that sleeps is woken. The same checks run in the
appliance, at start, when a card comes or goes, when a link returns, and once a minute. What was found is on the page, in ` + "`/api/v1/status`" + ` and in
` + "`bondd_hardware_verdict`" + `.

A finding is *fail*, *warn*, *info* or *pass*. With ` + "`policy = \"enforce\"`" + ` a card that differs from the first slave in driver or chipset is left out of the bond; nothing
else keeps a card out. What could not be read is said as such, and is not taken for a difference.

` + "`bondd probe --save FILE`" + ` writes all that was read into one file, with other MAC addresses and serial numbers unless ` + "`--with-identities`" + ` is given;
` + "`bondd probe --from FILE`" + ` judges such a file on another machine.

`

// hardwareDocument is the document, made from the tables.
func hardwareDocument() string {
	var b strings.Builder
	b.WriteString(hardwareIntroduction)
	b.WriteString("## Checks\n\n| check | asks | if not, what it means for failover | what to do |\n| --- | --- | --- | --- |\n")
	for _, c := range Checks() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.ID, c.Asks, cell(c.Means), cell(c.Do))
	}
	b.WriteString("\n## Known troubles\n\nA row warns, and never keeps a card out. Each has public reports that were read.\n")
	for _, r := range Troubles() {
		fmt.Fprintf(&b, "\n### %s\n\n%s", r.ID, r.Cards)
		if r.Driver != "" {
			fmt.Fprintf(&b, ", driver %s", r.Driver)
		}
		if len(r.Chips) > 0 {
			fmt.Fprintf(&b, " (%s)", strings.Join(r.Chips, ", "))
		}
		if len(r.Revisions) > 0 {
			fmt.Fprintf(&b, ", revision %s", strings.Join(r.Revisions, ", "))
		}
		fmt.Fprintf(&b, ".\n\n- What happens: %s.\n", r.Symptom)
		if r.Needs != "" {
			fmt.Fprintf(&b, "- Only with: %s.\n", r.Needs)
		}
		if r.Since != "" {
			fmt.Fprintf(&b, "- Since kernel: %s.\n", r.Since)
		}
		if r.Mended != "" {
			fmt.Fprintf(&b, "- Mended in kernel: %s.\n", r.Mended)
		}
		fmt.Fprintf(&b, "- What to do: %s.\n- Reports: <%s>\n", r.Do, strings.Join(r.Sources, ">, <"))
	}
	return b.String()
}

// cell is a text for a table of Markdown.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
