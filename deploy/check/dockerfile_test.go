package check

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// stage is what stands below one FROM.
type stage struct {
	from         string
	instructions []instruction
}

type instruction struct {
	name string // upper case
	args []string
	exec bool // written as a JSON array, so that no shell runs it
}

// all returns the instructions of that name.
func (s stage) all(name string) []instruction {
	return slices.DeleteFunc(slices.Clone(s.instructions), func(in instruction) bool { return in.name != name })
}

// readDockerfile returns the arguments before the first stage, and the stages.
func readDockerfile(t *testing.T) (args []string, stages []stage) {
	t.Helper()
	file, err := os.Open(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range parsed.AST.Children {
		in := instruction{name: strings.ToUpper(node.Value), exec: node.Attributes["json"]}
		for n := node.Next; n != nil; n = n.Next {
			in.args = append(in.args, n.Value)
		}
		switch {
		case in.name == "FROM":
			stages = append(stages, stage{from: in.args[0]})
		case len(stages) == 0:
			args = append(args, in.args...)
		default:
			last := &stages[len(stages)-1]
			last.instructions = append(last.instructions, in)
		}
	}
	return args, stages
}

// nonRoot reports whether user is numeric, as Kubernetes' runAsNonRoot needs it, and not 0.
func nonRoot(user string) bool {
	return regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(user)
}

func TestImageIsSmallAndNonRoot(t *testing.T) {
	t.Parallel()
	_, stages := readDockerfile(t)
	if len(stages) != 2 {
		t.Fatalf("%d stages, want one that builds and one that runs", len(stages))
	}
	final := stages[1]
	if final.from != "scratch" {
		t.Errorf("the image is built on %s", final.from)
	}
	if users := final.all("USER"); len(users) != 1 || !nonRoot(users[0].args[0]) {
		t.Errorf("USER: %v", users)
	}
	if entry := final.all("ENTRYPOINT"); len(entry) != 1 || !entry[0].exec || !slices.Equal(entry[0].args, []string{"/mass"}) {
		t.Errorf("ENTRYPOINT: %v", entry)
	}
	if ports := final.all("EXPOSE"); len(ports) != 1 || !slices.Equal(ports[0].args, []string{"8000"}) {
		t.Errorf("EXPOSE: %v", ports)
	}
	if runs := final.all("RUN"); len(runs) > 0 {
		t.Errorf("the image has no shell to RUN %v", runs)
	}
}

func TestBinaryIsStaticAndReproducible(t *testing.T) {
	t.Parallel()
	_, stages := readDockerfile(t)
	var build string
	for _, run := range stages[0].all("RUN") {
		if command := strings.Join(run.args, " "); strings.Contains(command, "go build") {
			build = command
		}
	}
	for _, part := range []string{"CGO_ENABLED=0", "-trimpath", "-X main.version=${VERSION}", "./cmd/mass"} {
		if !strings.Contains(build, part) {
			t.Errorf("%q lacks %s", build, part)
		}
	}
}

// TestGoVersion: an image older than go.mod's version would refuse to build.
func TestGoVersion(t *testing.T) {
	t.Parallel()
	args, stages := readDockerfile(t)
	if stages[0].from != "golang:${GO_VERSION}" {
		t.Errorf("built on %s", stages[0].from)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	required := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	if required == nil {
		t.Fatal("go.mod names no version")
	}
	if want := "GO_VERSION=" + string(required[1]); !slices.Contains(args, want) {
		t.Errorf("before the first stage: %v, want %s, as in go.mod", args, want)
	}
}

// TestBuildContext: .dockerignore lets through go.mod, go.sum and the folders with the product's Go files, and nothing
// else.
func TestBuildContext(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		if name, included := strings.CutPrefix(strings.TrimSpace(line), "!"); included {
			got = append(got, name)
		}
	}
	want := []string{"go.mod", "go.sum"}
	for _, pattern := range []string{"*/*.go", "*/*/*.go", "*/*/*/*.go"} {
		files, err := fs.Glob(os.DirFS(root), pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			folder, _, _ := strings.Cut(file, "/")
			if _, err := os.Stat(filepath.Join(root, folder, "go.mod")); err == nil {
				continue // a module of its own
			}
			if folder[0] != '.' && folder != "deploy" && folder != "chaos" { // the chaos harness is part of no release
				want = append(want, folder)
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(got, want) {
		t.Errorf("included: got %v, want %v", got, want)
	}
}
