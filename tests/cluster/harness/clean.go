package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func cgroupOf(dir string) string { return fmt.Sprintf("/waypost-%x", sha256.Sum256([]byte(dir)))[:17] }

// sweep removes what killed runs left behind: every cluster whose lock nobody holds.
func sweep() error {
	names, err := clusterNames()
	if err != nil {
		return err
	}
	for _, name := range names {
		held, err := lockCluster(name)
		if err != nil {
			continue // it runs
		}
		dir := filepath.Join(clustersDir(), name)
		if _, err := os.Stat(dir); err == nil {
			say("removing what is left of cluster %s", name)
		}
		if err := clean(dir); err != nil {
			held.Close()
			return err
		}
		held.remove()
	}
	return nil
}

// clean ends and removes all of a cluster whose supervisor is gone.
//
// Nearly all of it is gone by then. The components die with the supervisor (parent-death signal); a node's containers, mounts,
// interfaces and firewall rules die with its namespaces. What is left are control groups and files.
func clean(dir string) error {
	killStragglers(dir)
	if err := removeCgroups(cgroupOf(dir)); err != nil {
		return err
	}
	unmountBelow(dir)
	// Files of a node that dies may still be written for some milliseconds.
	var err error
	for range 50 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// killStragglers ends processes that work in the cluster's directory, as all components do.
func killStragglers(dir string) {
	for range 50 {
		found := false
		links, _ := filepath.Glob("/proc/[0-9]*/cwd")
		for _, link := range links {
			cwd, err := os.Readlink(link)
			if err != nil || cwd != dir {
				continue
			}
			var pid int
			if _, err := fmt.Sscanf(link, "/proc/%d/cwd", &pid); err == nil && pid != os.Getpid() && isComponent(pid) {
				found = true
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		if !found {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// isComponent tells components from, say, somebody's shell in the same directory: they run programs of our cache.
func isComponent(pid int) bool {
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && strings.HasPrefix(program, cacheDir()+"/")
}

// removeCgroups kills what is in the control groups of a node (nothing, as a rule) and removes them.
func removeCgroups(name string) error {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*" + name) // version 1: one tree per controller
	for _, root := range append(roots, "/sys/fs/cgroup"+name) {
		var err error
		for range 50 {
			var groups []string
			_ = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
				if err == nil && entry.IsDir() {
					groups = append(groups, path)
				}
				return nil
			})
			if len(groups) == 0 {
				err = nil
				break
			}
			for i := len(groups) - 1; i >= 0; i-- { // the innermost first
				killCgroup(groups[i])
				if failed := unix.Rmdir(groups[i]); failed != nil {
					err = fmt.Errorf("control group %s: %w", groups[i], failed)
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func killCgroup(path string) {
	content, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
	for line := range strings.Lines(string(content)) {
		var pid int
		if _, err := fmt.Sscan(line, &pid); err == nil && pid > 1 {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// unmountBelow detaches mounts below dir. There are none: a node's are in its own namespace. But what follows is a recursive
// removal, and that must not go through anybody's mount.
func unmountBelow(dir string) {
	content, _ := os.ReadFile("/proc/self/mountinfo")
	var points []string
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			points = append(points, fields[4])
		}
	}
	for i := len(points) - 1; i >= 0; i-- {
		_ = unix.Unmount(points[i], unix.MNT_DETACH)
	}
}
