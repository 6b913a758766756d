// Command reference prints what the Go reference implementation makes of each line of standard input, in the JSON of
// `waypost reference`; a refused line is {"input":…,"error":true}. The test `reference_conformance` compares the two.
package main

import (
	"bufio"
	// The algorithms that go-digest accepts are those whose packages are linked in: all three are in the kubelet and in
	// containerd, which serve TLS.
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
	"strings"

	"github.com/distribution/reference"
)

type parsed struct {
	Input      string `json:"input"`
	Registry   string `json:"registry"`
	Repository string `json:"repository"`
	Tag        string `json:"tag,omitempty"`
	Digest     string `json:"digest,omitempty"`
	Canonical  string `json:"canonical"`
	Familiar   string `json:"familiar"`
}

type refused struct {
	Input string `json:"input"`
	Error bool   `json:"error"`
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for {
		line, err := in.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			log.Fatal(err)
		}
		if line == "" {
			break
		}
		if err := encoder.Encode(read(strings.TrimSuffix(line, "\n"))); err != nil {
			log.Fatal(err)
		}
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}

func read(input string) any {
	named, err := reference.ParseNormalizedNamed(input)
	if err != nil {
		return refused{Input: input, Error: true}
	}
	answer := parsed{
		Input:      input,
		Registry:   reference.Domain(named),
		Repository: reference.Path(named),
		Canonical:  named.String(),
		Familiar:   reference.FamiliarString(named),
	}
	if tagged, ok := named.(reference.Tagged); ok {
		answer.Tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		answer.Digest = digested.Digest().String()
	}
	return answer
}
