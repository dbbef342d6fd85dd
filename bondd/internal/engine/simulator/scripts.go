package simulator

import (
	"embed"
	"path"
	"strings"
)

//go:embed testdata/*.txt
var testdata embed.FS

// Scripts returns the text of every script in testdata, by name.
func Scripts() (map[string]string, error) {
	entries, err := testdata.ReadDir("testdata")
	if err != nil {
		return nil, err
	}
	scripts := make(map[string]string, len(entries))
	for _, e := range entries {
		text, err := testdata.ReadFile(path.Join("testdata", e.Name()))
		if err != nil {
			return nil, err
		}
		scripts[strings.TrimSuffix(e.Name(), ".txt")] = string(text)
	}
	return scripts, nil
}
