package hwprobe

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestModeSpeeds(t *testing.T) {
	for _, test := range []struct {
		name  string
		modes []string
		want  []int
	}{
		{"empty", nil, nil},
		{"gigabit card", []string{
			"10baseT/Half", "10baseT/Full", "100baseT/Half", "100baseT/Full", "1000baseT/Full", "Autoneg", "TP", "MII",
		}, []int{10, 100, 1000}},
		{"2.5 gigabit card, whose modes are not in order", []string{
			"1000baseT/Full", "10000baseT/Full", "2500baseT/Full", "5000baseT/Full",
		}, []int{1000, 2500, 5000, 10000}},
		{"no speeds", []string{"Autoneg", "FIBRE", "Pause", "Asym_Pause", "Backplane", "None", "BASER", "LLRS", "RS", ""}, nil},
		{"fast and old", []string{
			"400000baseCR4/Full", "100baseFX/Full", "56000baseLR4/Full", "25000baseSR/Full", "200000baseCR4/Full",
		}, []int{100, 25000, 56000, 200000, 400000}},
		{"younger than this program", []string{"10baseT1L/Full", "800000baseVR4/Full", "1600000baseCR8/Full"}, []int{10, 800000, 1600000}},
		{"nonsense", []string{"0base", "99999999999999999999base", "1000", "base"}, nil},
	} {
		if diff := cmp.Diff(test.want, modeSpeeds(test.modes)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
