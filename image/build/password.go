package build

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxPassword is the size in bytes up to which bondd takes a file for a password.
const maxPassword = 1024

// A password is the administrator's password of an image.
type password struct {
	file string
	text string // without white space around it
	old  string // what the file has to be replaced, if it is
	made bool   // and not yet in the file
}

// choosePassword returns the password that the file has or, if there is no file
// or renew is set, a new one, which is not stored yet.
func choosePassword(file string, renew bool) (*password, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &password{file: file, text: rand.Text(), made: true}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read password: %w", err)
	}
	if renew {
		return &password{file: file, text: rand.Text(), old: string(content), made: true}, nil
	}
	text := strings.TrimSpace(string(content))
	switch {
	case text == "":
		return nil, fmt.Errorf("read password: %s is empty: remove it, and a password is made", file)
	case len(content) > maxPassword:
		return nil, fmt.Errorf("read password: %s has more than %d bytes", file, maxPassword)
	case strings.ContainsAny(text, "\r\n"):
		return nil, fmt.Errorf("read password: %s has more than one line", file)
	}
	return &password{file: file, text: text}, nil
}

// store makes the file have the password and readable to its owner alone. It
// keeps the password that it replaces, which an appliance may still have, and
// returns the file that has it.
func (p *password) store(now time.Time) (old string, err error) {
	if !p.made {
		if err := os.Chmod(p.file, 0o600); err != nil {
			return "", fmt.Errorf("keep password from others: %w", err)
		}
		return "", nil
	}
	if p.old != "" {
		old = p.file + "-until-" + now.UTC().Format("20060102-150405")
		if err := writeSecret(old, p.old); err != nil {
			return "", fmt.Errorf("keep old password: %w", err)
		}
	}
	if err := writeSecret(p.file, p.text+"\n"); err != nil {
		return "", fmt.Errorf("write password: %w", err)
	}
	return old, nil
}

// writeSecret replaces the file name by one with the given content that only its
// owner can read.
func writeSecret(name, content string) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".secret-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
