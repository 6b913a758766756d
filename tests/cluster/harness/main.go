// Command harness builds, starts and ends the Kubernetes clusters that Waypost is tested in. tests/cluster/README.md is its manual.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

const usage = `usage: tests/cluster/cluster COMMAND [OPTION...]

  build [SET...]          build what is missing of control-plane, registries, node (default), helm, prometheus, images
  up [OPTION...]          start a cluster; prints the shell lines that use it
  down [NAME... | --all]  end it, and leave nothing behind
  run [OPTION...] -- CMD  start a cluster of its own for CMD, run CMD inside of its network, end it
  exec [NAME] -- CMD      run CMD inside of a running cluster's network (--node: on its node)
  status                  list clusters
  preflight [--install]   say (or install) what a node needs of this machine
  image [OPTION...] REF   make a small runnable image of several platforms and push it

COMMAND --help lists its options.
`

// errUsage has been printed already.
var errUsage = errors.New("usage")

func init() {
	// A child gets the parent-death signal when the *thread* that started it ends: all are started here, on the main one.
	runtime.LockOSThread()
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	commands := map[string]func([]string) error{
		"build": buildCommand, "up": upCommand, "down": downCommand, "run": runCommand, "exec": execCommand,
		"status": statusCommand, "preflight": preflightCommand, "image": imageCommand,
		"supervise": superviseCommand, "node-init": nodeInitCommand,
	}
	command, known := commands[os.Args[1]]
	if !known {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	// Where iptables and its like are is not on every root's PATH.
	_ = os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
	var code exitCode
	switch err := command(os.Args[2:]); {
	case err == nil:
	case errors.As(err, &code):
		os.Exit(int(code))
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// exitCode is the status of a command that has said everything already.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit status %d", int(c)) }

// say tells a human how far things are; what programs read goes to standard output.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "cluster: "+format+"\n", args...) }

// cacheDir holds what is built once for all checkouts and clusters of a user.
func cacheDir() string { return filepath.Join(baseDir("XDG_CACHE_HOME", ".cache"), "cluster") }

// clustersDir holds one directory and one lock per cluster.
func clustersDir() string {
	return filepath.Join(baseDir("XDG_STATE_HOME", ".local/state"), "clusters")
}

func baseDir(variable, fallback string) string {
	base := os.Getenv(variable)
	if !filepath.IsAbs(base) { // relative ones are to be ignored, says the XDG specification
		base = filepath.Join(os.Getenv("HOME"), fallback)
	}
	return filepath.Join(base, "waypost")
}

// sourceDir is tests/cluster of the checkout that is used.
func sourceDir() string { return os.Getenv("WAYPOST_CLUSTER_SOURCE") }
