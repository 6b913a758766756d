package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// defaultMinor is the Kubernetes minor that is used where K8S_MINOR and --kubernetes do not name one.
const defaultMinor = "1.36"

// tool is one program, built from the module that pins it.
type tool struct {
	name   string // of the file
	module string // directory under tools/
	pkg    string
	of     string // the module whose version is the tool's
}

func (t tool) version() (string, error) {
	mod, err := os.ReadFile(filepath.Join(sourceDir(), "tools", t.module, "go.mod"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mod)) {
		if fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require ")); len(fields) > 1 && fields[0] == t.of {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("tools/%s/go.mod does not pin %s", t.module, t.of)
}

// tools lists the programs of a set, in the order in which they are built.
func tools(set, minor string) ([]tool, error) {
	of := func(module, of string, packages ...string) (list []tool) {
		for _, pkg := range packages {
			list = append(list, tool{filepath.Base(pkg), module, of + pkg, of})
		}
		return list
	}
	kubernetes := func(names ...string) (list []tool) {
		for _, name := range names {
			list = append(list, of("kubernetes-"+minor, "k8s.io/kubernetes", "/cmd/"+name)...)
		}
		return list
	}
	registries := append(of("registry", "github.com/distribution/distribution/v3", "/cmd/registry"),
		of("crane", "github.com/google/go-containerregistry", "/cmd/crane")...)
	controlPlane := append([]tool{{"etcd", "etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"}},
		kubernetes("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")...)
	switch set {
	case "registries":
		return registries, nil
	case "control-plane":
		return controlPlane, nil
	case "node":
		list := append(append(controlPlane, registries...), kubernetes("kubelet", "kube-proxy")...)
		list = append(list, of("containerd", "github.com/containerd/containerd/v2", "/cmd/containerd", "/cmd/containerd-shim-runc-v2", "/cmd/ctr")...)
		return append(list, of("cni", "github.com/containernetworking/plugins",
			"/plugins/main/bridge", "/plugins/main/loopback", "/plugins/ipam/host-local", "/plugins/meta/portmap")...), nil
	case "helm":
		return of("helm", "helm.sh/helm/v4", "/cmd/helm"), nil
	case "prometheus":
		return of("prometheus", "github.com/prometheus/prometheus", "/cmd/prometheus", "/cmd/promtool"), nil
	case "images":
		return nil, nil
	}
	return nil, fmt.Errorf("no set %q: there are control-plane, registries, node, helm, prometheus, images", set)
}

func buildCommand(args []string) error {
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	minor := minorFlag(flags)
	if flags.Parse(args) != nil {
		return errUsage
	}
	sets := flags.Args()
	if len(sets) == 0 {
		sets = []string{"node"}
	}
	bin, err := build(*minor, sets...)
	if err == nil {
		fmt.Println(bin)
	}
	return err
}

func minorFlag(flags *flag.FlagSet) *string {
	minor := os.Getenv("K8S_MINOR")
	if minor == "" {
		minor = defaultMinor
	}
	return flags.String("kubernetes", minor, "minor version of Kubernetes: a tools/kubernetes-`MINOR`; default from K8S_MINOR")
}

// build makes what is missing of the sets, and gives the directory in which all of it is found by name.
func build(minor string, sets ...string) (bin string, err error) {
	if _, err := os.Stat(filepath.Join(sourceDir(), "tools", "kubernetes-"+minor)); err != nil {
		return "", fmt.Errorf("Kubernetes %s is not pinned: no tests/cluster/tools/kubernetes-%s", minor, minor)
	}
	var wanted []artefact
	seen := map[string]bool{}
	for _, set := range sets {
		list, err := tools(set, minor)
		if err != nil {
			return "", err
		}
		for _, t := range list {
			a, err := t.artefact(minor)
			if err != nil {
				return "", err
			}
			if !seen[a.path] {
				seen[a.path] = true
				wanted = append(wanted, a)
			}
		}
		if set == "node" || set == "images" {
			for _, platform := range appPlatforms {
				a, err := appArtefact(platform)
				if err != nil {
					return "", err
				}
				if !seen[a.path] {
					seen[a.path] = true
					wanted = append(wanted, a)
				}
			}
		}
	}
	if err := buildAll(wanted); err != nil {
		return "", err
	}
	// One directory of links per set of paths: a PATH entry that never changes under a running cluster.
	sum := sha256.New()
	for _, a := range wanted {
		fmt.Fprintln(sum, a.path)
	}
	bin = filepath.Join(cacheDir(), fmt.Sprintf("bin-%x", sum.Sum(nil)[:6]))
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	for _, a := range wanted {
		link := filepath.Join(bin, filepath.Base(a.path))
		if err := os.Symlink(a.path, link); err != nil && !os.IsExist(err) {
			return "", err
		}
	}
	return bin, nil
}

// artefact is one file of the cache. Its path has a key of everything that it is made of, so a file that is there is right.
type artefact struct {
	label string
	path  string
	dir   string // where go build runs
	args  []string
	env   []string
}

func (t tool) artefact(minor string) (artefact, error) {
	version, err := t.version()
	if err != nil {
		return artefact{}, err
	}
	dir := filepath.Join(sourceDir(), "tools", t.module)
	ldflags := "-s -w"
	if t.of == "k8s.io/kubernetes" {
		const stamp = " -X k8s.io/component-base/version."
		major, minor, _ := strings.Cut(minor, ".")
		ldflags += stamp + "gitVersion=" + version + stamp + "gitMajor=" + major + stamp + "gitMinor=" + minor
	}
	if t.module == "containerd" { // the kubelet shows it in the node's status
		ldflags += " -X " + t.of + "/version.Version=" + version
	}
	args := []string{"-ldflags", ldflags, t.pkg}
	key, err := keyOf(args, filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum"))
	if err != nil {
		return artefact{}, err
	}
	return artefact{
		label: t.name + " " + version,
		path:  filepath.Join(cacheDir(), "tools", t.module+"-"+version+"-"+key, t.name),
		dir:   dir, args: args,
	}, nil
}

// appPlatforms are what test images are made for unless they say otherwise.
var appPlatforms = []string{"linux/amd64", "linux/arm64"}

// appArtefact is the program inside of test images, for one platform.
func appArtefact(platform string) (artefact, error) {
	dir := filepath.Join(sourceDir(), "app")
	os_, arch, ok := strings.Cut(platform, "/")
	if !ok {
		return artefact{}, fmt.Errorf("platform %q: want os/architecture, such as linux/arm64", platform)
	}
	args := []string{"-ldflags", "-s -w", "."}
	key, err := keyOf(append(args, platform), filepath.Join(dir, "main.go"), filepath.Join(dir, "go.mod"))
	if err != nil {
		return artefact{}, err
	}
	name := "app-" + os_ + "-" + strings.ReplaceAll(arch, "/", "-")
	arch, variant, _ := strings.Cut(arch, "/")
	env := []string{"GOOS=" + os_, "GOARCH=" + arch}
	if variant != "" && arch == "arm" {
		env = append(env, "GOARM="+strings.TrimPrefix(variant, "v"))
	}
	return artefact{"test app for " + platform, filepath.Join(cacheDir(), "tools", "app-"+key, name), dir, args, env}, nil
}

func keyOf(words []string, files ...string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOARCH, words)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		sum.Write(content)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:6]), nil
}

// buildAll builds the artefacts that are missing, one after another and one run at a time: each uses every core already.
func buildAll(wanted []artefact) error {
	missing := func() (list []artefact) {
		for _, a := range wanted {
			if _, err := os.Stat(a.path); err != nil {
				list = append(list, a)
			}
		}
		return list
	}
	if len(missing()) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(cacheDir(), "tools"), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(cacheDir(), "build.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		say("another build is running: waiting for it")
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			return err
		}
	}
	list := missing()
	if len(list) == 0 {
		return nil
	}
	say("building %d of %d programs into %s (from nothing about 15 minutes on two cores)", len(list), len(wanted), cacheDir())
	for i, a := range list {
		began := time.Now()
		fmt.Fprintf(os.Stderr, "cluster: [%d/%d] %s … ", i+1, len(list), a.label)
		if err := a.build(); err != nil {
			fmt.Fprintln(os.Stderr, "failed")
			return fmt.Errorf("building %s: %w", a.label, err)
		}
		fmt.Fprintf(os.Stderr, "%.0f s\n", time.Since(began).Seconds())
	}
	return nil
}

// build compiles into a directory beside the final place and renames: nobody ever sees half a program.
func (a artefact) build() error {
	if err := os.MkdirAll(filepath.Dir(a.path), 0o755); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(filepath.Dir(a.path), ".build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	made := filepath.Join(scratch, filepath.Base(a.path))
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-o", made}, a.args...)...)
	cmd.Dir = a.dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off")
	cmd.Env = append(cmd.Env, a.env...)
	var tail tailWriter
	cmd.Stdout, cmd.Stderr = &tail, &tail
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, tail.String())
	}
	return os.Rename(made, a.path)
}

// tailWriter keeps the end of what a program said.
type tailWriter struct{ kept []byte }

const tailBytes = 4096

func (w *tailWriter) Write(p []byte) (int, error) {
	w.kept = append(w.kept, p...)
	if over := len(w.kept) - tailBytes; over > 0 {
		w.kept = w.kept[over:]
	}
	return len(p), nil
}

func (w *tailWriter) String() string { return string(w.kept) }

// tailOf is the end of a file, for error messages.
func tailOf(path string, lines int) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil && size > 4*tailBytes {
		_, _ = f.Seek(-4*tailBytes, io.SeekEnd)
	} else {
		_, _ = f.Seek(0, io.SeekStart)
	}
	content, _ := io.ReadAll(f)
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
