package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
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
	if _, err := os.Stat("/sys/fs/cgroup"); err != nil {
		return fmt.Errorf("control groups are not mounted at /sys/fs/cgroup")
	}
	return nil
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
