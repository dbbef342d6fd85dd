package guest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGuestArgs(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want []string
		back map[string]string
	}{
		{"what goes through",
			[]string{"-test.v=test2json", "-test.run", "^TestA$", "-test.count=2", "-test.timeout=10m0s", "-test.paniconexit0", "-test.testlogfile=l"},
			[]string{"-test.v=test2json", "-test.run", "^TestA$", "-test.count=2", "-test.timeout=10m0s", "-test.paniconexit0"},
			map[string]string{}},
		{"what stays here",
			[]string{"-test.testlogfile=/tmp/log", "--test.fuzzcachedir", "/tmp/fuzz", "-test.short"},
			[]string{"-test.short"},
			map[string]string{}},
		{"what comes back",
			[]string{"-test.coverprofile=/tmp/cover.out", "-test.cpuprofile", "cpu.out", "-test.trace=t", "-test.outputdir=out"},
			[]string{"-test.coverprofile=/run/guest/profile/coverprofile", "-test.cpuprofile=/run/guest/profile/cpuprofile", "-test.trace=/run/guest/profile/trace"},
			map[string]string{
				"/run/guest/profile/coverprofile": "/tmp/cover.out",
				"/run/guest/profile/cpuprofile":   "/pkg/out/cpu.out",
				"/run/guest/profile/trace":        "/pkg/out/t",
			}},
		{"the package's own arguments",
			[]string{"-test.v", "--", "-test.trace=t"},
			[]string{"-test.v", "--", "-test.trace=t"},
			map[string]string{}},
		{"the package's own flags",
			[]string{"-update", "-test.memprofile=m"},
			[]string{"-update", "-test.memprofile=/run/guest/profile/memprofile"},
			map[string]string{"/run/guest/profile/memprofile": "/pkg/m"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, back := guestArgs(tt.args, "/pkg")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.back, back); diff != "" {
				t.Errorf("files to bring back (-want +got):\n%s", diff)
			}
		})
	}
}
