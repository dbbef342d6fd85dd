package build

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// Inputs are what an image is built with beside the repository's sources. They
// are kept in a file beside the image, to be used again for the next one, to be
// shown before an image is written to a disk, and to tell when an image has to
// be built again.
type Inputs struct {
	Config       string    // the configuration's file; empty: the built-in default
	ConfigSHA256 string    // of the file's content
	Version      string    // of the programs
	Password     string    // the file with the administrator's password
	PasswordTime time.Time // when that was written
	Size         int64     // of the image, in bytes
	Certificate  string    // the fingerprint of the image's certificate
	Image        time.Time // the modification time of the image; zero: it was not completed
}

// InputsFile returns the name of the file for the inputs of an image.
func InputsFile(image string) string { return filepath.Join(filepath.Dir(image), "image.env") }

// ReadInputs reads what an image was built with. It returns nil if there is no
// such file. If the image is not the one that the file describes, the inputs
// have no time of an image.
func ReadInputs(image string) (*Inputs, error) {
	text, err := os.ReadFile(InputsFile(image))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read inputs of %s: %w", image, err)
	}
	i, err := parseInputs(string(text))
	if err != nil {
		return nil, fmt.Errorf("read inputs of %s: %s: %w", image, InputsFile(image), err)
	}
	if info, err := os.Stat(image); err != nil || !info.ModTime().Equal(i.Image) {
		i.Image = time.Time{}
	}
	return i, nil
}

// values are the lines of the file, in order.
func (i *Inputs) values() []inputValue {
	return []inputValue{
		{"CONFIG", textValue{&i.Config}},
		{"CONFIG_SHA256", textValue{&i.ConfigSHA256}},
		{"VERSION", textValue{&i.Version}},
		{"PASSWORD", textValue{&i.Password}},
		{"PASSWORD_TIME", timeValue{&i.PasswordTime}},
		{"SIZE", sizeValue{&i.Size}},
		{"CERTIFICATE_SHA256", textValue{&i.Certificate}},
		{"IMAGE_TIME", timeValue{&i.Image}},
	}
}

type inputValue struct {
	name  string
	value interface {
		fmt.Stringer
		set(string) error
	}
}

type (
	textValue struct{ to *string }
	timeValue struct{ to *time.Time }
	sizeValue struct{ to *int64 }
)

func (v textValue) String() string { return *v.to }
func (v sizeValue) String() string { return fmt.Sprint(*v.to) }
func (v timeValue) String() string {
	if v.to.IsZero() {
		return ""
	}
	return v.to.UTC().Format(time.RFC3339Nano)
}

func (v textValue) set(text string) error {
	*v.to = text
	return nil
}

func (v sizeValue) set(text string) (err error) {
	_, err = fmt.Sscan(text, v.to)
	return err
}

func (v timeValue) set(text string) (err error) {
	if text == "" {
		*v.to = time.Time{}
		return nil
	}
	*v.to, err = time.Parse(time.RFC3339Nano, text)
	return err
}

func parseInputs(text string) (*Inputs, error) {
	i := new(Inputs)
	given := make(map[string]string)
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not NAME=VALUE", line)
		}
		given[name] = value
	}
	for _, v := range i.values() {
		value, ok := given[v.name]
		if !ok {
			return nil, fmt.Errorf("%s is missing", v.name)
		}
		if err := v.value.set(value); err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
	}
	return i, nil
}

// Write keeps the inputs of an image.
func (i *Inputs) Write(image string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# What %s was built with. The next `make image` uses it again.\n", filepath.Base(image))
	for _, v := range i.values() {
		value := v.value.String()
		if strings.Contains(value, "\n") {
			return fmt.Errorf("write inputs of %s: %s: %q has more than one line", image, v.name, value)
		}
		fmt.Fprintf(&b, "%s=%s\n", v.name, value)
	}
	if err := renameio.WriteFile(InputsFile(image), []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("write inputs of %s: %w", image, err)
	}
	return nil
}

// Sum returns the SHA-256 of a configuration as the inputs have it.
func Sum(config []byte) string { return fmt.Sprintf("%x", sha256.Sum256(config)) }

// Lines describe the inputs to a person: names with values, in order.
func (i *Inputs) Lines() [][2]string {
	config := "none: the built-in default runs"
	if i.Config != "" {
		config = fmt.Sprintf("%s (SHA-256 %.16s…)", i.Config, i.ConfigSHA256)
	}
	return [][2]string{
		{"configuration", config},
		{"version", i.Version},
		{"password", fmt.Sprintf("%s (user gokrazy)", i.Password)},
	}
}
