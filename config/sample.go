package config

import _ "embed"

//go:embed bondd.toml
var sample string

// Sample is a commented configuration with everything that one can say.
func Sample() string { return sample }
