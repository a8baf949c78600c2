package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/server"
)

const (
	root   = "../../.."
	golden = root + "/platform/tools/contracts/golden"
)

func TestPageIsCurrent(t *testing.T) {
	messages, err := read(root)
	require.NoError(t, err)
	want, err := render(messages, server.Queues())
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(root, page))
	require.NoError(t, err)
	require.Equal(t, want, string(got), "go run ./platform/tools/messages")
}

func TestQueueOfWhatNobodyEmits(t *testing.T) {
	_, err := render([]message{{"studio", "studio.v1", "WorkflowDeployed", ""}}, []bus.Queue{{Name: "runner.x", Exchange: "studio.v1", Keys: []string{"WorkflowDeployde"}}})
	require.EqualError(t, err, "queue runner.x takes WorkflowDeployde of studio.v1, which has no such message")
}

// TestGolden: what was ever sent is understood by the type of its emitter and by those of its consumers, and so is what a
// later version adds to it.
func TestGolden(t *testing.T) {
	messages, err := read(root)
	require.NoError(t, err)
	expected := map[string]bool{}
	for _, m := range messages {
		expected[m.exchange+"/"+m.key] = true
		types := []protoreflect.FullName{protoreflect.FullName(m.exchange + "." + m.key)}
		for _, q := range server.Queues() {
			if q.Exchange == m.exchange && slices.Contains(q.Keys, m.key) {
				consumer, _, _ := strings.Cut(q.Name, ".")
				if strings.HasPrefix(m.exchange, consumer+".") {
					continue // who takes its own messages reads them by its own type
				}
				types = append(types, protoreflect.FullName(consumer+".from."+m.exchange+"."+m.key))
			}
		}
		base := filepath.Join(golden, m.exchange, m.key)
		for version := 1; ; version++ {
			data, err := os.ReadFile(base + "." + strconv.Itoa(version) + ".binpb")
			if os.IsNotExist(err) {
				require.Greater(t, version, 1, "%s.%s has no golden bytes: go run ./platform/tools/contracts", m.exchange, m.key)
				break
			}
			require.NoError(t, err)
			says, err := os.ReadFile(base + "." + strconv.Itoa(version) + ".json")
			require.NoError(t, err)
			for _, name := range types {
				understands(t, name, data, says)
			}
		}
	}
	archived := map[string]bool{}
	files, err := filepath.Glob(golden + "/*/*.binpb")
	require.NoError(t, err)
	for _, f := range files {
		name, _, _ := strings.Cut(filepath.Base(f), ".")
		archived[filepath.Base(filepath.Dir(f))+"/"+name] = true
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(expected)), slices.Collect(maps.Keys(archived)), "every message that travels alone says its key in its comment")
}

func understands(t *testing.T, name protoreflect.FullName, data, says []byte) {
	t.Helper()
	typ, err := protoregistry.GlobalTypes.FindMessageByName(name)
	require.NoError(t, err, name)
	got, want := typ.New().Interface(), typ.New().Interface()
	require.NoError(t, proto.Unmarshal(data, got), name)
	require.NoError(t, protojson.Unmarshal(says, want), name)
	require.True(t, proto.Equal(want, got), "%s: says %v, said %v", name, got, want)

	later := protowire.AppendString(protowire.AppendTag(slices.Clone(data), 5000, protowire.BytesType), "of a later version")
	require.NoError(t, proto.Unmarshal(later, got), name)
	got.ProtoReflect().SetUnknown(nil)
	require.True(t, proto.Equal(want, got), "%s: a field of a later version changes what is understood", name)
}
