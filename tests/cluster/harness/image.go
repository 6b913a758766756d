package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// pauseImage is put on the node without a registry. Nothing resolves its name.
const pauseImage = "cluster.waypost.test/pause:1"

const arch = runtime.GOARCH

// imageSpec says what an image is made of: one static program and nothing else.
type imageSpec struct {
	binaries  map[string]string // platform: file
	platforms []string          // in the index's order
	cmd       []string
	text      string // what the test app says; different texts make different digests
}

// program is where a binary is inside of an image.
const program = "/app"

func (s imageSpec) index() (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range s.platforms {
		parsed, err := v1.ParsePlatform(platform)
		if err != nil {
			return nil, err
		}
		image, err := s.image(s.binaries[platform], parsed)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: parsed}})
	}
	return index, nil
}

func (s imageSpec) image(binary string, platform *v1.Platform) (v1.Image, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err = errors.Join(
		w.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}),
		w.WriteHeader(&tar.Header{Name: program[1:], Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))}))
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(1))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.AppendLayers(image, layer)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Variant = platform.OS, platform.Architecture, platform.Variant
	file.Config.Entrypoint, file.Config.Cmd, file.Config.User = []string{program}, s.cmd, "65534:65534"
	if s.text != "" {
		file.Config.Env = []string{"TEXT=" + s.text}
	}
	return mutate.ConfigFile(image, file)
}

// archive writes the image as an OCI layout in a tar file, as `ctr images import` takes it.
func (s imageSpec) archive(path, reference string) error {
	index, err := s.index()
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(filepath.Dir(path), ".image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	out, err := layout.Write(scratch, empty.Index)
	if err != nil {
		return err
	}
	if err := out.AppendIndex(index, layout.WithAnnotations(map[string]string{"io.containerd.image.name": reference})); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	w := tar.NewWriter(file)
	if err := w.AddFS(os.DirFS(scratch)); err != nil {
		return err
	}
	return errors.Join(w.Close(), file.Close())
}

// writePauseImage writes what every node starts with.
func writePauseImage(c *config) error {
	if err := os.MkdirAll(c.path("images"), 0o755); err != nil {
		return err
	}
	platform := "linux/" + arch
	app, err := appArtefact(platform)
	if err != nil {
		return err
	}
	return onlyHere(app.path, "pause").archive(c.path("images", "pause.tar"), pauseImage)
}

// onlyHere is an image for this machine's platform alone.
func onlyHere(binary string, cmd ...string) imageSpec {
	platform := "linux/" + arch
	return imageSpec{binaries: map[string]string{platform: binary}, platforms: []string{platform}, cmd: cmd}
}

// push pushes the index under every reference, by plain HTTP where the registry is on this machine.
func push(index v1.ImageIndex, auth authn.Authenticator, references ...string) error {
	transport := remote.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // a machine's proxy knows nothing of its tests' registries
	for _, reference := range references {
		parsed, err := name.ParseReference(reference)
		if err != nil {
			return err
		}
		if err := remote.WriteIndex(parsed, index, remote.WithAuth(auth), remote.WithTransport(transport)); err != nil {
			return err
		}
	}
	return nil
}

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

const imageUsage = `usage: tests/cluster/cluster image [OPTION...] REFERENCE...

Makes one image and pushes it to every REFERENCE; prints the digest of its index. Without --binary its program is tests/cluster/app:
serve [ADDRESS], print [WORD...] or pause.

`

func imageCommand(args []string) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), imageUsage)
		flags.PrintDefaults()
	}
	platforms := flags.String("platforms", strings.Join(appPlatforms, ","), "`OS/ARCH,...` of the test app")
	text := flags.String("text", "", "what the app says; a different `TEXT` makes a different digest")
	var binaries list
	flags.Var(&binaries, "binary", "a static program instead of the test app, as `OS/ARCH=FILE`; once per platform")
	cmd := flags.String("cmd", "", "arguments of the program, separated by spaces")
	username := flags.String("username", "", "user of the registries")
	passwordStdin := flags.Bool("password-stdin", false, "read the user's password from standard input (else from WAYPOST_IMAGE_PASSWORD)")
	file := flags.String("archive", "", "write an OCI archive to `FILE`, named as the first REFERENCE, and push nothing")
	if flags.Parse(args) != nil {
		return errUsage
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return errUsage
	}
	spec := imageSpec{binaries: map[string]string{}, cmd: strings.Fields(*cmd), text: *text}
	if len(binaries) == 0 {
		spec.platforms = strings.Split(*platforms, ",")
		var missing []artefact
		for _, platform := range spec.platforms {
			a, err := appArtefact(platform)
			if err != nil {
				return err
			}
			spec.binaries[platform] = a.path
			missing = append(missing, a)
		}
		if err := buildAll(missing); err != nil {
			return err
		}
	}
	for _, binary := range binaries {
		platform, path, ok := strings.Cut(binary, "=")
		if !ok {
			return fmt.Errorf("--binary %s: want OS/ARCH=FILE", binary)
		}
		spec.platforms = append(spec.platforms, platform)
		spec.binaries[platform] = path
	}
	if *file != "" {
		return spec.archive(*file, flags.Arg(0))
	}
	index, err := spec.index()
	if err != nil {
		return err
	}
	auth := authn.Anonymous
	if *username != "" {
		password := os.Getenv("WAYPOST_IMAGE_PASSWORD")
		if *passwordStdin {
			content, err := io.ReadAll(os.Stdin)
			if err != nil {
				return err
			}
			password = strings.TrimRight(string(content), "\r\n")
		}
		auth = &authn.Basic{Username: *username, Password: password}
	}
	if err := push(index, auth, flags.Args()...); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err == nil {
		fmt.Println(digest)
	}
	return err
}
