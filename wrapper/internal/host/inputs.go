package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/pelton-run/pelton/wrapper/internal/blob"
	"github.com/pelton-run/pelton/wrapper/internal/values"
)

// prepare makes the folder, fetches files and large values, checks the inputs, and makes the
// message for the language process.
func (j *job) prepare() ([]byte, error) {
	b := j.host.cfg.Bundle
	in := j.start.GetInputs()
	if in == nil {
		in = map[string][]byte{}
	}
	if text := j.start.GetDynamicOutputs(); len(text) > 0 && b.DynamicOutputs {
		if err := json.Unmarshal(text, &j.dynamic); err != nil {
			return nil, &failure{kind: "internal", message: "the definitions of dynamic outputs cannot be read: " + err.Error()}
		}
	}
	if err := values.Inputs(b.Inputs, in); err != nil {
		return nil, &failure{kind: "invalid_input", message: err.Error(), field: err.Field}
	}
	var err error
	if url := j.start.GetFilestore(); url != "" {
		if j.store, err = j.openStore(url); err != nil {
			return nil, err
		}
	}
	if j.dir, err = j.host.folders.take(); err != nil {
		return nil, diskFull(err)
	}
	j.work = filepath.Join(j.dir, "work")
	for _, it := range b.Inputs {
		raw := in[it.Name]
		if values.IsRef(raw) {
			if raw, err = j.fetchText(it.Name, raw); err != nil {
				return nil, err
			}
			if bad := values.Check(it, raw); bad != nil {
				return nil, &failure{kind: "invalid_input", message: bad.Error(), field: bad.Field}
			}
			in[it.Name] = raw
		}
		if (it.Type == "file" || it.Type == "directory") && len(raw) > 0 && raw[0] == '{' {
			if in[it.Name], err = j.fetchFile(it.Name, raw); err != nil {
				return nil, err
			}
		}
	}
	return j.message(in), nil
}

func (j *job) fetchText(name string, raw []byte) ([]byte, error) {
	var ref blob.Ref
	if err := json.Unmarshal(raw, &ref); err != nil || j.store == nil {
		return nil, &failure{kind: "invalid_input", message: name + ": the reference cannot be read", field: name}
	}
	text, err := j.store.ReadAll(ref.Text, jsonLimit)
	if f := cutOff(err); f != nil {
		return nil, f
	}
	if err != nil {
		return nil, &failure{kind: "invalid_input", message: fmt.Sprintf("%s: %s", name, err), field: name}
	}
	return text, nil
}

// fetchFile puts a file or folder below the working directory and gives its path as a value.
func (j *job) fetchFile(name string, raw []byte) ([]byte, error) {
	var ref blob.Ref
	if err := json.Unmarshal(raw, &ref); err != nil || j.store == nil {
		return nil, &failure{kind: "invalid_input", message: name + ": the reference to a file cannot be read", field: name}
	}
	dir := filepath.Join(j.work, ".in-"+safe(name))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if uid := j.host.cfg.UID; uid >= 0 {
		if err := os.Lchown(dir, uid, j.host.cfg.GID); err != nil {
			return nil, err
		}
	}
	base := filepath.Base(filepath.Clean("/" + ref.Name))
	if base == "/" || base == "." {
		base = "data"
	}
	dest := filepath.Join(dir, base)
	var err error
	if ref.Dir != "" {
		err = j.store.FetchDir(ref.Dir, dest, j.host.cfg.UID, j.host.cfg.GID)
	} else {
		err = j.store.FetchFile(ref.File, dest, j.host.cfg.UID, j.host.cfg.GID)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, &failure{kind: "invalid_input", message: name + ": the file is no longer in the filestore", field: name}
	}
	if err != nil {
		return nil, diskFull(fmt.Errorf("fetch %s: %w", name, err))
	}
	return json.Marshal(dest)
}

// opening is how the message of an execution begins; no other's begins so.
func opening(id string) *message {
	return (&message{make([]byte, 0, 64+len(id))}).text(`{"t":"start","id":`).quoted(id)
}

// message is {"t":"start",…} with the inputs' texts put in as they are.
func (j *job) message(in map[string][]byte) []byte {
	c := j.start.GetContext()
	size := 512 + len(j.id) + len(j.work)
	for k, v := range in {
		size += len(k) + len(v) + 8
	}
	b := opening(j.id)
	b.b = slices.Grow(b.b, size)
	b.text(`,"ctx":{"run_id":`).quoted(c.GetRunId()).text(`,"step":`).quoted(c.GetStep())
	b.text(`,"attempt":`).number(int64(j.start.GetAttempt())).text(`,"idempotency_key":`).quoted(j.start.GetIdempotencyKey())
	b.text(`,"deadline":`).number(j.start.GetDeadlineUnixMs()).text(`,"workdir":`).quoted(j.work)
	b.text(`,"trace":`).quoted(j.start.GetTraceparent()).text(`},"in":{`)
	first := true
	for k, v := range in {
		if !first {
			b.text(",")
		}
		first = false
		b.quoted(k).text(":").raw(v)
	}
	b.text("}")
	if len(j.dynamic) > 0 {
		b.text(`,"outputs":`).raw(j.start.GetDynamicOutputs())
	}
	if cur := j.start.GetCursor(); len(cur) > 0 && json.Valid(cur) {
		b.text(`,"cursor":`).raw(cur)
	}
	b.text("}")
	return b.b
}
