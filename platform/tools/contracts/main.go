// Command contracts copies the messages that services consume from their owners, with a package
// of their own (protobuf-go refuses two Go packages of one full name in a binary; the bytes on
// the wire are the same), and checks that the owners' contracts only grow against the lock file.
//
// For each version of each message it keeps an encoded example in golden/, which must be understood
// for ever.
//
// `go run ./platform/tools/contracts` writes copies, examples of new versions and extends the lock;
// it fails, changing nothing, when a message or field was removed, renumbered or retyped.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// owners maps a service to its folder.
var owners = map[string]string{
	"authorization": "platform/authorization",
	"repository":    "platform/repository",
	"builder":       "builder",
	"studio":        "platform/studio",
	"runner":        "platform/runner",
	"bridge":        "eventing/bridge",
}

// consumers lists what each service consumes.
var consumers = map[string][]string{
	"builder":    {"repository"},
	"repository": {"builder"},
	"studio":     {"repository", "runner"},
	"runner":     {"studio", "authorization", "bridge"},
	"bridge":     {"runner", "builder", "repository"},
}

const (
	module   = "github.com/pelton-run/pelton"
	lockFile = "platform/tools/contracts/contracts.lock"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "contracts:", err)
		os.Exit(1)
	}
}

func run() error {
	if err := checkGrowth(); err != nil {
		return err
	}
	for consumer, emitters := range consumers {
		for _, emitter := range emitters {
			if err := copyContract(consumer, emitter); err != nil {
				return fmt.Errorf("copy of %s for %s: %w", emitter, consumer, err)
			}
		}
	}
	return nil
}

func source(emitter string) string {
	return filepath.Join(owners[emitter], "contracts", emitter, "v1", emitter+".proto")
}

func copyContract(consumer, emitter string) error {
	data, err := os.ReadFile(source(emitter))
	if err != nil {
		return err
	}
	dir := filepath.Join(owners[consumer], "internal/infra/contracts", emitter, "v1")
	var out strings.Builder
	fmt.Fprintf(&out, "// Copied from %s by platform/tools/contracts; edit the original.\n", source(emitter))
	for line := range strings.Lines(string(data)) {
		switch {
		case strings.HasPrefix(line, "package "):
			fmt.Fprintf(&out, "package %s.from.%s.v1;\n", consumer, emitter)
		case strings.HasPrefix(line, "option go_package"):
			fmt.Fprintf(&out, "option go_package = \"%s/%s;%sv1\";\n", module, filepath.ToSlash(dir), emitter)
		default:
			out.WriteString(line)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, emitter+".proto"), []byte(out.String()), 0o644)
}

// checkGrowth compares every field with the lock: what was once there stays as it was.
func checkGrowth() error {
	known, err := readLock()
	if err != nil {
		return err
	}
	now := map[string]string{}
	var travel []protoreflect.MessageDescriptor
	for emitter := range owners {
		c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}}
		files, err := c.Compile(context.Background(), source(emitter))
		if err != nil {
			return err
		}
		messages(files[0].Messages(), now)
		travel = append(travel, interactions(files[0])...)
	}
	var broken []string
	for key, was := range known {
		if is, ok := now[key]; !ok {
			broken = append(broken, key+" was removed; restore it (a field that is no longer filled stays declared)")
		} else if is != was {
			broken = append(broken, fmt.Sprintf("%s was %q and is %q; give the new form a new number", key, was, is))
		}
	}
	if len(broken) > 0 {
		sort.Strings(broken)
		return fmt.Errorf("contracts only grow:\n  %s", strings.Join(broken, "\n  "))
	}
	for _, m := range travel {
		if err := archive(goldenDir, m); err != nil {
			return err
		}
	}
	keys := make([]string, 0, len(now))
	for k := range now {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var out strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&out, "%s\t%s\n", k, now[k])
	}
	return os.WriteFile(lockFile, []byte(out.String()), 0o644)
}

func messages(list protoreflect.MessageDescriptors, out map[string]string) {
	for i := range list.Len() {
		m := list.Get(i)
		for j := range m.Fields().Len() {
			f := m.Fields().Get(j)
			kind := f.Kind().String()
			if f.Message() != nil {
				kind = string(f.Message().FullName())
			}
			out[fmt.Sprintf("%s#%d", m.FullName(), f.Number())] = fmt.Sprintf("%s %s %s", f.Cardinality(), kind, f.Name())
		}
		messages(m.Messages(), out)
	}
}

func readLock() (map[string]string, error) {
	known := map[string]string{}
	f, err := os.Open(lockFile)
	if os.IsNotExist(err) {
		return known, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), "\t"); ok {
			known[key] = value
		}
	}
	return known, lines.Err()
}
