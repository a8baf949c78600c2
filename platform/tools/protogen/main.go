// Command protogen generates the Go code of every .proto of the module: it compiles them with
// protocompile and runs the pinned protoc plugins. `go run ./platform/tools/protogen`.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugins are the pinned generators.
var plugins = map[string]string{
	"protoc-gen-go":         "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
	"protoc-gen-go-grpc":    "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.0",
	"protoc-gen-go-vtproto": "github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto@v0.6.0",
}

// patterns are the places of .proto files; services in them get gRPC code.
var patterns = []string{
	"wrapper/proto/wrapper/v1/*.proto",
	"*/contracts/*/v1/*.proto",
	"platform/*/contracts/*/v1/*.proto",
	"eventing/*/contracts/*/v1/*.proto",
	"*/internal/infra/contracts/*/v1/*.proto",
	"platform/*/internal/infra/contracts/*/v1/*.proto",
	"eventing/*/internal/infra/contracts/*/v1/*.proto",
}

const module = "github.com/pelton-run/pelton"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx := context.Background()
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		sort.Strings(files)
		for _, file := range files {
			if err := generate(ctx, file); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

func generate(ctx context.Context, file string) error {
	// SourceInfo carries the comments into the generated code.
	c := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := c.Compile(ctx, file)
	if err != nil {
		return err
	}
	fd := protoutil.ProtoFromFileDescriptor(files[0])
	if err := plugin(ctx, "protoc-gen-go", fd, ""); err != nil {
		return err
	}
	if strings.HasPrefix(file, "wrapper/") { // messages on the path of every step: coded without reflection
		if err := plugin(ctx, "protoc-gen-go-vtproto", fd, ",features=marshal+unmarshal+size"); err != nil {
			return err
		}
	}
	if len(fd.GetService()) > 0 {
		return plugin(ctx, "protoc-gen-go-grpc", fd, "")
	}
	return nil
}

func plugin(ctx context.Context, name string, fd *descriptorpb.FileDescriptorProto, options string) error {
	req, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{fd.GetName()},
		Parameter:      proto.String("module=" + module + options),
		ProtoFile:      []*descriptorpb.FileDescriptorProto{fd},
	})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "run", plugins[name])
	cmd.Stdin, cmd.Stderr = bytes.NewReader(req), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var resp pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &resp); err != nil {
		return err
	}
	if resp.Error != nil {
		return fmt.Errorf("%s: %s", name, resp.GetError())
	}
	for _, f := range resp.File {
		if err := os.MkdirAll(filepath.Dir(f.GetName()), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(f.GetName(), []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
