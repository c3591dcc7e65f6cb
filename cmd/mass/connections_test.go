package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// connectionMakers are the names by which Go code gets a connection to another
// process, by import path. A file that uses one of them is in the table of
// outgoingConnections.
var connectionMakers = map[string][]string{
	"net":                          {"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialUnix", "DialIP", "Dialer", "ListenUDP", "ListenPacket"},
	"crypto/tls":                   {"Dial", "DialWithDialer", "Dialer", "Client"},
	"net/http":                     {"Client", "Transport", "DefaultClient", "DefaultTransport", "Get", "Head", "Post", "PostForm"},
	"net/http/httputil":            {"ReverseProxy", "NewSingleHostReverseProxy"},
	"net/rpc":                      {"Dial", "DialHTTP"},
	"net/smtp":                     {"Dial", "SendMail"},
	"log/syslog":                   {"Dial", "New"},
	"syscall":                      {"Socket", "Connect"},
	"database/sql":                 {"Open", "OpenDB"},
	"github.com/jmoiron/sqlx":      {"Open", "Connect", "ConnectContext", "MustConnect", "MustOpen"},
	"github.com/lib/pq":            {"Open", "DialOpen", "NewConnector", "NewConnectorConfig", "NewListener", "NewDialListener"},
	"github.com/redis/go-redis/v9": {"NewClient", "NewClusterClient", "NewFailoverClient", "NewFailoverClusterClient", "NewRing", "NewUniversalClient", "NewSentinelClient"},
	"github.com/hibiken/asynq":     {"NewClient", "NewServer", "NewInspector", "NewScheduler"},
	"github.com/gorilla/websocket": {"Dialer", "DefaultDialer"},
	"golang.org/x/net/proxy":       {"Dial", "SOCKS5", "FromURL", "FromEnvironment"},
	"google.golang.org/grpc":       {"Dial", "DialContext", "NewClient"},
	"github.com/fergusstrange/embedded-postgres": {"NewDatabase"},
}

// outgoingConnections lists every place of the binary that can make a
// connection, and where it goes. None of them leads to equipment.
var outgoingConnections = map[string]string{
	"cmd/mass/demo.go: net/http.DefaultClient":                                                       "mass dev: the API of the same process",
	"cmd/mass/health.go: net/http.Client":                                                            "mass health: the API on this machine",
	"cmd/mass/health.go: net/http.DefaultClient":                                                     "mass health: the API on this machine",
	"cmd/mass/health.go: net/http.Transport":                                                         "mass health: the API on this machine",
	"internal/biocore/call.go: net.Dialer":                                                           "BioCore (MASS_BIOCORE_URL): questions, health and version",
	"internal/biocore/call.go: net/http.Client":                                                      "BioCore",
	"internal/biocore/call.go: net/http.Transport":                                                   "BioCore",
	"internal/biocore/client.go: net/http.Client":                                                    "BioCore: the field that holds its client",
	"internal/devstack/postgres.go: database/sql.Open":                                               "mass dev: its own PostgreSQL",
	"internal/devstack/postgres_download.go: github.com/fergusstrange/embedded-postgres.NewDatabase": "mass dev: downloads PostgreSQL where none is installed",
	"internal/devstack/redis.go: net.Dialer":                                                         "mass dev: its own Redis",
	"internal/pgconn/connector.go: github.com/lib/pq.NewConnectorConfig":                             "PostgreSQL (DATABASE_URL)",
	"internal/pgconn/dialer.go: net.Dialer":                                                          "PostgreSQL",
	"internal/submit/submit.go: net/http.Client":                                                     "mass submit: the API that its --url names",
	"internal/submit/submit.go: net/http.DefaultClient":                                              "mass submit: the API that its --url names",
	"internal/webhook/client.go: net.Dialer":                                                         "callbacks: the URL of a submission, judged by the guard",
	"internal/webhook/client.go: net/http.Client":                                                    "callbacks",
	"internal/webhook/client.go: net/http.Transport":                                                 "callbacks",
	"jobs/queue/connect.go: github.com/redis/go-redis/v9.NewClient":                                  "Redis (REDIS_URL)",
	"jobs/queue/connect.go: github.com/redis/go-redis/v9.NewClusterClient":                           "Redis Cluster",
	"jobs/queue/connect.go: github.com/redis/go-redis/v9.NewFailoverClient":                          "Redis behind Sentinels",
	"jobs/queue/redis_info.go: github.com/redis/go-redis/v9.NewClient":                               "each node of that Redis, to inspect it",
	"migrations/migrations.go: database/sql.OpenDB":                                                  "PostgreSQL: mass migrate",
	"store/store.go: database/sql.OpenDB":                                                            "PostgreSQL",
}

// MASS only reads: nothing in it may reach equipment. So each way out of the
// process is listed here, and a new one fails this test until somebody has said
// where it goes.
func TestEveryOutgoingConnectionIsKnown(t *testing.T) {
	t.Parallel()
	found := outgoingOf(t, productFiles(t))
	var names []string
	for place := range outgoingConnections {
		names = append(names, place)
	}
	slices.Sort(names)
	assert.Equal(t, names, found)
}

// productFiles lists the files of this module that the binary is built of.
func productFiles(t *testing.T) []string {
	t.Helper()
	const module = "github.com/leomutto/pilot-in-a-box"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		"{{$dir := .Dir}}{{if not .Standard}}{{if .Module}}{{if eq .Module.Path \""+module+"\"}}{{range .GoFiles}}{{$dir}}/{{.}}\n{{end}}{{end}}{{end}}{{end}}", ".").Output()
	require.NoError(t, err)
	files := strings.Fields(string(out))
	require.Greater(t, len(files), 150)
	return files
}

// outgoingOf returns the uses of connectionMakers, sorted, each once.
func outgoingOf(t *testing.T, files []string) []string {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	var found []string
	for _, file := range files {
		relative, err := filepath.Rel(root, file)
		require.NoError(t, err)
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		for _, name := range makersIn(t, parsed) {
			found = append(found, filepath.ToSlash(relative)+": "+name)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// makersIn returns the connectionMakers that a file uses.
func makersIn(t *testing.T, file *ast.File) (found []string) {
	t.Helper()
	imported := map[string]string{} // import path by the name in the file
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		if connectionMakers[path] == nil {
			continue
		}
		name := path[strings.LastIndex(path, "/")+1:]
		switch path {
		case "github.com/redis/go-redis/v9":
			name = "redis"
		case "github.com/fergusstrange/embedded-postgres":
			name = "embeddedpostgres"
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "." {
			found = append(found, path+" imported with a dot")
		}
		imported[name] = path
	}
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := selector.X.(*ast.Ident); ok {
			if path := imported[x.Name]; path != "" && slices.Contains(connectionMakers[path], selector.Sel.Name) {
				found = append(found, path+"."+selector.Sel.Name)
			}
		}
		return true
	})
	return found
}

// The proof notices what it is there for.
func TestANewOutgoingConnectionIsNoticed(t *testing.T) {
	t.Parallel()
	for source, want := range map[string][]string{
		`package p; import "net"; func f() { net.Dial("tcp", "chiller:502") }`:            {"net.Dial"},
		`package p; import n "net"; var d n.Dialer`:                                       {"net.Dialer"},
		`package p; import "net/http"; func f() { http.Post("http://chiller", "", nil) }`: {"net/http.Post"},
		`package p; import . "net"; func f() { Dial("tcp", "chiller:502") }`:              {"net imported with a dot"},
		`package p; import "net/http"; func f(w http.ResponseWriter, r *http.Request) {}`: nil,
		`package p; import "net"; func f() { net.ParseIP("::1") }`:                        nil,
		`package p; import "github.com/redis/go-redis/v9"; var c = redis.NewClient(nil)`:  {"github.com/redis/go-redis/v9.NewClient"},
	} {
		parsed, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
		require.NoError(t, err)
		assert.Equal(t, want, makersIn(t, parsed), source)
	}
}
