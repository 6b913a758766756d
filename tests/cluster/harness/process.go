package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// processes starts the components of a cluster, waits for all of their ends, and starts again what ended by itself.
//
// It collects every child of this process, also ones it never started: as process 1 of a node it inherits containerd's shims.
type processes struct {
	dir     string // working directory of all; leftovers are known by it
	logs    string
	env     []string
	mu      sync.Mutex
	running map[int]*process
	ended   chan *process
}

type process struct {
	name     string
	argv     []string
	pid      int
	status   unix.WaitStatus
	done     chan struct{}
	restarts int
	once     bool // a command, not a component
}

func newProcesses(c *config, env []string) *processes {
	p := &processes{dir: c.Dir, logs: c.Logs, env: env, running: map[int]*process{}, ended: make(chan *process, 64)}
	go p.collect()
	return p
}

// start runs a component, which is to run until the cluster's end. Call it from the main thread.
func (p *processes) start(name string, argv ...string) error {
	_, err := p.spawn(&process{name: name, argv: argv})
	return err
}

// run runs a command to its end; its output goes to NAME.log. Call it from the main thread.
func (p *processes) run(name string, argv ...string) error {
	child, err := p.spawn(&process{name: name, argv: argv, once: true})
	if err != nil {
		return err
	}
	<-child.done
	if code := child.status.ExitStatus(); code != 0 {
		return fmt.Errorf("%s: exit status %d", name, code)
	}
	return nil
}

func (p *processes) spawn(child *process) (*process, error) {
	log, err := os.OpenFile(filepath.Join(p.logs, child.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	child.done = make(chan struct{})
	cmd := exec.Command(child.argv[0], child.argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, log, log
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	p.mu.Lock() // so that collect does not look for a child that is not in the table yet
	defer p.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	child.pid = cmd.Process.Pid
	p.running[child.pid] = child
	return child, nil
}

func (p *processes) collect() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil { // no children at the moment
			time.Sleep(20 * time.Millisecond)
			continue
		}
		p.mu.Lock()
		child := p.running[pid]
		delete(p.running, pid)
		p.mu.Unlock()
		if child != nil {
			child.status = status
			close(child.done)
			if !child.once {
				p.ended <- child
			}
		}
	}
}

// maxRestarts ends a cluster one of whose components cannot live.
const maxRestarts = 20

// restart starts a component that ended: a test may kill one to see what becomes of a cluster without it.
func (p *processes) restart(child *process) error {
	say("%s ended: %s", child.name, describe(child.status))
	if child.restarts >= maxRestarts {
		return fmt.Errorf("%s ended %d times", child.name, maxRestarts+1)
	}
	time.Sleep(time.Second)
	_, err := p.spawn(&process{name: child.name, argv: child.argv, restarts: child.restarts + 1})
	return err
}

// await polls until ready says so; a component that ends meanwhile is the answer, too.
func (p *processes) await(what string, limit time.Duration, ready func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case child := <-p.ended:
			return fmt.Errorf("%s ended while %s was awaited: %s\n%s", child.name, what, describe(child.status),
				tailOf(filepath.Join(p.logs, child.name+".log"), 15))
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no %s within %s: %w", what, limit, err)
		}
	}
}

// kill ends all components at once. Nothing of a cluster is worth an orderly end: its state is thrown away.
func (p *processes) kill() {
	p.mu.Lock()
	var all []*process
	for pid, child := range p.running {
		all = append(all, child)
		_ = unix.Kill(-pid, unix.SIGKILL)
	}
	p.mu.Unlock()
	for _, child := range all {
		select {
		case <-child.done:
		case <-time.After(5 * time.Second):
		}
	}
}

func describe(status unix.WaitStatus) string {
	if status.Signaled() {
		return status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}
