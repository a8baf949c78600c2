package images

import (
	"maps"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The image contract: what runners start and wrappers read.
const (
	Wrapper = "pelton/wrapper" // path of the program
	Bundle  = "pelton/bundle"  // folder that the last layer holds whole
	Deps    = "pelton/deps"    // folder of dependencies, which the bundle links to
	user    = "65532:65532"
)

var entrypoint = []string{"/" + Wrapper, "serve", "--bundle", "/" + Bundle, "--state", "/tmp/pelton"}

// Parts of an action's image.
type Parts struct {
	Ground  v1.Image          // what it is put on: a base image, or one with dependencies
	Wrapper v1.Layer          // nil for an image that brings its own program
	Bundle  v1.Layer          // everything below Bundle; nil for an image that brings its own program
	Labels  map[string]string // beside those of the ground
}

// Compose puts an action's image together: the ground's layers, the wrapper's, and last the bundle's, so
// that a change of the code replaces one layer. It runs as a user who is not root.
func Compose(p Parts) (v1.Image, error) {
	img := p.Ground
	oci := mediaTypeOf(img)
	for _, add := range []struct {
		layer v1.Layer
		by    string
	}{{p.Wrapper, "pelton: wrapper"}, {p.Bundle, "pelton: bundle"}} {
		if add.layer == nil {
			continue
		}
		var err error
		if img, err = mutate.Append(img, mutate.Addendum{Layer: add.layer, MediaType: oci, History: v1.History{CreatedBy: add.by}}); err != nil {
			return nil, err
		}
	}
	c, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	c = c.DeepCopy()
	c.Config.Labels = maps.Clone(c.Config.Labels)
	if c.Config.Labels == nil {
		c.Config.Labels = map[string]string{}
	}
	maps.Copy(c.Config.Labels, p.Labels)
	c.Config.Env = withoutHome(c.Config.Env)
	if p.Wrapper != nil {
		c.Config.Entrypoint, c.Config.Cmd, c.Config.WorkingDir = entrypoint, nil, "/"
		c.Config.User = user
	} else if !harmless.MatchString(c.Config.User) {
		c.Config.User = user
	}
	// What a base says about its own starting and health does not hold for the wrapper.
	c.Config.Healthcheck, c.Config.OnBuild, c.Config.ArgsEscaped = nil, nil, false
	return mutate.ConfigFile(img, c)
}

// harmless is a numeric user that is not root: clusters can tell only of numbers that they are not.
var harmless = regexp.MustCompile(`^[1-9][0-9]*(:[0-9]+)?$`)

// mediaTypeOf is the type that a further layer of an image has.
func mediaTypeOf(img v1.Image) types.MediaType {
	if mt, err := img.MediaType(); err == nil && mt == types.OCIManifestSchema1 {
		return types.OCILayer
	}
	return types.DockerLayer
}

func withoutHome(env []string) (out []string) {
	for _, kv := range env {
		if !strings.HasPrefix(kv, "HOME=") {
			out = append(out, kv)
		}
	}
	return out
}
