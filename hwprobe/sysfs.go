package hwprobe

import (
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// maxLinks is how many symbolic links are followed in one path before it is taken for a loop.
const maxLinks = 40

// sysfs reads a mounted sysfs. It never follows a symbolic link by the file system's own means, so that a recorded
// machine needs nothing but names and contents.
type sysfs struct{ fsys fs.FS }

// resolve follows the symbolic links in every element of name. It is empty if something on the way does not exist.
func (s sysfs) resolve(name string) string {
	done, todo := ".", strings.Split(path.Clean(name), "/")
	for links := 0; len(todo) > 0; {
		next := path.Join(done, todo[0])
		todo = todo[1:]
		target, err := fs.ReadLink(s.fsys, next)
		if err != nil {
			if _, err := fs.Lstat(s.fsys, next); err != nil {
				return ""
			}
			done = next
			continue
		}
		if links++; links > maxLinks || path.IsAbs(target) {
			return ""
		}
		todo = append(strings.Split(path.Clean(path.Join(path.Dir(next), target)), "/"), todo...)
		done = "."
	}
	return done
}

// base is the last element of what a symbolic link points to, empty if there is no such link.
func (s sysfs) base(dir, name string) string {
	target, err := fs.ReadLink(s.fsys, path.Join(dir, name))
	if err != nil {
		return ""
	}
	return path.Base(target)
}

// attr is the trimmed content of an attribute, empty if it cannot be read: devices come and go, and an unreadable
// attribute is an unknown one.
func (s sysfs) attr(dir, name string) string {
	text, _ := s.read(dir, name)
	return text
}

// read is attr with the reason why there is nothing.
func (s sysfs) read(dir, name string) (string, error) {
	b, err := fs.ReadFile(s.fsys, path.Join(dir, name))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// number is an attribute that is a decimal number.
func (s sysfs) number(dir, name string) (n int, ok bool) {
	n, err := strconv.Atoi(s.attr(dir, name))
	return n, err == nil
}

func (s sysfs) exists(dir, name string) bool {
	_, err := fs.Lstat(s.fsys, path.Join(dir, name))
	return !errors.Is(err, fs.ErrNotExist)
}

// size is the length of a file as sysfs declares it.
func (s sysfs) size(dir, name string) int {
	info, err := fs.Lstat(s.fsys, path.Join(dir, name))
	if err != nil {
		return 0
	}
	return int(info.Size())
}

// list names what is in a folder.
func (s sysfs) list(dir string) []string {
	entries, err := fs.ReadDir(s.fsys, dir)
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// id joins two hexadecimal attributes to "8086:100e"; it is empty if either is missing.
func (s sysfs) id(dir, vendor, device string) string {
	v, d := s.attr(dir, vendor), s.attr(dir, device)
	if v == "" || d == "" {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(v, "0x") + ":" + strings.TrimPrefix(d, "0x"))
}

// netDir is the folder of an interface, empty if sysfs shows another network namespace than the one the link is in: a
// veth of ours must not borrow the hardware of a namesake.
func (s sysfs) netDir(l Link) string {
	dir := s.resolve("class/net/" + l.Name)
	if dir == "" || s.attr(dir, "ifindex") != strconv.Itoa(l.Index) {
		return ""
	}
	return dir
}

// wireless says whether the link is a radio: Wi-Fi or a mobile modem that poses as Ethernet.
func (s sysfs) wireless(l Link) bool {
	dir := s.netDir(l)
	if dir == "" {
		return false
	}
	return s.exists(dir, "phy80211") || strings.Contains(s.attr(dir, "uevent"), "DEVTYPE=wwan")
}
