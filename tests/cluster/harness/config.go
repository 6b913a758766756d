package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// The sizes of a cluster, each with everything of the one before.
const (
	sizeRegistries   = "registries"    // two registries, no Kubernetes; no root
	sizeControlPlane = "control-plane" // etcd, API server, controller manager, scheduler; no root
	sizeNode         = "node"          // containerd, kubelet, kube-proxy, CNI, in namespaces of their own; root
)

// config is all that the processes of one cluster know about it: cluster.json in its directory.
type config struct {
	Name       string              `json:"name"`
	Size       string              `json:"size"`
	Registries bool                `json:"registries"`
	Minor      string              `json:"kubernetes"`
	Dir        string              `json:"dir"`
	Logs       string              `json:"logs"`
	Bin        string              `json:"bin"`
	Kubeconfig string              `json:"kubeconfig,omitempty"`
	Registry   *registryAccess     `json:"registry,omitempty"`          // without credentials
	Protected  *registryAccess     `json:"protectedRegistry,omitempty"` // with htpasswd
	InCluster  string              `json:"inClusterRegistry,omitempty"` // "", open or protected
	Publish    []int               `json:"publish,omitempty"`
	Reach      []int               `json:"reach,omitempty"`
	Args       map[string][]string `json:"args,omitempty"` // component: more flags
	Ports      ports               `json:"ports"`
}

// registryAccess is how to use one of the registries.
type registryAccess struct {
	Host     string `json:"host"` // 127.0.0.1:PORT, the same on this machine and on the node
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// ports are the free ones of 127.0.0.1 that were chosen for the cluster.
type ports struct {
	API       int `json:"api"`
	Etcd      int `json:"etcd"`
	EtcdPeer  int `json:"etcdPeer"`
	Registry  int `json:"registry"`
	Protected int `json:"protected"`
}

// nodePortRegistry is where the registry inside of a cluster answers, on its node.
const nodePortRegistry = 30500

func (c *config) path(parts ...string) string {
	return filepath.Join(append([]string{c.Dir}, parts...)...)
}

func (c *config) tool(name string) string { return filepath.Join(c.Bin, name) }

// cgroup is the one under which all containers of the node live, in every hierarchy.
func (c *config) cgroup() string { return cgroupOf(c.Dir) }

func (c *config) save() error {
	content, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(c.path("cluster.json"), append(content, '\n'), 0o600)
}

func loadConfig(dir string) (*config, error) {
	content, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	if err != nil {
		return nil, err
	}
	c := new(config)
	return c, json.Unmarshal(content, c)
}

// environment is what a user of the cluster needs, as NAME=value.
func (c *config) environment() []string {
	env := []string{"WAYPOST_CLUSTER_NAME=" + c.Name, "WAYPOST_CLUSTER_DIR=" + c.Dir}
	if c.Kubeconfig != "" {
		env = append(env, "KUBECONFIG="+c.Kubeconfig)
	}
	if c.Registry != nil {
		env = append(env, "WAYPOST_REGISTRY="+c.Registry.Host,
			"WAYPOST_PROTECTED_REGISTRY="+c.Protected.Host,
			"WAYPOST_PROTECTED_REGISTRY_USERNAME="+c.Protected.Username,
			"WAYPOST_PROTECTED_REGISTRY_PASSWORD="+c.Protected.Password)
	}
	if c.InCluster != "" {
		env = append(env, "WAYPOST_IN_CLUSTER_REGISTRY="+loopback(nodePortRegistry))
	}
	return append(env, "PATH="+c.Bin+":"+os.Getenv("PATH"))
}

// lock is held, by the supervisor, as long as a cluster lives: the kernel lets go of it whatever kills the supervisor.
type lock struct{ *os.File }

var errLocked = errors.New("locked")

var nameSyntax = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// lockCluster takes the lock of a cluster that does not run, or answers errLocked.
func lockCluster(name string) (*lock, error) {
	if !nameSyntax.MatchString(name) {
		return nil, fmt.Errorf("cluster name %q: want up to 40 of a-z, 0-9 and -", name)
	}
	if err := os.MkdirAll(clustersDir(), 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(clustersDir(), name+".lock")
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, errLocked
			}
			return nil, err
		}
		// Somebody may have removed the file between our opening and locking it: then the lock is worth nothing.
		here, err1 := f.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(here, there) {
			return &lock{f}, nil
		}
		f.Close()
	}
}

// remove lets go of the lock of a cluster that is gone.
func (l *lock) remove() {
	_ = os.Remove(l.Name())
	l.Close()
}

// clusterNames lists the clusters that run or left something behind.
func clusterNames() ([]string, error) {
	locks, err := filepath.Glob(filepath.Join(clustersDir(), "*.lock"))
	for i := range locks {
		locks[i] = strings.TrimSuffix(filepath.Base(locks[i]), ".lock")
	}
	return locks, err
}

// listenFree listens at a free port of 127.0.0.1.
func listenFree() (net.Listener, int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	return listener, listener.Addr().(*net.TCPAddr).Port, nil
}

// reserve holds a free port of 127.0.0.1, without listening, for a component that shares it by SO_REUSEPORT: nobody else can
// be given it between now and the component's start, or while the component is started again.
func reserve() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, err
	}
	address, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	return address.(*unix.SockaddrInet4).Port, nil
}
