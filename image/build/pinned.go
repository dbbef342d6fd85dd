//go:build pinned

package build

// The packer builds these programs by their import paths, which `go mod tidy`
// does not see. Named here, they stay in go.mod and go.sum. No build sets the
// tag: programs cannot be imported.
import (
	_ "github.com/gokrazy/gokrazy"
	_ "github.com/gokrazy/gokrazy/cmd/ntp"
	_ "github.com/gokrazy/gokrazy/cmd/randomd"
)
