// Command app is the one program inside of the test images: it waits, prints, serves or asks.
//
// It has no dependency and needs no file beside it, so that an image of it is a single static binary; it is the cluster's
// pause image, too.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const usage = `usage: app serve [ADDRESS] | app print [WORD...] | app get URL | app pause`

func main() {
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"serve"}
	}
	switch args[0] {
	case "serve":
		serve(args[1:])
	case "print":
		fmt.Println(text(args[1:]))
	case "get":
		os.Exit(get(args[1:]))
	case "pause":
		pause()
	default:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
}

// serve answers every request with the image's text and the Pod's name, at ADDRESS (default :8080).
func serve(args []string) {
	address := ":8080"
	if len(args) > 0 {
		address = args[0]
	}
	go func() {
		host, _ := os.Hostname()
		http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, text(nil), "from", host) })
		fmt.Fprintln(os.Stderr, http.ListenAndServe(address, nil))
		os.Exit(1)
	}()
	pause()
}

// get prints what a URL answers: how a Pod sees a Service.
func get(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, usage)
		return 2
	}
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil || response.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, response.Status, err)
		return 1
	}
	return 0
}

// pause waits for the end: process 1 gets no default signal handlers, so without this a Pod takes 30 s to be deleted.
func pause() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
}

// text is the words given, or what the image was built to say.
func text(words []string) string {
	if len(words) > 0 {
		return strings.Join(words, " ")
	}
	return os.Getenv("TEXT")
}
