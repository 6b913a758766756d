package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors that a supervisor is started with.
const (
	progressFD = 3 // lines for whoever waits: how far it is, "ready", or what went wrong
	lockFD     = 4
)

// superviseCommand is a cluster's one long-lived process. It ends, and its cluster with it, at a signal or when its standard
// input does: that is a pipe from the process that the cluster is for, which the kernel closes however that process dies.
func superviseCommand(args []string) error {
	unix.CloseOnExec(progressFD)
	unix.CloseOnExec(lockFD)
	progress := os.NewFile(progressFD, "progress")
	held := &lock{os.NewFile(lockFD, filepath.Join(clustersDir(), filepath.Base(args[0])+".lock"))}
	c, err := loadConfig(args[0])
	if err != nil {
		return err
	}
	if err := os.Chdir(c.Dir); err != nil { // sockets are named relative to it: their paths are limited to 108 bytes
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	go endWithInput(end)

	var failure error
	if c.Size == sizeNode {
		failure = superviseNode(c, progress, end)
	} else {
		failure = superviseHere(c, progress, end)
	}
	if failure != nil {
		say("%v", failure)
		fmt.Fprintln(progress, "failed:", failure)
	}
	logs := c.Logs
	if err := clean(c.Dir); err != nil {
		say("%v; logs: %s", err, logs)
		return err // the lock file stays, so that the next run tries again
	}
	held.remove()
	return failure
}

// endWithInput asks for the end when standard input ends. A cluster that runs by itself has none.
func endWithInput(end chan<- os.Signal) {
	if info, err := os.Stdin.Stat(); err != nil || info.Mode()&os.ModeCharDevice != 0 {
		return
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	end <- unix.SIGTERM
}

// superviseHere runs a cluster without a node: all of it are processes of this user on this machine's loopback.
func superviseHere(c *config, progress io.Writer, end <-chan os.Signal) error {
	for _, port := range []*int{&c.Ports.API, &c.Ports.Etcd, &c.Ports.EtcdPeer} {
		var err error
		if *port, err = reserve(); err != nil {
			return err
		}
	}
	if err := openRegistries(c); err != nil {
		return err
	}
	if err := prepare(c); err != nil {
		return err
	}
	all := newProcesses(c, componentEnvironment(c))
	defer all.kill()
	if err := startComponents(c, all, progress); err != nil {
		return err
	}
	return attend(all, end)
}

// attend restarts what ends until the cluster is to end. It runs on the main thread, as everything that starts processes.
func attend(all *processes, end <-chan os.Signal) error {
	for {
		select {
		case <-end:
			return nil
		case child := <-all.ended:
			if err := all.restart(child); err != nil {
				return err
			}
		}
	}
}

// superviseNode makes the namespaces of a cluster with a node and passes connections in and out of them.
func superviseNode(c *config, progress *os.File, end <-chan os.Signal) error {
	published := map[int]net.Listener{}
	listener, port, err := listenFree()
	if err != nil {
		return err
	}
	c.Ports.API, published[port] = port, listener
	for _, port := range c.Publish {
		if published[port], err = net.Listen("tcp", loopback(port)); err != nil {
			return fmt.Errorf("publishing port %d: %w", port, err)
		}
	}
	// In a network of its own any port is free.
	c.Ports.Etcd, c.Ports.EtcdPeer = 2379, 2380
	if c.Ports.API == c.Ports.Etcd || c.Ports.API == c.Ports.EtcdPeer {
		return errors.New("the port chosen for the API server is etcd's: try again")
	}
	if err := openRegistries(c); err != nil {
		return err
	}
	if err := prepare(c); err != nil {
		return err
	}

	program, err := os.Executable()
	if err != nil {
		return err
	}
	alive, aliveEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	defer aliveEnd.Close() // held to the end: the node ends when it closes
	// Before the node's own first step, whatever it mounts or adds is in namespaces that die with it.
	node := exec.Command(program, "node-init", c.Dir)
	node.Stdin, node.Stdout, node.Stderr = alive, os.Stdout, os.Stderr
	node.ExtraFiles = []*os.File{progress}
	node.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  unix.SIGKILL,
	}
	if err := node.Start(); err != nil {
		return err
	}
	alive.Close()
	ended := make(chan error, 1)
	go func() { ended <- node.Wait() }()
	if err := os.WriteFile("node.pid", fmt.Appendln(nil, node.Process.Pid), 0o644); err != nil {
		return err
	}

	namespace := fmt.Sprintf("/proc/%d/ns/net", node.Process.Pid)
	for port, listener := range published {
		go forward(listener, func() (net.Conn, error) {
			return inNamespace(namespace, func() (net.Conn, error) { return net.Dial("tcp", loopback(port)) })
		})
	}
	for _, port := range c.Reach {
		listener, err := inNamespace(namespace, func() (net.Listener, error) {
			return net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		})
		if err != nil {
			return fmt.Errorf("port %d inside: %w", port, err)
		}
		go forward(listener, func() (net.Conn, error) { return net.Dial("tcp", loopback(port)) })
	}

	select {
	case <-end:
		_ = node.Process.Kill() // process 1 of its namespace: the kernel kills all others, and waits for them
		<-ended
		return nil
	case err := <-ended:
		if err == nil {
			err = errors.New("ended")
		}
		return fmt.Errorf("the node: %w", err)
	}
}

// openRegistries gives each registry its port on this machine. The registries themselves listen at sockets in the cluster's
// directory: so their ports are known, and ours, before they start, and are the same ones inside of a node's network.
func openRegistries(c *config) error {
	if !c.Registries {
		return nil
	}
	for socket, port := range map[string]*int{"registry.sock": &c.Ports.Registry, "protected.sock": &c.Ports.Protected} {
		listener, chosen, err := listenFree()
		if err != nil {
			return err
		}
		*port = chosen
		go forward(listener, unixDialer(socket))
	}
	c.Registry = &registryAccess{Host: loopback(c.Ports.Registry)}
	c.Protected = &registryAccess{Host: loopback(c.Ports.Protected), Username: "waypost", Password: secretText()}
	return nil
}

func unixDialer(socket string) dialer {
	return func() (net.Conn, error) { return net.Dial("unix", socket) }
}

// Addresses inside of a node's network. They are the same in every cluster: nobody else is there.
const (
	nodeName    = "node"
	nodeIP      = "192.168.77.1"
	podCIDR     = "10.244.0.0/24"
	serviceCIDR = "10.96.0.0/16"
	serviceIP   = "10.96.0.1"
)

// prepare writes keys, certificates and configuration.
func prepare(c *config) error {
	if c.Registries {
		if err := writeRegistries(c); err != nil {
			return err
		}
	}
	if c.Size == sizeRegistries {
		return c.save()
	}
	pki := c.path("pki")
	ca, err := newCertificateAuthority(pki)
	if err != nil {
		return err
	}
	masters := []string{"system:masters"}
	for _, issued := range []struct {
		name, user string
		groups     []string
		hosts      []string
	}{
		{"apiserver", "kube-apiserver", nil, []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "127.0.0.1", serviceIP, nodeIP}},
		{"apiserver-kubelet-client", "kube-apiserver", masters, nil},
		{"admin", "admin", masters, nil},
		{"controller-manager", "system:kube-controller-manager", nil, nil},
		{"scheduler", "system:kube-scheduler", nil, nil},
		{"kubelet", "system:node:" + nodeName, []string{"system:nodes"}, []string{nodeName, nodeIP}},
		{"kube-proxy", "system:kube-proxy", nil, nil},
	} {
		if err := ca.issue(issued.name, issued.user, issued.groups, issued.hosts...); err != nil {
			return err
		}
	}
	server := "https://" + loopback(c.Ports.API)
	for _, user := range []string{"controller-manager", "scheduler", "kubelet", "kube-proxy"} {
		if err := kubeconfig(c.path(user+".kubeconfig"), pki, user, server); err != nil {
			return err
		}
	}
	c.Kubeconfig = c.path("kubeconfig")
	if err := kubeconfig(c.Kubeconfig, pki, "admin", server); err != nil {
		return err
	}
	// The key that signs ServiceAccount tokens can be any; a token for humans with curl beside it.
	if err := ca.issue("service-account", "service-account", nil); err != nil {
		return err
	}
	token := secretText()
	for path, content := range map[string]string{
		"admin.token": token + "\n",
		"tokens.csv":  token + `,admin,admin,"system:masters"` + "\n",
		"audit.yaml":  auditPolicy,
	} {
		if err := os.WriteFile(c.path(path), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return c.save()
}

// auditPolicy keeps what admission did: audit annotations are part of the event's metadata.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - level: Metadata
    verbs: [create, update, patch, delete]
    resources: [{group: "", resources: [pods, pods/ephemeralcontainers]}]
  - level: None
`

func writeRegistries(c *config) error {
	line, err := htpasswd(c.Protected.Username, c.Protected.Password)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path("htpasswd"), []byte(line), 0o600); err != nil {
		return err
	}
	for name, auth := range map[string]string{
		"registry":  "",
		"protected": "auth:\n  htpasswd:\n    realm: waypost-test\n    path: " + c.path("htpasswd") + "\n",
	} {
		content := fmt.Sprintf(`version: 0.1
log: {level: info, accesslog: {disabled: false}}
http: {net: unix, addr: %s.sock}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
%s`, name, c.path("storage", name), auth)
		if err := os.WriteFile(c.path(name+".yaml"), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// componentEnvironment keeps proxies and other people's settings away from the components.
func componentEnvironment(c *config) []string {
	return []string{"PATH=" + c.Bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + c.Dir,
		"OTEL_TRACES_EXPORTER=none"}
}

// startComponents brings the cluster up and says so. Nothing sleeps: each wait is for the condition that the next step needs.
func startComponents(c *config, all *processes, progress io.Writer) error {
	start := func(name string, flags ...string) error {
		fmt.Fprintln(progress, "starting", name)
		return all.start(name, append(append([]string{c.tool(name)}, flags...), c.Args[name]...)...)
	}
	if c.Registries {
		for _, name := range []string{"registry", "protected"} {
			fmt.Fprintln(progress, "starting", name)
			if err := all.start(name, c.tool("registry"), "serve", name+".yaml"); err != nil {
				return err
			}
		}
		for _, socket := range []string{"registry.sock", "protected.sock"} {
			if err := all.await(socket, 30*time.Second, func() error {
				conn, err := net.Dial("unix", socket)
				if err == nil {
					conn.Close()
				}
				return err
			}); err != nil {
				return err
			}
		}
	}
	if c.Size == sizeRegistries {
		fmt.Fprintln(progress, "ready")
		return nil
	}

	client, err := adminClient(c)
	if err != nil {
		return err
	}
	etcd := "http://" + loopback(c.Ports.Etcd)
	peer := "http://" + loopback(c.Ports.EtcdPeer)
	if err := start("etcd", "--name=waypost", "--data-dir="+c.path("etcd"), "--unsafe-no-fsync", "--socket-reuse-port",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=waypost="+peer); err != nil {
		return err
	}
	if c.Size == sizeNode {
		if err := startContainerd(c, start); err != nil {
			return err
		}
	}
	if err := all.await("etcd", time.Minute, func() error { return client.ok(etcd + "/health") }); err != nil {
		return err
	}
	server := "https://" + loopback(c.Ports.API)
	if err := start("kube-apiserver", apiServerFlags(c, etcd)...); err != nil {
		return err
	}
	if c.Size == sizeNode {
		if err := importImages(c, all, progress); err != nil {
			return err
		}
	}
	if err := all.await("API server", 2*time.Minute, func() error { return client.ok(server + "/readyz") }); err != nil {
		return err
	}
	key := c.path("pki", "service-account.key")
	if err := start("kube-controller-manager", "--kubeconfig="+c.path("controller-manager.kubeconfig"),
		"--leader-elect=false", "--secure-port=0", "--use-service-account-credentials", "--service-account-private-key-file="+key,
		"--root-ca-file="+c.path("pki", "ca.crt"), "--kube-api-qps=200", "--kube-api-burst=400"); err != nil {
		return err
	}
	if err := start("kube-scheduler", "--kubeconfig="+c.path("scheduler.kubeconfig"), "--leader-elect=false", "--secure-port=0",
		"--kube-api-qps=200", "--kube-api-burst=400"); err != nil {
		return err
	}
	if c.Size == sizeNode {
		if err := startKubelet(c, start); err != nil {
			return err
		}
		if err := all.await("Ready node", 2*time.Minute, func() error { return nodeReady(client, server) }); err != nil {
			return err
		}
	}
	// Pods cannot be created before the controller manager has made the namespace's ServiceAccount.
	if err := all.await("ServiceAccount of namespace default", time.Minute, func() error {
		return client.ok(server + "/api/v1/namespaces/default/serviceaccounts/default")
	}); err != nil {
		return err
	}
	fmt.Fprintln(progress, "ready")
	return nil
}

func apiServerFlags(c *config, etcd string) []string {
	pki := func(name string) string { return c.path("pki", name) }
	bind, advertise := "127.0.0.1", "192.0.2.1" // nobody connects to the second (RFC 5737), but one is demanded
	if c.Size == sizeNode {
		bind, advertise = "0.0.0.0", nodeIP
	}
	return []string{
		"--etcd-servers=" + etcd, "--bind-address=" + bind, "--advertise-address=" + advertise,
		fmt.Sprintf("--secure-port=%d", c.Ports.API), "--permit-port-sharing",
		"--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
		"--client-ca-file=" + pki("ca.crt"), "--token-auth-file=" + c.path("tokens.csv"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--service-cluster-ip-range=" + serviceCIDR,
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + pki("service-account.key"),
		"--service-account-signing-key-file=" + pki("service-account.key"),
		"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority=" + pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--audit-policy-file=" + c.path("audit.yaml"), "--audit-log-path=" + filepath.Join(c.Logs, "audit.jsonl"),
	}
}

// apiClient asks as the administrator.
type apiClient struct{ http.Client }

func adminClient(c *config) (*apiClient, error) {
	pair, err := tls.LoadX509KeyPair(c.path("pki", "admin.crt"), c.path("pki", "admin.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(c.path("pki", "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &apiClient{http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}},
	}}, nil
}

// ok is nil where a GET is answered by 200.
func (c *apiClient) ok(url string) error { return c.read(url, nil) }

func (c *apiClient) read(url string, into any) error {
	response, err := c.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(bufio.NewReader(response.Body))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

func nodeReady(client *apiClient, server string) error {
	var node struct {
		Spec struct {
			Taints []struct{ Key string }
		}
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := client.read(server+"/api/v1/nodes/"+nodeName, &node); err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == "Ready" && condition.Status == "True" {
			if len(node.Spec.Taints) > 0 {
				return fmt.Errorf("tainted %s", node.Spec.Taints[0].Key)
			}
			return nil
		} else if condition.Type == "Ready" {
			return errors.New(condition.Message)
		}
	}
	return errors.New("no condition Ready")
}
