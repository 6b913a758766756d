package main

import (
	"fmt"
	"io"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// dialer opens a connection to wherever a listener's callers are sent.
type dialer func() (net.Conn, error)

// forward sends what connects to the listener on to dial, until the listener is closed.
func forward(listener net.Listener, dial dialer) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer near.Close()
			far, err := dial()
			if err != nil {
				return
			}
			defer far.Close()
			done := make(chan struct{}, 2)
			pipe := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				if half, ok := to.(interface{ CloseWrite() error }); ok {
					_ = half.CloseWrite()
				}
				done <- struct{}{}
			}
			go pipe(far, near)
			go pipe(near, far)
			<-done
			<-done
		}()
	}
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// inNamespace calls f on a thread of the network namespace at path (/proc/PID/ns/net). The thread is not used again.
func inNamespace[T any](path string, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	answer := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: a thread whose goroutine ends locked is thrown away
		var r result
		if r.err = enterNamespace(path); r.err == nil {
			r.value, r.err = f()
		}
		answer <- r
	}()
	r := <-answer
	return r.value, r.err
}

func enterNamespace(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	return unix.Setns(fd, unix.CLONE_NEWNET)
}
