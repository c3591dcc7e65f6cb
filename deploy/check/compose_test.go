package check

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const root = "../.."

// ours are the services that run the product's image; migrate runs once, the others stay.
var ours = []string{"migrate", "api", "worker"}

func loadCompose(t *testing.T, env ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")},
		cli.WithWorkingDirectory(root), cli.WithEnv(append([]string{"MASS_AUTH_SECRET=" + strings.Repeat("s", 32)}, env...)))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func service(t *testing.T, p *types.Project, name string) types.ServiceConfig {
	t.Helper()
	s, err := p.GetService(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestServices(t *testing.T) {
	t.Parallel()
	want := []string{"api", "migrate", "postgres", "redis", "worker"}
	if got := slices.Sorted(slices.Values(loadCompose(t).ServiceNames())); !slices.Equal(got, want) {
		t.Errorf("services: got %v, want %v", got, want)
	}
}

func TestServicesRunTheCommandsOfTheProcfile(t *testing.T) {
	t.Parallel()
	project, procfile := loadCompose(t), readProcfile(t)
	processOf := map[string]string{"migrate": "release", "api": "api", "worker": "worker"}
	for _, name := range ours {
		got := "mass " + strings.Join(service(t, project, name).Command, " ")
		if want := procfile[processOf[name]]; got != want {
			t.Errorf("%s: compose runs %q, Procfile %q", name, got, want)
		}
	}
	if len(procfile) != len(ours) {
		t.Errorf("Procfile has %d processes, compose %d", len(procfile), len(ours))
	}
}

func readProcfile(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "Procfile"))
	if err != nil {
		t.Fatal(err)
	}
	commands := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, command, found := strings.Cut(strings.TrimSpace(line), ": ")
		if !found {
			t.Fatalf("Procfile: cannot read %q", line)
		}
		commands[name] = command
	}
	return commands
}

func TestHealthchecks(t *testing.T) {
	t.Parallel()
	for name, s := range loadCompose(t).Services {
		if name == "migrate" { // ends by itself: its exit status is waited for
			continue
		}
		if s.HealthCheck == nil || s.HealthCheck.Disable || len(s.HealthCheck.Test) < 2 {
			t.Errorf("%s has no health check", name)
			continue
		}
		if shell := s.HealthCheck.Test[0] == "CMD-SHELL"; shell && slices.Contains(ours, name) {
			t.Errorf("%s: the health check needs a shell, which the image has not", name)
		}
	}
}

func TestStartOrder(t *testing.T) {
	t.Parallel()
	project := loadCompose(t)
	ready := map[string]string{
		"postgres": types.ServiceConditionHealthy,
		"redis":    types.ServiceConditionHealthy,
		"migrate":  types.ServiceConditionCompletedSuccessfully,
	}
	for name, want := range map[string]map[string]string{
		"migrate": {"postgres": types.ServiceConditionHealthy},
		"api":     ready,
		"worker":  ready,
	} {
		got := service(t, project, name).DependsOn
		for dependency, condition := range want {
			if got[dependency].Condition != condition {
				t.Errorf("%s waits for %s to be %q, want %q", name, dependency, got[dependency].Condition, condition)
			}
		}
	}
}

func TestWorkerScales(t *testing.T) {
	t.Parallel()
	worker := service(t, loadCompose(t), "worker")
	if worker.ContainerName != "" || len(worker.Ports) > 0 || worker.Hostname != "" {
		t.Errorf("name %q, hostname %q and ports %v can each be given to one worker only",
			worker.ContainerName, worker.Hostname, worker.Ports)
	}
}

func TestPorts(t *testing.T) {
	t.Parallel()
	type port struct{ on, published string }
	got := map[string][]port{}
	for name, s := range loadCompose(t).Services {
		for _, p := range s.Ports {
			got[name] = append(got[name], port{p.HostIP, p.Published})
			if p.Target != 8000 {
				t.Errorf("%s publishes port %d", name, p.Target)
			}
		}
	}
	if want := []port{{"", "8000"}, {"127.0.0.1", "8080"}}; len(got) != 1 || !slices.Equal(got["api"], want) {
		t.Errorf("published: got %v, want the API's %v only", got, want)
	}
}

func TestOursAreLockedDown(t *testing.T) {
	t.Parallel()
	project := loadCompose(t)
	for _, name := range ours {
		s := service(t, project, name)
		if !s.ReadOnly {
			t.Errorf("%s: the root file system is writable", name)
		}
		if !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 || s.Privileged {
			t.Errorf("%s: capabilities: drop %v, add %v, privileged %v", name, s.CapDrop, s.CapAdd, s.Privileged)
		}
		if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may gain privileges", name)
		}
		if !nonRoot(s.User) {
			t.Errorf("%s runs as %q", name, s.User)
		}
	}
}

func TestImagesArePinned(t *testing.T) {
	t.Parallel()
	for name, s := range loadCompose(t).Services {
		if tag := s.Image[strings.LastIndex(s.Image, ":")+1:]; tag == s.Image || tag == "latest" {
			t.Errorf("%s: image %q names no version", name, s.Image)
		}
	}
}

// TestOneServiceBuilds: builds of the same tag run at once, and may collide.
func TestOneServiceBuilds(t *testing.T) {
	t.Parallel()
	project := loadCompose(t)
	for _, name := range ours {
		s := service(t, project, name)
		builds, want := s.Build != nil, types.PullPolicyNever
		if name == "migrate" {
			want = types.PullPolicyBuild
		}
		if builds != (name == "migrate") || s.PullPolicy != want {
			t.Errorf("%s: builds %v, pull policy %q", name, builds, s.PullPolicy)
		}
		if image := service(t, project, "migrate").Image; s.Image != image {
			t.Errorf("%s runs %s, but %s is built", name, s.Image, image)
		}
	}
}

func TestStopsAfterTheShutdownTimeout(t *testing.T) {
	t.Parallel()
	project := loadCompose(t)
	for _, name := range []string{"api", "worker"} {
		s := service(t, project, name)
		setting := s.Environment["MASS_SHUTDOWN_TIMEOUT"]
		if setting == nil || s.StopGracePeriod == nil {
			t.Errorf("%s: MASS_SHUTDOWN_TIMEOUT or stop_grace_period is not set", name)
			continue
		}
		timeout, err := time.ParseDuration(*setting)
		if err != nil {
			t.Fatal(err)
		}
		if grace := time.Duration(*s.StopGracePeriod); grace < timeout+5*time.Second {
			t.Errorf("%s is killed after %v, but takes up to %v to stop", name, grace, timeout)
		}
	}
}

func TestDataSurvive(t *testing.T) {
	t.Parallel()
	project := loadCompose(t)
	for name, path := range map[string]string{"postgres": "/var/lib/postgresql/data", "redis": "/data"} {
		volumes := service(t, project, name).Volumes
		if len(volumes) != 1 || volumes[0].Type != types.VolumeTypeVolume || volumes[0].Target != path {
			t.Errorf("%s: volumes %+v", name, volumes)
		}
	}
	command := strings.Join(service(t, project, "redis").Command, " ")
	for _, option := range []string{"--appendonly yes", "--maxmemory-policy noeviction"} {
		if !strings.Contains(command, option) {
			t.Errorf("redis runs without %s", option)
		}
	}
}

func TestPasswordComesFromTheEnvironment(t *testing.T) {
	t.Parallel()
	project := loadCompose(t, "POSTGRES_PASSWORD=s3cret")
	if got := *service(t, project, "postgres").Environment["POSTGRES_PASSWORD"]; got != "s3cret" {
		t.Errorf("postgres: password %q", got)
	}
	for _, name := range ours {
		if url := *service(t, project, name).Environment["DATABASE_URL"]; !strings.Contains(url, "mass:s3cret@postgres") {
			t.Errorf("%s: DATABASE_URL %q", name, url)
		}
	}
}
