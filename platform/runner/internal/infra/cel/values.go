package cel

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// activation gives an evaluation what it names, decoding only what it reads.
type activation struct {
	sc   *domain.Scope
	item string
}

// Parent is none.
func (a activation) Parent() cel.Activation { return nil }

// ResolveName gives one root.
func (a activation) ResolveName(name string) (any, bool) {
	sc := a.sc
	switch name {
	case "inputs":
		return a.values(sc.Inputs(), func(k string) (domain.Value, bool) { return sc.Input(k) }), true
	case "vars":
		vars := sc.Vars()
		return a.values(vars, func(k string) (domain.Value, bool) { v, ok := vars[k]; return v, ok }), true
	case "steps":
		return &lazyMap{find: a.step}, true
	case "secrets":
		return &lazyMap{find: a.secret}, true
	case "trigger":
		return a.decode(sc.Trigger()), true
	case "event":
		return a.decode(sc.Event()), true
	case "run":
		return a.run(), true
	case failedName:
		return types.Bool(sc.Failed()), true
	case skippedName:
		return &lazyMap{find: func(id string) (ref.Val, bool) { return types.Bool(sc.Skipped(id)), true }}, true
	case brokenName:
		return &lazyMap{find: func(id string) (ref.Val, bool) { return types.Bool(sc.FailedStep(id)), true }}, true
	case errorName:
		return &lazyMap{find: func(id string) (ref.Val, bool) {
			e, ok := sc.ErrorOf(id)
			if !ok {
				return types.NullValue, true
			}
			return a.failure(e), true
		}}, true
	case "pass":
		index, last, ok := sc.Loop()
		if !ok {
			return nil, false
		}
		return types.DefaultTypeAdapter.NativeToValue(map[string]any{"index": int64(index), "last": a.outputs(last)}), true
	case "error":
		if sc.Error() == nil {
			return nil, false
		}
		return a.failure(sc.Error()), true
	case a.item:
		return a.decode(sc.Item()), true
	}
	return nil, false
}

// failure is what expressions see of an error.
func (a activation) failure(e *domain.StepError) ref.Val {
	m := map[string]any{"kind": e.Kind, "message": e.Message, "code": e.Code}
	if e.Details != nil {
		m["details"] = a.decode(e.Details)
	}
	return types.DefaultTypeAdapter.NativeToValue(m)
}

func (a activation) run() ref.Val {
	r, workflow, revision, ok := a.sc.Run()
	if !ok {
		return types.NullValue
	}
	return types.DefaultTypeAdapter.NativeToValue(map[string]any{
		"id": r.ID, "project": r.Project, "workflow": workflow, "revision": int64(revision), "deployment": r.Deployment,
		"trigger": r.Trigger.ID, "trigger_kind": r.Trigger.Kind, "created_at": time.UnixMicro(r.CreatedAt).UTC(),
	})
}

func (a activation) step(id string) (ref.Val, bool) {
	v, ok := a.sc.Step(id)
	if !ok {
		return nil, false
	}
	if v.TooLarge != nil {
		return types.WrapErr(v.TooLarge), true
	}
	if v.IsList {
		items := make([]ref.Val, len(v.Outputs))
		for i, o := range v.Outputs {
			items[i] = a.outputs(o)
		}
		return types.DefaultTypeAdapter.NativeToValue(items), true
	}
	if v.State != domain.StepCompleted || len(v.Outputs) == 0 {
		return a.outputs(nil), true
	}
	return a.outputs(v.Outputs[0]), true
}

func (a activation) outputs(o domain.Values) ref.Val {
	return a.values(o, func(k string) (domain.Value, bool) { v, ok := o[k]; return v, ok })
}

func (a activation) secret(name string) (ref.Val, bool) {
	s, ok := a.sc.Secret(name)
	if !ok {
		return types.WrapErr(&domain.StepError{Kind: "invalid_input", Message: "the secret " + name + " is not set in this project: set it with `pelton secret set " + name + "`"}), true
	}
	return types.String(s), true
}

func (a activation) values(v domain.Values, get func(string) (domain.Value, bool)) *lazyMap {
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return &lazyMap{keys: keys, find: func(k string) (ref.Val, bool) {
		x, ok := get(k)
		if !ok {
			return nil, false
		}
		return a.decode(x), true
	}}
}

// decode makes a CEL value of JSON, loading it from the filestore if it lies there.
func (a activation) decode(v domain.Value) ref.Val {
	if len(v) == 0 {
		return types.NullValue
	}
	v, err := a.sc.Load(v)
	if err != nil {
		return types.WrapErr(err)
	}
	dec := json.NewDecoder(bytes.NewReader(v))
	dec.UseNumber()
	var x any
	if err := dec.Decode(&x); err != nil {
		return types.WrapErr(fmt.Errorf("a value is not JSON: %w", err))
	}
	return types.DefaultTypeAdapter.NativeToValue(native(x))
}

// native turns decoded JSON into what CEL computes with: integers stay integers, a file or
// directory gets its digest as a field.
func native(x any) any {
	switch v := x.(type) {
	case json.Number:
		if i, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = native(v[i])
		}
		return v
	case map[string]any:
		for k := range v {
			v[k] = native(v[k])
		}
		for _, k := range []string{"$file", "$dir"} {
			if d, ok := v[k].(string); ok {
				v["digest"] = d
			}
		}
		return v
	}
	return x
}

// toJSON turns the result of an evaluation back into a value.
func toJSON(v ref.Val) (domain.Value, error) {
	x, err := plain(v)
	if err != nil {
		return nil, err
	}
	return marshal(x)
}

func plain(v ref.Val) (any, error) {
	switch x := v.(type) {
	case types.Null:
		return nil, nil
	case types.Bool:
		return bool(x), nil
	case types.Int:
		return int64(x), nil
	case types.Uint:
		return uint64(x), nil
	case types.Double:
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("the result is %v, which JSON cannot hold", f)
		}
		return float64(x), nil
	case types.String:
		return string(x), nil
	case types.Bytes:
		return base64.StdEncoding.EncodeToString(x), nil
	case types.Timestamp:
		return x.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00"), nil
	case types.Duration:
		return x.Duration.String(), nil
	case *types.Optional:
		if !x.HasValue() {
			return nil, nil
		}
		return plain(x.GetValue())
	case *types.Err:
		return nil, x
	case traits.Mapper:
		return plainMap(x)
	case traits.Lister:
		out := []any{}
		for it := x.Iterator(); it.HasNext() == types.True; {
			e, err := plain(it.Next())
			if err != nil {
				return nil, err
			}
			out = append(out, e)
		}
		return out, nil
	}
	return nil, fmt.Errorf("the result is a %s, which is no value that a step can take", v.Type().TypeName())
}

func plainMap(m traits.Mapper) (any, error) {
	out := map[string]any{}
	for it := m.Iterator(); it.HasNext() == types.True; {
		k := it.Next()
		e, err := plain(m.Get(k))
		if err != nil {
			return nil, err
		}
		out[fmt.Sprint(k.Value())] = e
	}
	for _, k := range []string{"$file", "$dir"} { // digest was added by native
		if d, ok := out[k]; ok && out["digest"] == d {
			delete(out, "digest")
		}
	}
	return out, nil
}

// lazyMap is a CEL map whose values are made when they are read. Without keys it cannot be
// walked: steps and secrets are read by name only.
type lazyMap struct {
	keys []string
	find func(string) (ref.Val, bool)
}

var _ traits.Mapper = (*lazyMap)(nil)

// Find looks a key up.
func (m *lazyMap) Find(key ref.Val) (ref.Val, bool) {
	s, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	return m.find(string(s))
}

// Get looks a key up; a missing one is an error.
func (m *lazyMap) Get(key ref.Val) ref.Val {
	v, ok := m.Find(key)
	if !ok {
		return types.NewErr("no such key: %v", key.Value())
	}
	return v
}

// Contains tells whether there is a key.
func (m *lazyMap) Contains(key ref.Val) ref.Val {
	v, ok := m.Find(key)
	if types.IsError(v) {
		return v
	}
	return types.Bool(ok)
}

// whole makes an ordinary map.
func (m *lazyMap) whole() ref.Val {
	out := map[string]ref.Val{}
	for _, k := range m.keys {
		v, ok := m.find(k)
		if types.IsError(v) {
			return v
		}
		if ok {
			out[k] = v
		}
	}
	return types.DefaultTypeAdapter.NativeToValue(out)
}

// Iterator walks the keys.
func (m *lazyMap) Iterator() traits.Iterator {
	return types.NewStringList(types.DefaultTypeAdapter, m.keys).Iterator()
}

// Size counts the keys.
func (m *lazyMap) Size() ref.Val { return types.Int(len(m.keys)) }

// Equal compares by value.
func (m *lazyMap) Equal(other ref.Val) ref.Val {
	if o, ok := other.(*lazyMap); ok {
		other = o.whole()
	}
	return m.whole().Equal(other)
}

// ConvertToNative converts by value.
func (m *lazyMap) ConvertToNative(t reflect.Type) (any, error) { return m.whole().ConvertToNative(t) }

// ConvertToType converts by value.
func (m *lazyMap) ConvertToType(t ref.Type) ref.Val {
	if t == types.MapType {
		return m
	}
	return m.whole().ConvertToType(t)
}

// Type is map.
func (m *lazyMap) Type() ref.Type { return types.MapType }

// Value is the map by value.
func (m *lazyMap) Value() any { return m.whole().Value() }
