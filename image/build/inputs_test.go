package build

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestInputs(t *testing.T) {
	image := filepath.Join(t.TempDir(), "appliance.img")
	if i, err := ReadInputs(image); i != nil || err != nil {
		t.Errorf("without a file: %+v, %v", i, err)
	}
	built := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(image, built, built); err != nil {
		t.Fatal(err)
	}
	want := &Inputs{
		Config: "my files/a=b.toml", ConfigSHA256: Sum([]byte("x")), Version: "v1-3-gabc-dirty",
		Password: "build/admin-password", PasswordTime: built.Add(time.Nanosecond), Size: DefaultSize,
		Certificate: "F92C", Image: built,
	}
	if err := want.Write(image); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadInputs(image); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read back: %+v, %v\nwant %+v", got, err, want)
	}
	text, err := os.ReadFile(InputsFile(image))
	if err != nil || !strings.Contains(string(text), "\nCONFIG=my files/a=b.toml\n") {
		t.Errorf("the file: %v\n%s", err, text)
	}

	// Another image under the same name.
	if err := os.Chtimes(image, built, built.Add(time.Nanosecond)); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadInputs(image); err != nil || got.Config != want.Config || !got.Image.IsZero() {
		t.Errorf("of another image: %+v, %v", got, err)
	}
	if err := os.Remove(image); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadInputs(image); err != nil || got.Config != want.Config || !got.Image.IsZero() {
		t.Errorf("without the image: %+v, %v", got, err)
	}

	if err := (&Inputs{Config: "a\nb"}).Write(image); err == nil {
		t.Error("a name with a line break was written")
	}
	for _, text := range []string{"", "CONFIG=x\n", "nonsense\n"} {
		if err := os.WriteFile(InputsFile(image), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if i, err := ReadInputs(image); err == nil {
			t.Errorf("%q: %+v, want an error", text, i)
		}
	}
}
