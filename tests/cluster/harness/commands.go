package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/sys/unix"
)

const defaultName = "default"

// upOptions are those that up and run have in common.
type upOptions struct {
	config
	publish, reach, args list
}

func (o *upOptions) define(flags *flag.FlagSet) (minor *string) {
	flags.StringVar(&o.Size, "size", "", "registries, control-plane or node; default: node for root, else control-plane")
	flags.BoolVar(&o.Registries, "registries", false, "two registries beside a control plane (a node has them always)")
	flags.StringVar(&o.InCluster, "in-cluster-registry", "", "open or protected: run a registry in the cluster, NodePort 127.0.0.1:30500")
	flags.StringVar(&o.Logs, "logs", "", "keep logs in `DIRECTORY`; else they go with the cluster")
	flags.Var(&o.publish, "publish", "make `PORT` of the node's 127.0.0.1 one of this machine's")
	flags.Var(&o.reach, "reach", "make `PORT` of this machine's 127.0.0.1 one of the node's: for a webhook that runs here")
	flags.Var(&o.args, "arg", "`COMPONENT=FLAG`, such as kube-apiserver=--enable-admission-plugins=AlwaysPullImages")
	return minorFlag(flags)
}

// complete checks the options and builds what they need.
func (o *upOptions) complete(minor string) error {
	c := &o.config
	if c.Size == "" {
		c.Size = sizeControlPlane
		if os.Geteuid() == 0 {
			c.Size = sizeNode
		}
	}
	sets := []string{c.Size}
	switch c.Size {
	case sizeNode:
		if err := preflight(true); err != nil {
			return err
		}
		c.Registries = true
	case sizeRegistries:
		c.Registries = true
	case sizeControlPlane:
		if c.Registries {
			sets = append(sets, sizeRegistries)
		}
	default:
		return fmt.Errorf("--size %s: there are registries, control-plane and node", c.Size)
	}
	if !slices.Contains([]string{"", "open", "protected"}, c.InCluster) {
		return fmt.Errorf("--in-cluster-registry %s: there are open and protected", c.InCluster)
	}
	if c.Size != sizeNode && (c.InCluster != "" || len(o.publish)+len(o.reach) > 0) {
		return errors.New("--in-cluster-registry, --publish and --reach are for --size node")
	}
	for _, given := range []struct {
		texts list
		ports *[]int
	}{{o.publish, &c.Publish}, {o.reach, &c.Reach}} {
		for _, text := range given.texts {
			port, err := strconv.Atoi(text)
			if err != nil || port < 1 || port > 65535 {
				return fmt.Errorf("port %q", text)
			}
			*given.ports = append(*given.ports, port)
		}
	}
	c.Args = map[string][]string{}
	for _, arg := range o.args {
		component, flag, ok := strings.Cut(arg, "=")
		if !ok || !strings.HasPrefix(flag, "-") {
			return fmt.Errorf("--arg %s: want COMPONENT=FLAG", arg)
		}
		c.Args[component] = append(c.Args[component], flag)
	}
	c.Minor = minor
	var err error
	c.Bin, err = build(minor, sets...)
	return err
}

func upCommand(args []string) error {
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	var options upOptions
	minor := options.define(flags)
	flags.StringVar(&options.Name, "name", defaultName, "`NAME` of the cluster")
	attached := flags.Bool("attached", false, "end the cluster when standard input ends; prints the path of cluster.json when ready")
	if flags.Parse(args) != nil {
		return errUsage
	}
	if err := options.complete(*minor); err != nil {
		return err
	}
	c := &options.config
	if running, err := loadConfig(filepath.Join(clustersDir(), c.Name)); err == nil && !*attached && supervisorOf(c.Name) > 0 {
		say("cluster %s runs already: options are not looked at", c.Name)
		running.print()
		return nil
	}
	if !*attached && c.Size == sizeNode && !slices.Contains(c.Publish, nodePortRegistry) {
		// For `crane push 127.0.0.1:30500/…` by a human. Another cluster may have the port: that is no reason to fail.
		if listener, err := net.Listen("tcp", loopback(nodePortRegistry)); err == nil {
			listener.Close()
			c.Publish = append(c.Publish, nodePortRegistry)
		} else {
			say("%s is taken: reach that NodePort by `exec %s -- …`", loopback(nodePortRegistry), c.Name)
		}
	}
	var stdin *os.File
	if *attached {
		stdin = os.Stdin
	}
	supervisor, err := c.up(stdin)
	if errors.Is(err, errLocked) {
		return fmt.Errorf("cluster %s runs already, or is being started or ended", c.Name)
	}
	if err != nil {
		return err
	}
	if !*attached {
		c.print()
		return nil
	}
	fmt.Println(c.path("cluster.json"))
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	go func() {
		for range signals {
			_ = supervisor.Process.Signal(unix.SIGTERM)
		}
	}()
	return supervisor.Wait()
}

// print writes shell lines that use the cluster, and nothing else, to standard output.
func (c *config) print() {
	for _, line := range c.environment() {
		name, value, _ := strings.Cut(line, "=")
		if name == "PATH" {
			value = c.Bin + ":$PATH"
			fmt.Printf("export PATH=\"%s\"\n", value)
			continue
		}
		fmt.Printf("export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
}

// up starts the cluster's supervisor and waits until it is ready. The cluster ends with stdin, or with down where that is nil.
func (c *config) up(stdin *os.File) (*exec.Cmd, error) {
	if err := sweep(); err != nil {
		return nil, err
	}
	held, err := lockCluster(c.Name)
	if err != nil {
		return nil, err
	}
	defer held.Close() // the supervisor has its own
	began := time.Now()
	c.Dir = filepath.Join(clustersDir(), c.Name)
	if err := clean(c.Dir); err != nil {
		return nil, err
	}
	if c.Logs == "" {
		c.Logs = c.path("logs")
	}
	if c.Logs, err = filepath.Abs(c.Logs); err != nil {
		return nil, err
	}
	if err := errors.Join(os.MkdirAll(c.Dir, 0o700), os.MkdirAll(c.Logs, 0o755)); err != nil {
		return nil, err
	}
	if c.Size == sizeNode {
		if err := writePauseImage(c); err != nil {
			return nil, err
		}
	}
	if err := c.save(); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(c.Logs, "supervisor.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	progress, progressEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer progress.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	supervisor := exec.Command(self, "supervise", c.Dir)
	if stdin != nil { // else /dev/null
		supervisor.Stdin = stdin
	}
	supervisor.Stdout, supervisor.Stderr = log, log
	supervisor.ExtraFiles = []*os.File{progressEnd, held.File}
	supervisor.SysProcAttr = &unix.SysProcAttr{Setsid: true} // a Ctrl-C is for us: we pass it on in order
	if err := supervisor.Start(); err != nil {
		return nil, err
	}
	progressEnd.Close()

	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer signal.Stop(interrupted)
	go func() {
		if _, ok := <-interrupted; ok {
			_ = supervisor.Process.Signal(unix.SIGTERM)
		}
	}()
	last := "nothing said"
	for lines := bufio.NewScanner(progress); lines.Scan(); {
		last = lines.Text()
		if last == "ready" {
			read, err := loadConfig(c.Dir)
			if err != nil {
				return nil, err
			}
			*c = *read
			if err := c.installRegistry(); err != nil {
				_ = supervisor.Process.Signal(unix.SIGTERM)
				_ = supervisor.Wait()
				return nil, err
			}
			say("%s %q is up after %.1f s", c.Size, c.Name, time.Since(began).Seconds())
			return supervisor, nil
		}
		if strings.HasPrefix(last, "failed: ") { // the rest of the pipe is the end of some log
			for lines.Scan() {
				last += "\n" + lines.Text()
			}
			break
		}
	}
	_ = supervisor.Wait()
	return nil, fmt.Errorf("cluster %s did not start: %s", c.Name, strings.TrimPrefix(last, "failed: "))
}

// installRegistry runs a registry inside of the cluster, if that is wanted.
func (c *config) installRegistry() error {
	if c.InCluster == "" {
		return nil
	}
	// Pulled, not put on the node: AlwaysPullImages, which a test may turn on, refuses what no registry has.
	image := c.Registry.Host + "/waypost-test/registry:3"
	index, err := onlyHere(c.tool("registry"), "serve", "/etc/distribution/config.yml").index()
	if err != nil {
		return err
	}
	if err := push(index, authn.Anonymous, image); err != nil {
		return err
	}
	manifest, err := registryManifest(c, image)
	if err != nil {
		return err
	}
	kubectl := func(stdin string, args ...string) (string, error) {
		cmd := exec.Command(c.tool("kubectl"), append([]string{"--kubeconfig=" + c.Kubeconfig, "--namespace=registry"}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		output, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("kubectl %s: %w\n%s", args[0], err, output)
		}
		return string(output), err
	}
	if _, err := kubectl(manifest, "apply", "--filename=-"); err != nil {
		return err
	}
	if _, err := kubectl("", "rollout", "status", "deployment/registry", "--timeout=60s"); err != nil {
		events, _ := kubectl("", "get", "events")
		return fmt.Errorf("%w\n%s", err, events)
	}
	return nil
}

func registryManifest(c *config, image string) (string, error) {
	auth, file := "", ""
	if c.InCluster == "protected" {
		auth = "    auth: {htpasswd: {realm: waypost-test, path: /etc/distribution/htpasswd}}\n"
		line, err := htpasswd(c.Protected.Username, c.Protected.Password)
		if err != nil {
			return "", err
		}
		file = "  htpasswd: '" + strings.TrimSpace(line) + "'\n"
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Namespace
metadata: {name: registry}
---
apiVersion: v1
kind: Secret
metadata: {name: registry, namespace: registry}
stringData:
  config.yml: |
    version: 0.1
    http: {addr: ":5000"}
    storage: {filesystem: {rootdirectory: /tmp/registry}, delete: {enabled: true}}
%s%s---
apiVersion: apps/v1
kind: Deployment
metadata: {name: registry, namespace: registry}
spec:
  selector: {matchLabels: {app: registry}}
  template:
    metadata: {labels: {app: registry}}
    spec:
      containers:
        - name: registry
          image: %s
          env: [{name: OTEL_TRACES_EXPORTER, value: none}]
          ports: [{containerPort: 5000}]
          readinessProbe: {tcpSocket: {port: 5000}, periodSeconds: 1}
          volumeMounts:
            - {name: config, mountPath: /etc/distribution}
      volumes:
        - {name: config, secret: {secretName: registry}}
---
apiVersion: v1
kind: Service
metadata: {name: registry, namespace: registry}
spec:
  type: NodePort
  selector: {app: registry}
  ports: [{port: 5000, nodePort: %d}]
`, auth, file, image, nodePortRegistry), nil
}

func downCommand(args []string) error {
	flags := flag.NewFlagSet("down", flag.ContinueOnError)
	all := flags.Bool("all", false, "every cluster of this user")
	if flags.Parse(args) != nil {
		return errUsage
	}
	names := flags.Args()
	if *all {
		var err error
		if names, err = clusterNames(); err != nil {
			return err
		}
	} else if len(names) == 0 {
		names = []string{defaultName}
	}
	for _, name := range names {
		if err := down(name); err != nil {
			return err
		}
	}
	return sweep()
}

// down asks the supervisor to end and waits until it has let go of the lock.
func down(name string) error {
	asked := false
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		held, err := lockCluster(name)
		if err == nil {
			if err := clean(filepath.Join(clustersDir(), name)); err != nil {
				held.Close()
				return err
			}
			held.remove()
			if asked {
				say("%q is down", name)
			}
			return nil
		}
		if !errors.Is(err, errLocked) {
			return err
		}
		if pid := supervisorOf(name); pid > 0 && !asked {
			asked = unix.Kill(pid, unix.SIGTERM) == nil
		}
	}
	return fmt.Errorf("cluster %s does not end: see %s", name, filepath.Join(clustersDir(), name, "logs", "supervisor.log"))
}

// supervisorOf finds the process by what it runs: a number in a file may be another process's by now.
func supervisorOf(name string) int {
	dir := filepath.Join(clustersDir(), name)
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		content, _ := os.ReadFile(file)
		words := strings.Split(string(content), "\x00")
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/", &pid); err == nil && len(words) > 2 && words[1] == "supervise" && words[2] == dir && isComponent(pid) {
			return pid
		}
	}
	return 0
}

func statusCommand([]string) error {
	names, err := clusterNames()
	if err != nil {
		return err
	}
	for _, name := range names {
		state := "runs"
		if held, err := lockCluster(name); err == nil {
			state = "left behind by a run that was killed; the next command that starts or ends one removes it"
			held.Close()
		}
		c, err := loadConfig(filepath.Join(clustersDir(), name))
		if err != nil {
			c = &config{}
		}
		fmt.Printf("%s\t%s\tKubernetes %s\t%s\t%s\n", name, c.Size, c.Minor, state, c.Kubeconfig)
	}
	return nil
}

// runCommand gives a command a cluster of its own. Inside of it 127.0.0.1 is the node's: no port of two runs can collide.
func runCommand(args []string) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	var options upOptions
	minor := options.define(flags)
	if flags.Parse(args) != nil {
		return errUsage
	}
	if flags.NArg() == 0 {
		return errors.New("run: no command after --")
	}
	if err := options.complete(*minor); err != nil {
		return err
	}
	c := &options.config
	c.Name = fmt.Sprintf("run-%d", os.Getpid())
	alive, aliveEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	supervisor, err := c.up(alive)
	if err != nil {
		return err
	}
	defer func() {
		aliveEnd.Close()
		_ = supervisor.Wait()
	}()
	alive.Close()
	command := exec.Command(flags.Arg(0), flags.Args()[1:]...)
	if err := c.enter(); err != nil {
		return err
	}
	return c.attach(command)
}

func execCommand(args []string) error {
	flags := flag.NewFlagSet("exec", flag.ContinueOnError)
	onNode := flags.Bool("node", false, "on the node: with its processes and mounts too")
	name := defaultName
	if err := flags.Parse(args); err != nil {
		return errUsage
	}
	rest := flags.Args()
	if len(rest) > 0 && !slices.Contains(args[:len(args)-len(rest)], "--") {
		name, rest = rest[0], rest[1:]
		if len(rest) > 0 && rest[0] == "--" {
			rest = rest[1:]
		}
	}
	if len(rest) == 0 {
		return errors.New("exec: no command after --")
	}
	c, err := loadConfig(filepath.Join(clustersDir(), name))
	if err != nil {
		return fmt.Errorf("no cluster %s: %w", name, err)
	}
	if *onNode {
		pid, err := c.nodePID()
		if err != nil {
			return err
		}
		rest = append([]string{"nsenter", fmt.Sprintf("--target=%d", pid), "--mount", "--pid", "--ipc", "--uts", "--"}, rest...)
	}
	if err := c.enter(); err != nil {
		return err
	}
	return c.attach(exec.Command(rest[0], rest[1:]...))
}

// enter moves the main thread, and so what it starts, into the network of the cluster's node.
func (c *config) enter() error {
	if c.Size != sizeNode {
		return nil
	}
	pid, err := c.nodePID()
	if err != nil {
		return err
	}
	return enterNamespace(fmt.Sprintf("/proc/%d/ns/net", pid))
}

func (c *config) nodePID() (pid int, err error) {
	content, err := os.ReadFile(c.path("node.pid"))
	if err == nil {
		_, err = fmt.Sscan(string(content), &pid)
	}
	return pid, err
}

// attach runs a command on our terminal, with what it needs to use the cluster; it dies with us.
func (c *config) attach(command *exec.Cmd) error {
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = append(os.Environ(), c.environment()...)
	command.Env = append(command.Env, "CONTAINERD_ADDRESS="+containerdSocket, "CONTAINERD_NAMESPACE=k8s.io")
	command.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if path, err := c.lookPath(command.Args[0]); err == nil {
		command.Path, command.Err = path, nil
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	if err := command.Start(); err != nil {
		return err
	}
	go func() {
		for s := range signals {
			if s != unix.SIGINT { // a terminal has sent that one to both of us
				_ = command.Process.Signal(s)
			}
		}
	}()
	var failed *exec.ExitError
	if err := command.Wait(); errors.As(err, &failed) {
		if code := failed.ExitCode(); code > 0 {
			return exitCode(code)
		}
		return exitCode(1)
	} else if err != nil {
		return err
	}
	return nil
}

// lookPath finds the cluster's own tools first: a kubectl of the machine may be of another minor.
func (c *config) lookPath(name string) (string, error) {
	if !strings.Contains(name, "/") {
		if _, err := os.Stat(c.tool(name)); err == nil {
			return c.tool(name), nil
		}
	}
	return exec.LookPath(name)
}
