package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/bondd/internal/statefile"
)

const (
	fileName = "history.json"
	version  = 1 // of the file's form

	// maxBytes bounds the file. The failovers of a bond of two slaves need less
	// than 1 MB; of those of very many slaves the oldest are left out.
	maxBytes = 4 << 20
)

// A document is the content of the file.
type document struct {
	Version   int               `json:"version"`
	Failovers []*state.Failover `json:"failovers"` // newest first
	// Switches is what earlier versions called them.
	Switches []*state.Failover `json:"switches,omitempty"`
}

// Load returns the failovers that were kept in a folder, newest first, or none
// if there are none yet. An error says what is wrong with the file that is
// there, which is then set aside under another name; bondd goes on without it.
func Load(dir string) ([]*state.Failover, error) {
	var failovers []*state.Failover
	err := statefile.Read(filepath.Join(dir, fileName), maxBytes, func(text []byte) (err error) {
		failovers, err = decode(text)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return failovers, nil
}

func decode(text []byte) ([]*state.Failover, error) {
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	if d.Version != version {
		return nil, fmt.Errorf("its version is %d, this bondd reads version %d", d.Version, version)
	}
	if d.Failovers == nil {
		d.Failovers = d.Switches
	}
	for i, s := range d.Failovers {
		if s == nil {
			return nil, fmt.Errorf("entry %d is empty", i)
		}
		if i > 0 && s.Seq >= d.Failovers[i-1].Seq {
			return nil, fmt.Errorf(
				"entry %d has number %d and follows number %d: newest is first",
				i,
				s.Seq,
				d.Failovers[i-1].Seq,
			)
		}
	}
	return d.Failovers[:min(len(d.Failovers), state.MaxHistory)], nil
}

// write replaces the file by one with these failovers, newest first.
func write(dir string, failovers []*state.Failover) error {
	text, err := encode(failovers)
	if err != nil {
		return err
	}
	return statefile.Write(filepath.Join(dir, fileName), text)
}

// encode writes a document with a line for each failover, the newest that fit
// into maxBytes.
func encode(failovers []*state.Failover) ([]byte, error) {
	const end = "\n]}\n"
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"version\":%d,\"failovers\":[", version)
	for i, s := range failovers {
		line, err := json.Marshal(s)
		if err != nil {
			return nil, fmt.Errorf("encode failover %d: %w", s.Seq, err)
		}
		if b.Len()+len(",\n")+len(line)+len(end) > maxBytes {
			break
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		b.Write(line)
	}
	b.WriteString(end)
	return b.Bytes(), nil
}
