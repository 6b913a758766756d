package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// needs are the programs of a node that a package manager has to give: a runc of our own would lack seccomp.
var needs = []struct{ program, pkg string }{
	{"runc", "runc"}, {"iptables", "iptables"}, {"iptables-restore", "iptables"}, {"ip", "iproute2"}, {"nsenter", "util-linux"},
}

// packageManagers are tried in this order; $ is where the packages go.
var packageManagers = []struct{ program, command string }{
	{"apt-get", "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $"},
	{"dnf", "dnf install -y $"},
	{"zypper", "zypper --non-interactive install $"},
	{"apk", "apk add $"},
	{"pacman", "pacman -Sy --noconfirm $"},
}

// exitSkipped is preflight's status where tests are to be left out, as against 1 where that is a failure.
const exitSkipped = 3

// preflightCommand answers 0 where this machine can run a node, else says why not: with status 1 under CI=true, else 3.
func preflightCommand(args []string) error {
	flags := flag.NewFlagSet("preflight", flag.ContinueOnError)
	install := flags.Bool("install", false, "install what is missing, with the system's package manager")
	if flags.Parse(args) != nil {
		return errUsage
	}
	err := preflight(*install)
	if err == nil {
		return nil
	}
	say("no node on this machine: %v", err)
	if os.Getenv("CI") == "true" {
		return exitCode(1)
	}
	return exitCode(exitSkipped)
}

func preflight(install bool) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("a node needs root (namespaces, mounts, firewall rules of its own)")
	}
	missing := missingPackages()
	if len(missing) > 0 && install {
		if err := installPackages(missing); err != nil {
			return err
		}
		missing = missingPackages()
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing: %s", strings.Join(missing, ", "))
	}
	// Root in a container is often root by name only.
	probe := exec.Command("true")
	probe.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET}
	if err := probe.Run(); err != nil {
		return fmt.Errorf("no namespaces can be made here: %w", err)
	}
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.controllers"); err != nil {
		root += "/memory" // version 1: one tree per controller
	}
	group := root + cgroupOf(fmt.Sprint("preflight", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		return fmt.Errorf("no control groups can be made here: %w", err)
	}
	return unix.Rmdir(group)
}

func missingPackages() (packages []string) {
	seen := map[string]bool{}
	for _, need := range needs {
		if _, err := exec.LookPath(need.program); err != nil && !seen[need.pkg] {
			seen[need.pkg] = true
			packages = append(packages, need.pkg)
		}
	}
	return packages
}

func installPackages(packages []string) error {
	for _, manager := range packageManagers {
		if _, err := exec.LookPath(manager.program); err != nil {
			continue
		}
		say("installing %s with %s", strings.Join(packages, ", "), manager.program)
		var tail tailWriter
		cmd := exec.Command("sh", "-c", strings.ReplaceAll(manager.command, "$", strings.Join(packages, " ")))
		cmd.Stdout, cmd.Stderr = &tail, &tail
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s could not install %s: %w\n%s", manager.program, strings.Join(packages, ", "), err, tail.String())
		}
		return nil
	}
	return fmt.Errorf("missing: %s, and no package manager that is known", strings.Join(packages, ", "))
}
