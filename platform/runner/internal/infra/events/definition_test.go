package events

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	studiov1 "github.com/pelton-run/pelton/platform/runner/internal/infra/contracts/studio/v1"
)

// fill sets every field of a message to something.
func fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsMap():
			v := m.Mutable(f).Map().NewValue()
			if f.MapValue().Message() != nil {
				fill(v.Message())
			} else {
				v = protoreflect.ValueOfString("1")
			}
			m.Mutable(f).Map().Set(protoreflect.ValueOfString("k").MapKey(), v)
		case f.IsList():
			l := m.Mutable(f).List()
			if f.Message() != nil {
				fill(l.AppendMutable().Message())
			} else {
				l.Append(protoreflect.ValueOfString("x"))
			}
		case f.Message() != nil:
			fill(m.Mutable(f).Message())
		default:
			m.Set(f, some(f.Kind()))
		}
	}
}

func some(k protoreflect.Kind) protoreflect.Value {
	switch k {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("x")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("1"))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(7)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(7)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(7)
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	}
	panic(k)
}

// empty lists the fields that are zero.
func empty(v reflect.Value, at string) (out []string) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return []string{at}
		}
		return empty(v.Elem(), at)
	case reflect.Struct:
		for i := range v.NumField() {
			out = append(out, empty(v.Field(i), at+"."+v.Type().Field(i).Name)...)
		}
		return out
	case reflect.Slice:
		if v.Len() == 0 {
			return []string{at}
		}
		if v.Type().Elem().Kind() == reflect.Struct {
			for i := range v.Len() {
				out = append(out, empty(v.Index(i), fmt.Sprintf("%s[%d]", at, i))...)
			}
		}
		return out
	}
	if v.IsZero() {
		return []string{at}
	}
	return nil
}

// TestEveryFieldArrives: nothing of a revision is lost between the message and the runner.
func TestEveryFieldArrives(t *testing.T) {
	var d studiov1.Definition
	fill(d.ProtoReflect())
	require.Empty(t, empty(reflect.ValueOf(definition(&d)), "definition"))
}
