package queue_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

// authority signs the certificates of the servers of one test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // PEM of its certificate, for clients
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	a := &authority{t: t, cert: cert, key: key, file: filepath.Join(t.TempDir(), "ca.pem")}
	require.NoError(t, os.WriteFile(a.file, pemOf("CERTIFICATE", der), 0o600))
	return a
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// sign returns a certificate for addresses and names, and its key, as PEM.
func (a *authority) sign(hosts ...string) (cert, key string) {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: hosts[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, // servers of a cluster are clients of each other
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	require.NoError(a.t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(a.t, err)
	return string(pemOf("CERTIFICATE", der)), string(pemOf("PRIVATE KEY", keyDER))
}

// tlsServers starts servers whose certificates one authority signs. Each server
// also has a port without TLS, by which the tests set it up.
type tlsServers struct {
	*authority

	folder *devstack.Folder
}

func newTLSServers(t *testing.T) *tlsServers {
	t.Helper()
	f, err := devstack.NewFolder(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close(context.Background())) })
	return &tlsServers{authority: newAuthority(t), folder: f}
}

// tlsServer is one of them.
type tlsServer struct {
	*devstack.Server

	host string
	port int // over TLS
}

func (s *tlsServer) addr() string { return net.JoinHostPort(s.host, strconv.Itoa(s.port)) }

// start starts a Redis on an address of the loopback network, or a Sentinel
// when an argument says so. Its certificate is for the given hosts.
func (s *tlsServers) start(name, host, password string, certified []string, lines []string, args ...string) *tlsServer {
	s.t.Helper()
	dir, err := s.folder.MakeDir(name)
	require.NoError(s.t, err)
	port, err := devstack.FreePort()
	require.NoError(s.t, err)
	cert, key := s.sign(certified...)
	ca, err := os.ReadFile(s.file)
	require.NoError(s.t, err)
	for file, content := range map[string]string{
		"cert.pem": cert, "key.pem": key, "ca.pem": string(ca),
		"redis.conf": strings.Join(append([]string{
			"bind " + strings.Join(unique(host, "127.0.0.1"), " "), "protected-mode no", "dir " + dir, "tls-port " + strconv.Itoa(port),
			"tls-cert-file " + dir + "/cert.pem", "tls-key-file " + dir + "/key.pem", "tls-ca-cert-file " + dir + "/ca.pem",
			"tls-auth-clients no", "tls-replication yes",
		}, lines...), "\n") + "\n",
	} {
		require.NoError(s.t, s.folder.WriteFile(filepath.Join(dir, file), content))
	}
	program, err := s.folder.RedisProgram(name, password, filepath.Join(dir, "redis.conf"), args...)
	require.NoError(s.t, err)
	server, err := s.folder.Start(s.t.Context(), program, 0)
	require.NoError(s.t, err)
	return &tlsServer{Server: server, host: host, port: port}
}

func unique(list ...string) []string {
	if list[0] == list[1] {
		return list[:1]
	}
	return list
}

// startCluster starts three masters on 127.0.0.1, 127.0.0.2 and 127.0.0.3.
func (s *tlsServers) startCluster(certified func(host string) []string) []*tlsServer {
	s.t.Helper()
	ctx := s.t.Context()
	nodes := make([]*tlsServer, 3)
	buses := make([]int, 3)
	plain := make([]*redis.Client, 3)
	for i := range nodes {
		var err error
		buses[i], err = devstack.FreePort()
		require.NoError(s.t, err)
		host := fmt.Sprintf("127.0.0.%d", i+1)
		nodes[i] = s.start(fmt.Sprintf("node-%d", i+1), host, "pw", certified(host), []string{
			"requirepass pw", "masterauth pw", "maxmemory-policy noeviction", `save ""`, "tls-cluster yes",
			"cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 2000",
			"cluster-announce-ip " + host, "cluster-port " + strconv.Itoa(buses[i]),
		})
		plain[i] = redis.NewClient(&redis.Options{Addr: nodes[i].Addr(), Password: "pw", ContextTimeoutEnabled: true})
		s.t.Cleanup(func() { require.NoError(s.t, plain[i].Close()) })
		require.NoError(s.t, plain[i].Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		require.NoError(s.t, plain[i].ClusterAddSlotsRange(ctx, i*16384/3, (i+1)*16384/3-1).Err())
	}
	for i := 1; i < len(nodes); i++ {
		require.NoError(s.t, plain[i].Do(ctx, "CLUSTER", "MEET", nodes[0].host, nodes[0].port, buses[0]).Err())
	}
	systemtest.Eventually(s.t, "the cluster is whole", func() bool {
		for _, node := range plain {
			info, err := node.ClusterInfo(ctx).Result()
			if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") {
				return false
			}
		}
		return true
	})
	return nodes
}

// documentedLine returns the line of docs/operations.md that begins with a text,
// and documentedWords its words as a command.
func documentedLine(t *testing.T, begin string) string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, begin) {
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("docs/operations.md has no line that begins with %q", begin)
	return ""
}

func documentedWords(t *testing.T, begin string) (command []any) {
	t.Helper()
	for word := range strings.FieldsSeq(documentedLine(t, begin)) {
		command = append(command, word)
	}
	return command
}

// requireTasks requires that a task of every queue can be enqueued and is run.
func requireTasks(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	require.NoError(t, queue.Health(t.Context(), rdb))
	enqueuer := queue.NewEnqueuer(rdb, time.Minute)
	ran := make(chan string, 10)
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{Queues: jobs.QueueWeights(), TaskCheckInterval: 10 * time.Millisecond, LogLevel: asynq.FatalLevel})
	mux := asynq.NewServeMux()
	mux.HandleFunc(jobs.TypeBatch, func(_ context.Context, task *asynq.Task) error {
		ran <- task.ResultWriter().TaskID()
		return nil
	})
	require.NoError(t, server.Start(mux))
	defer server.Shutdown()
	want := make([]string, 0, 3)
	for i, p := range []jobs.Priority{jobs.High, jobs.Default, jobs.Low} { // two slots of a cluster at least
		id := int64(i + 1)
		require.NoError(t, enqueuer.Enqueue(t.Context(), jobs.Batch{ID: id, Priority: p, Requests: []int64{id}}))
		want = append(want, jobs.TaskID(id))
	}
	var got []string
	for range want {
		select {
		case id := <-ran:
			got = append(got, id)
		case <-time.After(systemtest.Patience):
			t.Fatal("a task was not run")
		}
	}
	assert.ElementsMatch(t, want, got)
}

// Each node of a cluster has a certificate for its own address only.
func TestAClusterOverTLSWithACertificateForEachNode(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	servers := newTLSServers(t)
	nodes := servers.startCluster(func(host string) []string { return []string{host} })
	hosts := nodes[0].addr() + "," + nodes[1].addr()
	address, err := queue.ParseRedisURL("rediss-cluster://:pw@" + hosts)
	require.NoError(t, err)
	address, err = address.TrustCA(servers.file)
	require.NoError(t, err)
	rdb, err := queue.Dial(address)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	requireTasks(t, rdb)
	list, err := queue.InspectNodes(ctx, rdb)
	require.NoError(t, err)
	require.Len(t, list, 3, "every node is asked over TLS")
	require.NoError(t, list.Unsuitable())
	assert.Empty(t, list.Unseen())

	// One node has another eviction policy; which one the client asks first does
	// not matter.
	plain := redis.NewClient(&redis.Options{Addr: nodes[2].Addr(), Password: "pw"})
	defer plain.Close()
	require.NoError(t, plain.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru").Err())
	list, err = queue.InspectNodes(ctx, rdb)
	require.NoError(t, err)
	require.ErrorContains(t, list.Unsuitable(), nodes[2].addr()+" has maxmemory-policy allkeys-lru")

	// Without the authority, no node is trusted.
	stranger := dialURL(t, "rediss-cluster://:pw@"+hosts)
	require.ErrorContains(t, queue.Health(ctx, stranger), "certificate signed by unknown authority")

	// A cluster that lost a master answers a PING and takes no task.
	require.NoError(t, nodes[1].Kill())
	systemtest.Eventually(t, "Health sees that a part of the cluster is away", func() bool { return queue.Health(ctx, rdb) != nil })
	first := redis.NewClient(&redis.Options{Addr: nodes[0].Addr(), Password: "pw"})
	defer first.Close()
	require.NoError(t, first.Ping(ctx).Err())
}

// All nodes share a certificate for a name that no client dials. The client has
// only the permissions that docs/operations.md lists.
func TestAClusterOverTLSWithASharedCertificate(t *testing.T) {
	t.Parallel()
	servers := newTLSServers(t)
	nodes := servers.startCluster(func(string) []string { return []string{"redis.example"} })
	base := "rediss-cluster://:pw@" + nodes[0].addr() + "?ca_file=" + url.QueryEscape(servers.file)
	var admins []*redis.Client
	for _, node := range nodes {
		admin := redis.NewClient(&redis.Options{Addr: node.Addr(), Password: "pw", ContextTimeoutEnabled: true})
		defer admin.Close()
		require.NoError(t, admin.Do(t.Context(), documentedWords(t, "ACL SETUSER mass")...).Err())
		admins = append(admins, admin)
	}
	restricted := dialURL(t, strings.Replace(base, "//:pw@", "//mass:PASSWORD@", 1)+"&server_name=redis.example")
	requireTasks(t, restricted)
	list, err := queue.InspectNodes(t.Context(), restricted)
	require.NoError(t, err)
	assert.Empty(t, list.Unseen())
	for _, admin := range admins {
		refused, err := admin.Do(t.Context(), "ACL", "LOG").Slice()
		require.NoError(t, err)
		assert.Empty(t, refused, "commands that Redis refused")
	}
	requireTasks(t, dialURL(t, "rediss-cluster://:pw@"+nodes[0].addr()+"?skip_verify=true"))
	require.ErrorContains(t, queue.Health(t.Context(), dialURL(t, base)), "cannot validate certificate for 127.0.0.1")
}

// A master behind Sentinel with everything that an address can have: a user, a
// password, a database, TLS, and Sentinels with a password of their own.
func TestSentinelWithAUserADatabaseAndTLS(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	servers := newTLSServers(t)
	login := []string{"user mass on >master-secret ~* &* +@all", "requirepass admin", "masteruser mass", "masterauth master-secret", "maxmemory-policy noeviction", `save ""`}
	master := servers.start("master", "127.0.0.1", "admin", []string{"127.0.0.1"}, login)
	replica := servers.start("replica", "127.0.0.2", "admin", []string{"127.0.0.2"},
		append([]string{fmt.Sprintf("replicaof 127.0.0.1 %d", master.port), "replica-announce-ip 127.0.0.2"}, login...))
	sentinel := servers.start("sentinel", "127.0.0.3", "admin", []string{"127.0.0.3"}, []string{
		documentedLine(t, "user watcher on >sentinel-secret"), "requirepass admin",
		fmt.Sprintf("sentinel monitor mass %s %d 1", master.host, master.port),
		"sentinel auth-user mass mass", "sentinel auth-pass mass master-secret", "sentinel announce-ip 127.0.0.3",
	}, "--sentinel")
	query := "&ca_file=" + url.QueryEscape(servers.file) + "&sentinel_username=watcher&sentinel_password=sentinel-secret"
	rdb := dialURL(t, "rediss-sentinel://mass:master-secret@"+sentinel.addr()+"/3?master=mass"+query)
	requireTasks(t, rdb)

	plain := redis.NewClient(&redis.Options{Addr: master.Addr(), Password: "admin", DB: 3})
	defer plain.Close()
	keys, err := plain.DBSize(ctx).Result()
	require.NoError(t, err)
	assert.Positive(t, keys, "the tasks are in the database that the URL names")
	other := redis.NewClient(&redis.Options{Addr: master.Addr(), Password: "admin"})
	defer other.Close()
	keys, err = other.DBSize(ctx).Result()
	require.NoError(t, err)
	assert.Zero(t, keys, "no task is in database 0")
	clients, err := plain.ClientList(ctx).Result()
	require.NoError(t, err)
	assert.Contains(t, clients, "user=mass ")

	systemtest.Eventually(t, "the master and the replica are asked, with the user and over TLS", func() bool {
		list, err := queue.InspectNodes(ctx, rdb)
		return err == nil && len(list) == 2 && len(list.Unseen()) == 0 && list[1].Name == replica.addr()
	})
	asReplica := redis.NewClient(&redis.Options{Addr: replica.Addr(), Password: "admin"})
	defer asReplica.Close()
	require.NoError(t, asReplica.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru").Err())
	list, err := queue.InspectNodes(ctx, rdb)
	require.NoError(t, err)
	require.ErrorContains(t, list.Unsuitable(), replica.addr()+" has maxmemory-policy allkeys-lru", "the replica may be the next master")

	for part, wrong := range map[string]string{
		"the master's password":   "rediss-sentinel://mass:wrong@" + sentinel.addr() + "/3?master=mass" + query,
		"the Sentinel's password": "rediss-sentinel://mass:master-secret@" + sentinel.addr() + "/3?master=mass" + strings.Replace(query, "sentinel-secret", "wrong", 1),
		"TLS":                     "redis-sentinel://mass:master-secret@" + sentinel.addr() + "/3?master=mass&sentinel_username=watcher&sentinel_password=sentinel-secret",
	} {
		bounded, cancel := context.WithTimeout(ctx, systemtest.Patience)
		err := queue.Health(bounded, dialURL(t, wrong))
		cancel()
		require.Error(t, err, part)
		assert.NotContains(t, err.Error(), "secret", part)
	}
}
