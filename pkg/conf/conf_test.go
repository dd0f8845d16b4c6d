package conf

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

type key struct {
	ID     string   `conf:"id" doc:"the id"`
	Kind   string   `conf:"kind" doc:"the kind" oneof:"a b"`
	Secret string   `conf:"secret" doc:"the secret" secret:"true"`
	Uses   []string `conf:"uses" doc:"what for"`
	Weight int      `conf:"weight" doc:"how much" max:"9"`
}

type settings struct {
	Data   string  `conf:"data" doc:"the data folder"`
	Sync   string  `conf:"sync" doc:"when to sync" oneof:"fsync interval"`
	Quick  bool    `conf:"quick" doc:"be quick"`
	Ratio  float64 `conf:"ratio" doc:"a share" min:"0" max:"1"`
	Stream struct {
		MaxBytes Bytes         `conf:"max_bytes" doc:"most bytes" min:"1MiB"`
		MaxAge   time.Duration `conf:"max_age" doc:"how long" min:"1s" max:"72h"`
	} `conf:"stream" doc:"the streams"`
	Users struct {
		Partitions int      `conf:"partitions" doc:"how many" min:"1" max:"64"`
		Names      []string `conf:"names" doc:"who"`
	} `conf:"users" doc:"the users"`
	Token string `conf:"token" doc:"what opens the door" secret:"true"`
	Keys  []key  `conf:"keys" doc:"the keys" secret:"true"`

	derived int
}

func defaults() settings {
	s := settings{Data: "./x", Sync: "fsync", Ratio: 0.5}
	s.Stream.MaxBytes, s.Stream.MaxAge = 64<<20, time.Hour
	s.Users.Partitions = 4
	return s
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func flagSet(t *testing.T, cfg *settings, args ...string) *pflag.FlagSet {
	t.Helper()
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	set.Bool("unrelated", true, "")
	if err := Bind(set, cfg); err != nil {
		t.Fatal(err)
	}
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return set
}

func TestLaterLayersWin(t *testing.T) {
	cfg := defaults()
	err := Load(&cfg, Sources{
		File: file(t, "data: from-file\nsync: interval\nstream: {max_bytes: 2MiB, max_age: 90s}\nusers:\n  partitions: 8\n  names: [a, b]\n"+
			"keys: [{id: k, kind: b, secret: s, uses: [x]}]\n"),
		Env:   []string{"CATENA_DATA=from-env", "CATENA_STREAM_MAX_BYTES=3MiB", "CATENA_USERS_NAMES=c, d", "CATENA_URL=ws://x", "HOME=/"},
		Other: []string{"CATENA_URL"},
		Flags: flagSet(t, &cfg, "--data=from-flag", "--quick", "--ratio", "0.25", "--unrelated=false"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := settings{Data: "from-flag", Sync: "interval", Quick: true, Ratio: 0.25}
	want.Stream.MaxBytes, want.Stream.MaxAge = 3<<20, 90*time.Second
	want.Users.Partitions, want.Users.Names = 8, []string{"c", "d"}
	want.Keys = []key{{ID: "k", Kind: "b", Secret: "s", Uses: []string{"x"}}}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("Load gives\n%+v, want\n%+v", cfg, want)
	}
}

func TestNothingGivenKeepsDefaults(t *testing.T) {
	cfg := defaults()
	if err := Load(&cfg, Sources{File: file(t, "stream:\n  # max_bytes: 1GiB\n"), Flags: flagSet(t, &cfg)}); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(cfg, defaults()) {
		t.Errorf("Load changes the defaults to %+v", cfg)
	}
}

func TestWrongConfigurationSaysWhatIsRight(t *testing.T) {
	tests := []struct {
		name, yaml string
		env, args  []string
		want       []string // parts of the error
	}{
		{"unknown key", "natz: 1", nil, nil, []string{"natz (file ", "there is no such key; the nearest is data"}},
		{"unknown key in a section", "stream: {maxbytes: 1MiB}", nil, nil, []string{"stream.maxbytes", "nearest is stream.max_bytes"}},
		{"key without its section", "max_age: 1h", nil, nil, []string{"max_age", "nearest is stream.max_age"}},
		{"unknown variable", "", []string{"CATENA_STREAM_MAX_BYTE=1"}, nil, []string{"CATENA_STREAM_MAX_BYTE (environment)", "CATENA_STREAM_MAX_BYTES"}},
		{"value instead of a section", "stream: 5", nil, nil, []string{"stream: 5", "is a section; set stream.max_bytes, stream.max_age below it"}},
		{"section instead of a value", "data: {x: 1}", nil, nil, []string{"data.x", "nearest is data"}},
		{"none of the accepted", "sync: fsnyc", nil, nil, []string{`sync: "fsnyc" (file `, "is not one of fsync, interval; the nearest is fsync"}},
		{"a time without a unit", "stream: {max_age: 20}", nil, nil, []string{"stream.max_age: 20", "without a unit", "20s"}},
		{"not a time", "", []string{"CATENA_STREAM_MAX_AGE=soon"}, nil, []string{`stream.max_age: "soon" (environment)`, "1m30s"}},
		{"not a size", "", nil, []string{"--stream-max-bytes=64MX"}, []string{`stream.max_bytes: "64MX" (flag)`, "64MiB"}},
		{"a size below its bound", "stream: {max_bytes: 1KiB}", nil, nil, []string{"stream.max_bytes: 1KiB (file ", "give at least 1MiB"}},
		{"a time above its bound", "stream: {max_age: 73h}", nil, nil, []string{"give at most 72h"}},
		{"a number above its bound", "", nil, []string{"--users-partitions", "65"}, []string{"users.partitions: 65 (flag)", "at most 64"}},
		{"a share out of its bounds", "ratio: 1.5", nil, nil, []string{"ratio: 1.5", "at most 1"}},
		{"not a whole number", "users: {partitions: 1.5}", nil, nil, []string{"users.partitions: 1.5", "is not a whole number"}},
		{"not a bool", "quick: yes please", nil, nil, []string{"quick", "neither true nor false"}},
		{"a number for text", "data: 12", nil, nil, []string{"data: 12", `write it in quotes: "12"`}},
		{"nothing", "data:", nil, nil, []string{"data: nothing", "leave the key out"}},
		{"text for a list", "users: {names: a}", nil, nil, []string{"users.names", "is not a list"}},
		{"a wrong element", "users: {names: [a, 1]}", nil, nil, []string{"users.names[1]: 1 is not text"}},
		{"an unknown key in a list", "keys: [{kind: a}, {idd: b}]", nil, nil, []string{"keys[1].idd: there is no such key; the nearest is id"}},
		{"a wrong value in a list", "keys: [{kind: c}]", nil, nil, []string{`keys[0].kind: "c" is not one of a, b`}},
		{"a value out of bounds in a list", "keys: [{kind: a, weight: 10}]", nil, nil, []string{"keys[0].weight: 10 is out of range"}},
		{"list of structs in a variable", "", []string{"CATENA_KEYS=[{id: 1}]"}, nil, []string{"keys[0].id: 1 is not text", "(environment)"}},
		{"not YAML", "data: [", nil, nil, []string{"file ", "yaml"}},
		{"a key twice", "data: a\ndata: b", nil, nil, []string{"already defined"}},
		{"all at once", "natz: 1\nsync: x", nil, nil, []string{"natz", "sync"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := defaults()
			err := Load(&cfg, Sources{File: file(t, tt.yaml), Env: tt.env, Flags: flagSet(t, &cfg, tt.args...)})
			if err == nil {
				t.Fatal("Load accepts it")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Load says %q, want %q in it", err, want)
				}
			}
		})
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	for _, yaml := range []string{"token: 831831", "keys: [{secret: 831831}]", "keys: 831831"} {
		cfg := defaults()
		err := Load(&cfg, Sources{File: file(t, yaml)})
		if err == nil || strings.Contains(strings.ReplaceAll(err.Error(), `in quotes: "831831"`, ""), "831831") {
			t.Errorf("%s: Load says %v, want an error without the secret", yaml, err)
		}
	}
	cfg := defaults()
	if flagSet(t, &cfg).Lookup("token") != nil {
		t.Error("there is a flag for a secret")
	}
}

func TestMissingFileIsAnError(t *testing.T) {
	cfg := defaults()
	err := Load(&cfg, Sources{File: filepath.Join(t.TempDir(), "none.yaml")})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load: %v, want one that says the file is missing", err)
	}
}

type validated struct {
	Low  int `conf:"low" doc:"the lower"`
	High int `conf:"high" doc:"the higher"`
}

func (v *validated) Validate() error {
	if v.Low > v.High {
		return Wrong("low", v.Low, "is above high (%d); lower it", v.High)
	}
	return nil
}

func TestValidateIsCalled(t *testing.T) {
	cfg := validated{Low: 1, High: 2}
	err := Load(&cfg, Sources{Env: []string{"CATENA_LOW=3"}})
	if want := "low: 3 is above high (2); lower it"; err == nil || err.Error() != want {
		t.Errorf("Load: %v, want %s", err, want)
	}
}

func TestUnsuitableStructsAreRefused(t *testing.T) {
	for name, err := range map[string]error{
		"no doc": Load(&struct {
			A int `conf:"a"`
		}{}, Sources{}),
		"bad key": Load(&struct {
			A int `conf:"A-b" doc:"x"`
		}{}, Sources{}),
		"bad type": Load(&struct {
			A chan int `conf:"a" doc:"x"`
		}{}, Sources{}),
		"no struct": Load(new(int), Sources{}),
	} {
		if err == nil {
			t.Errorf("%s: Load accepts it", name)
		}
	}
}

func TestRenderIsReadBack(t *testing.T) {
	want := defaults()
	want.Data, want.Users.Names = "with \"quotes\" and: colons #", []string{"a, b", "c"}
	want.Keys = []key{{ID: "k", Kind: "a", Uses: []string{}}}
	want.derived = 0
	out, err := Render(&want)
	if err != nil {
		t.Fatal(err)
	}
	var got settings
	if err := Load(&got, Sources{File: file(t, string(out))}); err != nil {
		t.Fatalf("Load: %v\n%s", err, out)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read back %+v, want %+v\n%s", got, want, out)
	}
	for _, line := range []string{"# when to sync (fsync | interval)\nsync: \"fsync\"\n", "  # how long\n  max_age: 1h\n"} {
		if !strings.Contains(string(out), line) {
			t.Errorf("Render lacks %q:\n%s", line, out)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]Bytes{
		"0": 0, "17": 17, "17B": 17, "64MiB": 64 << 20, "1 GiB": 1 << 30, "3TB": 3e12, "5kB": 5000, "8KiB": 8 << 10,
		"9223372036854775807": math.MaxInt64,
	} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "1EiB", "9223372036854775807KiB", "0x10", "64mib"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", text, got)
		}
	}
	for b, want := range map[Bytes]string{0: "0B", 1: "1B", 1 << 10: "1KiB", 1536: "1536B", 64 << 20: "64MiB", 5 << 40: "5TiB"} {
		if got := b.String(); got != want {
			t.Errorf("%d prints as %s, want %s", int64(b), got, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("data: x\nstream: {max_bytes: 1MiB}\nkeys: [{id: a, uses: [b]}]", "CATENA_KEYS=[{id: x}]")
	f.Add("stream:\nusers: {names: [[]]}", "CATENA_=")
	f.Fuzz(func(t *testing.T, yaml, env string) {
		cfg := defaults()
		if err := Load(&cfg, Sources{File: file(t, yaml), Env: []string{env}}); err != nil {
			return
		}
		out, err := Render(&cfg)
		if err != nil {
			t.Fatalf("render what was loaded: %v", err)
		}
		again := defaults()
		if err := Load(&again, Sources{File: file(t, string(out))}); err != nil {
			t.Errorf("what Load accepted is refused when read back: %v\n%s", err, out)
		}
	})
}
