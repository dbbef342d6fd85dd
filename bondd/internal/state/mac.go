package state

import (
	"fmt"
	"net"
)

// A MAC is an Ethernet address. It is comparable; the zero value means that
// there is none or that it is not known, and prints as the empty string.
type MAC [6]byte

// ParseMAC reads an Ethernet address in any form that net.ParseMAC takes.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, fmt.Errorf("%q is no Ethernet address: write it as 02:00:5e:10:00:01", s)
	}
	return MAC(hw), nil
}

// IsZero reports whether there is no address.
func (m MAC) IsZero() bool { return m == MAC{} }

func (m MAC) String() string {
	if m.IsZero() {
		return ""
	}
	return net.HardwareAddr(m[:]).String()
}

// MarshalText writes the address in its usual form, or nothing for none.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *MAC) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*m = MAC{}
		return nil
	}
	*m, err = ParseMAC(string(b))
	return err
}
