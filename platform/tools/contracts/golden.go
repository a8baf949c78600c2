package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// goldenDir holds <exchange>/<message>.<version>.binpb and .json: an encoded message and what it
// says, for every version that a message ever had. They are written once and never changed.
const goldenDir = "platform/tools/contracts/golden"

// interactions are the messages of a contract that travel alone; the others are parts of them.
func interactions(file protoreflect.FileDescriptor) []protoreflect.MessageDescriptor {
	parts := map[protoreflect.FullName]bool{}
	var note func(list protoreflect.MessageDescriptors)
	note = func(list protoreflect.MessageDescriptors) {
		for i := range list.Len() {
			for j := range list.Get(i).Fields().Len() {
				if of := list.Get(i).Fields().Get(j).Message(); of != nil {
					parts[of.FullName()] = true
				}
			}
			note(list.Get(i).Messages())
		}
	}
	note(file.Messages())
	var out []protoreflect.MessageDescriptor
	for i := range file.Messages().Len() {
		if m := file.Messages().Get(i); !parts[m.FullName()] {
			out = append(out, m)
		}
	}
	return out
}

// archive checks that the golden bytes of every version of a message decode as they did, and
// archives the present version if it says more than the last.
func archive(dir string, m protoreflect.MessageDescriptor) error {
	base := filepath.Join(dir, string(m.ParentFile().Package()), string(m.Name()))
	version, last := 0, proto.Message(nil)
	for {
		next := base + "." + strconv.Itoa(version+1)
		data, err := os.ReadFile(next + ".binpb")
		if os.IsNotExist(err) {
			break
		}
		if err != nil {
			return err
		}
		if last, err = checkGolden(m, data, next+".json"); err != nil {
			return fmt.Errorf("%s.binpb: %w", next, err)
		}
		version++
	}
	now := example(m, 0)
	if last != nil && proto.Equal(last, now) {
		return nil
	}
	return writeGolden(base+"."+strconv.Itoa(version+1), now)
}

// checkGolden decodes data as m and compares it with what it said when it was archived.
func checkGolden(m protoreflect.MessageDescriptor, data []byte, jsonFile string) (proto.Message, error) {
	got := dynamicpb.NewMessage(m)
	if err := proto.Unmarshal(data, got); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(jsonFile)
	if err != nil {
		return nil, err
	}
	want := dynamicpb.NewMessage(m)
	if err := protojson.Unmarshal(text, want); err != nil {
		return nil, fmt.Errorf("what it said cannot be said any more: %w", err)
	}
	if !proto.Equal(got, want) {
		return nil, fmt.Errorf("says %v and said %v; messages that are under way must be understood", got, want)
	}
	return got, nil
}

func writeGolden(path string, m proto.Message) error {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return err
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, text, "", "  "); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".json", append(pretty.Bytes(), '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(path+".binpb", data, 0o644) // last: with it the version is there
}

// example fills every field of a message and of its parts: lists and maps have two elements.
func example(m protoreflect.MessageDescriptor, n int) protoreflect.ProtoMessage {
	out := dynamicpb.NewMessage(m)
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		switch {
		case f.IsMap():
			v := out.NewField(f)
			for k := range 2 {
				v.Map().Set(scalar(f.MapKey(), f, k).MapKey(), element(f.MapValue(), f, k))
			}
			out.Set(f, v)
		case f.IsList():
			v := out.NewField(f)
			for k := range 2 {
				v.List().Append(element(f, f, k))
			}
			out.Set(f, v)
		default:
			out.Set(f, element(f, f, n))
		}
	}
	return out
}

func element(f, named protoreflect.FieldDescriptor, n int) protoreflect.Value {
	if f.Message() != nil {
		return protoreflect.ValueOfMessage(example(f.Message(), n).ProtoReflect())
	}
	return scalar(f, named, n)
}

// scalar is a value that tells its field, and the n-th element of a list from the others.
func scalar(f, named protoreflect.FieldDescriptor, n int) protoreflect.Value {
	number := int64(named.Number())*1000 + int64(n)
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(fmt.Sprintf("%s %d: é", named.Name(), n))
	case protoreflect.BytesKind:
		if strings.HasSuffix(string(named.Name()), "_json") {
			return protoreflect.ValueOfBytes(fmt.Appendf(nil, "{%q: [%d, null]}", named.Name(), n))
		}
		return protoreflect.ValueOfBytes([]byte{0, byte(n), 0xff})
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(-number))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(1<<40 + number)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(number))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(1<<63 + uint64(number))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(number) + 0.5)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(number) + 0.5)
	default:
		panic(fmt.Sprintf("field %s: the kind %s has no example yet; add one here", f.FullName(), f.Kind()))
	}
}
