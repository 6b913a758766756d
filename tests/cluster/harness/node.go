package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// nodeInitCommand is process 1 of a node's namespaces (processes, mounts, network, IPC, host name). When it ends, the kernel
// kills every container, undoes every mount and removes bridge, interfaces and firewall rules.
func nodeInitCommand(args []string) error {
	unix.CloseOnExec(progressFD)
	progress := os.NewFile(progressFD, "progress")
	c, err := loadConfig(args[0])
	if err != nil {
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM, unix.SIGINT)
	go endWithInput(end)
	err = func() error {
		if err := isolate(c); err != nil {
			return err
		}
		if err := network(); err != nil {
			return err
		}
		if err := writeNodeConfig(c); err != nil {
			return err
		}
		for socket, port := range map[string]int{"registry.sock": c.Ports.Registry, "protected.sock": c.Ports.Protected} {
			listener, err := net.Listen("tcp", loopback(port))
			if err != nil {
				return err
			}
			go forward(listener, unixDialer(socket))
		}
		all := newProcesses(c, componentEnvironment(c)) // from here on, it alone waits for children
		if err := startComponents(c, all, progress); err != nil {
			return err
		}
		progress.Close()
		return attend(all, end)
	}()
	if err != nil {
		fmt.Fprintln(progress, "failed:", err)
	}
	return err
}

// Where the node keeps what must not be seen by the rest of the machine.
const (
	runDir           = "/run/waypost"
	containerdSocket = "/run/containerd/containerd.sock"
)

// isolate gives this process mounts of its own: its /proc, an empty /run (sockets, network namespaces of Pods, xtables.lock),
// and /var/lib and /var/log to which nothing is really written: some paths in kubelet and containerd are fixed.
func isolate(c *config) error {
	mount := func(source, target, kind string, flags uintptr, options string) error {
		if err := unix.Mount(source, target, kind, flags, options); err != nil {
			return fmt.Errorf("mount %s on %s: %w", source, target, err)
		}
		return nil
	}
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	// Our own files must be visible where they were, also if they are below /run or /var.
	keep := map[string]int{}
	for _, dir := range []string{c.Dir, c.Logs, cacheDir()} {
		fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		keep[dir] = fd
	}
	if err := mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	for _, dir := range []string{"/var/lib", "/var/log"} {
		upper, work := filepath.Join(runDir, dir, "upper"), filepath.Join(runDir, dir, "work")
		if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
			return err
		}
		if err := mount("overlay", dir, "overlay", 0, "lowerdir="+dir+",upperdir="+upper+",workdir="+work); err != nil {
			return err
		}
	}
	for dir, fd := range keep {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.MoveMount(fd, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		unix.Close(fd)
	}
	// The working directory is still the one under the old mounts.
	if err := os.Chdir(c.Dir); err != nil {
		return err
	}
	// The kubelet insists on settings that are the whole machine's (a panic would reboot it). Give it files to write to.
	for setting, value := range map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	} {
		file := filepath.Join(runDir, "sysctl", strings.ReplaceAll(setting, "/", "."))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(value+"\n"), 0o644)); err != nil {
			return err
		}
		if err := mount(file, "/proc/sys/"+setting, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return unix.Sethostname([]byte(nodeName))
}

// network makes the node's: loopback, an address for the node that is not loopback (Pods and Services need one), a route so
// that connections to ClusterIPs leave the socket layer at all, and nothing that leads out.
func network() error {
	for _, arguments := range []string{
		"link set lo up",
		"link add node0 type bridge", // stands in for a network card
		"addr add " + nodeIP + "/24 dev node0",
		"link set node0 up",
		"route add " + serviceCIDR + " dev node0",
	} {
		if output, err := exec.Command("ip", strings.Fields(arguments)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", arguments, err, output)
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}

func writeNodeConfig(c *config) error {
	for path, content := range map[string]string{
		c.path("containerd.toml"):             containerdConfig(c),
		c.path("cni", "net.d", "10.conflist"): cniConfig(c),
		c.path("kubelet.yaml"):                kubeletConfig(c),
		c.path("resolv.conf"):                 "",
		c.path("manifests", "README"):         "a Pod's manifest here, NAME.yaml, is a static Pod of the node\n",
		c.path("registry.d", "README"):        "NAME/hosts.toml here says where containerd finds registry NAME\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			return err
		}
	}
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs") // version 1: one tree per controller
	for _, root := range append(roots, "/sys/fs/cgroup/cgroup.procs") {
		if _, err := os.Stat(root); err != nil {
			continue
		}
		group := filepath.Join(filepath.Dir(root), c.cgroup())
		if err := os.Mkdir(group, 0o755); err != nil && !os.IsExist(err) {
			return err
		}
		// A group of version 1 that is to have processes needs its processors and memory nodes set.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if content, err := os.ReadFile(filepath.Join(filepath.Dir(root), file)); err == nil {
				_ = os.WriteFile(filepath.Join(group, file), content, 0o644)
			}
		}
	}
	return nil
}

// snapshotter is overlayfs, but where the file system below cannot carry it (in a container, often) a copy of every layer.
func snapshotter(c *config) string {
	probe := c.path("overlay-probe")
	defer os.RemoveAll(probe)
	dirs := []any{filepath.Join(probe, "lower"), filepath.Join(probe, "upper"), filepath.Join(probe, "work")}
	for _, dir := range dirs {
		if os.MkdirAll(dir.(string), 0o755) != nil {
			return "native"
		}
	}
	target := filepath.Join(probe, "merged")
	if os.MkdirAll(target, 0o755) != nil ||
		unix.Mount("overlay", target, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dirs...)) != nil {
		return "native"
	}
	_ = unix.Unmount(target, 0)
	return "overlayfs"
}

func containerdConfig(c *config) string {
	return fmt.Sprintf(`version = 3
root = %q
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]

[grpc]
address = %q

[plugins.'io.containerd.cri.v1.images']
snapshotter = %q

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = %q

[plugins.'io.containerd.cri.v1.images'.registry]
config_path = %q

# A container of its own, as many a CI machine is, has no right to lower the score.
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [%q]
conf_dir = %q

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
`, c.path("containerd"), containerdSocket, snapshotter(c), pauseImage, c.path("registry.d"), c.Bin, c.path("cni", "net.d"))
}

func cniConfig(c *config) string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge", "bridge": "pods0", "isGateway": true, "hairpinMode": true,
      "ipam": {
        "type": "host-local", "dataDir": %q,
        "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, c.path("cni", "data"), podCIDR)
}

func kubeletConfig(c *config) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  x509: {clientCAFile: %[1]s/pki/ca.crt}
tlsCertFile: %[1]s/pki/kubelet.crt
tlsPrivateKeyFile: %[1]s/pki/kubelet.key
containerRuntimeEndpoint: unix://%[2]s
podLogsDir: %[3]s/pods
volumePluginDir: %[1]s/volume-plugins
resolvConf: %[1]s/resolv.conf
staticPodPath: %[1]s/manifests
serializeImagePulls: false
# A mounted ConfigMap or Secret that changed is in its Pods after this instead of a minute.
syncFrequency: 10s
# Any machine will do: control groups of either version, no systemd, swap, a full disk.
cgroupDriver: cgroupfs
cgroupRoot: %[4]s
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
imageGCHighThresholdPercent: 100
evictionHard: {imagefs.available: "0%%", nodefs.available: "0%%", nodefs.inodesFree: "0%%"}
`, c.Dir, containerdSocket, c.Logs, c.cgroup())
}

// starter starts a component by its name.
type starter func(name string, flags ...string) error

func startContainerd(c *config, start starter) error {
	return start("containerd", "--config="+c.path("containerd.toml"))
}

// importImages puts the images on the node that no registry can give it.
func importImages(c *config, all *processes, progress io.Writer) error {
	if err := all.await("containerd", time.Minute, func() error {
		conn, err := net.Dial("unix", containerdSocket)
		if err == nil {
			conn.Close()
		}
		return err
	}); err != nil {
		return err
	}
	files, err := filepath.Glob(c.path("images", "*.tar"))
	if err != nil {
		return err
	}
	for _, file := range files {
		fmt.Fprintln(progress, "importing", strings.TrimSuffix(filepath.Base(file), ".tar"))
		if err := all.run("ctr", c.tool("ctr"), "--address="+containerdSocket, "--namespace=k8s.io", "images", "import",
			"--platform=linux/"+arch, file); err != nil {
			return fmt.Errorf("%w\n%s", err, tailOf(filepath.Join(c.Logs, "ctr.log"), 5))
		}
	}
	return nil
}

func startKubelet(c *config, start starter) error {
	if err := start("kubelet", "--config="+c.path("kubelet.yaml"), "--kubeconfig="+c.path("kubelet.kubeconfig"),
		"--root-dir="+c.path("kubelet"), "--hostname-override="+nodeName, "--node-ip="+nodeIP); err != nil {
		return err
	}
	// iptables, because nftables mode does not serve NodePorts on 127.0.0.1; masquerade-all, so that a Pod that calls another
	// through a Service is answered through it also where the kernel has no br_netfilter.
	return start("kube-proxy", "--kubeconfig="+c.path("kube-proxy.kubeconfig"), "--hostname-override="+nodeName,
		"--proxy-mode=iptables", "--masquerade-all", "--cluster-cidr="+podCIDR, "--iptables-min-sync-period=100ms",
		"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0")
}
