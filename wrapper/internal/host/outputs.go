package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelton-run/pelton/wrapper/internal/blob"
	"github.com/pelton-run/pelton/wrapper/internal/frame"
	"github.com/pelton-run/pelton/wrapper/internal/values"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// results checks, stores and tells results.
func (j *job) results(results []map[string]json.RawMessage, list bool) error {
	j.list = j.list || list
	for _, r := range results {
		vals, err := j.outgoing(r)
		if err != nil {
			j.clean = true
			return err
		}
		j.tell(&pb.FromAction{Body: &pb.FromAction_Output{Output: &pb.Output{Index: j.outputs, Values: vals, List: list}}})
		j.outputs++
		if limit := j.start.GetMaxOutputs(); limit > 0 && j.outputs > uint64(limit) {
			return failf("invalid_output", "the handler returned more than %d results", limit)
		}
	}
	return nil
}

func (j *job) event(m *frame.Message) error {
	if len(m.Values) != 1 {
		return failf("invalid_output", "an event has exactly one set of values")
	}
	vals, err := j.outgoing(m.Values[0])
	if err != nil {
		return err
	}
	j.tell(&pb.FromAction{Body: &pb.FromAction_Output{Output: &pb.Output{
		Index: j.outputs, Values: vals, EventSeq: m.EventSeq, EventKey: m.EventKey, Cursor: m.Cursor,
	}}})
	j.outputs++
	return nil
}

// outgoing checks one result against the metadata, puts its files and large values.
func (j *job) outgoing(r map[string]json.RawMessage) (map[string][]byte, error) {
	outputs := append(slices.Clip(j.host.cfg.Bundle.Outputs), j.dynamic...)
	if err := values.Output(outputs, r, j.host.cfg.Bundle.DynamicOutputs); err != nil {
		return nil, &failure{kind: "invalid_output", message: err.Error(), field: err.Field}
	}
	out := make(map[string][]byte, len(r))
	for name, raw := range r {
		out[name] = raw
	}
	for _, it := range outputs {
		raw := out[it.Name]
		if (it.Type != "file" && it.Type != "directory") || len(raw) == 0 || raw[0] != '"' {
			continue
		}
		ref, err := j.putFile(it.Name, it.Type, raw)
		if err != nil {
			return nil, err
		}
		out[it.Name] = ref
	}
	for name, raw := range out {
		if len(raw) <= refAbove {
			out[name] = j.mask.JSON(raw)
			continue
		}
		if j.store == nil {
			return nil, &failure{kind: "invalid_output", message: name + ": is larger than 64 KiB and there is no filestore", field: name}
		}
		ref, err := j.store.PutBytes(j.mask.JSON(raw))
		if err != nil {
			return nil, diskFull(err)
		}
		out[name] = ref.JSON()
	}
	return out, nil
}

// putFile puts what a path of the handler names, which has to lie in the execution's folder.
func (j *job) putFile(name, kind string, raw json.RawMessage) ([]byte, error) {
	bad := func(format string, args ...any) error {
		return &failure{kind: "invalid_output", field: name, message: name + ": " + fmt.Sprintf(format, args...)}
	}
	var path string
	if err := json.Unmarshal(raw, &path); err != nil {
		return nil, bad("is no path")
	}
	rel, inside := j.within(path)
	if !inside {
		return nil, bad("%q lies outside of the execution's folder: write it below ctx.workdir or the temp folder", path)
	}
	if j.store == nil {
		return nil, bad("there is no filestore for this execution")
	}
	// Everything from here on goes through the folder's own handle: user code that still runs
	// cannot lead us elsewhere by a link.
	root, err := os.OpenRoot(j.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat(rel)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, bad("the handler returned %q, and there is no such %s", path, kind)
	case err != nil && strings.Contains(err.Error(), "path escapes"):
		return nil, bad("%q lies outside of the execution's folder: write it below ctx.workdir or the temp folder", path)
	case err != nil:
		return nil, bad("%s", err)
	}
	var ref blob.Ref
	switch {
	case kind == "directory" && info.IsDir():
		ref, err = j.store.PutDir(root, rel)
	case kind == "file" && info.Mode().IsRegular():
		ref, err = j.store.PutFile(root, rel)
	default:
		return nil, bad("%q is not a %s", path, kind)
	}
	if err != nil {
		return nil, diskFull(fmt.Errorf("%s: %w", name, err))
	}
	return ref.JSON(), nil
}

// within is a path of user code as one below the execution's folder.
func (j *job) within(path string) (rel string, ok bool) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(j.work, path)
	}
	rel, err := filepath.Rel(j.dir, path)
	if err == nil && filepath.IsLocal(rel) {
		return rel, true
	}
	// The way to our folder may have two names, as /tmp has where it is a link.
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", false
	}
	root, err := filepath.EvalSymlinks(j.dir)
	if err != nil {
		return "", false
	}
	rel, err = filepath.Rel(root, real)
	return rel, err == nil && filepath.IsLocal(rel)
}
