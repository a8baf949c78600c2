package membus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// DeadLetters are the dead letters of a Bus: a folder with a file for each. Another process than
// the bus's may use it too; what it replays is handed over within a second, or by the next process.
type DeadLetters struct{ Dir string }

var _ bus.DeadLetters = DeadLetters{}

// The states of a letter are the ends of its file's name.
const (
	given = ".json"
	again = ".replay"
)

func (l DeadLetters) file(queue, messageID, state string) string {
	return filepath.Join(l.Dir, queue+"@"+messageID+state)
}

// read gives the letters of a queue that are in a state, oldest first.
func (l DeadLetters) read(queue, state string) ([]bus.Dead, error) {
	entries, err := os.ReadDir(l.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var out []bus.Dead
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), queue+"@") || !strings.HasSuffix(e.Name(), state) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(l.Dir, e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // replayed or dropped just now
		}
		var d bus.Dead
		if err == nil {
			err = json.Unmarshal(data, &d)
		}
		if err != nil {
			return nil, fault.Wrap(err, fault.Internal, "dead letter %s", e.Name())
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b bus.Dead) int { return cmp.Or(a.DiedAt.Compare(b.DiedAt), cmp.Compare(a.ID, b.ID)) })
	return out, nil
}

// Dead implements bus.DeadLetters.
func (l DeadLetters) Dead(_ context.Context, queue string) ([]bus.Dead, error) {
	return l.read(queue, given)
}

// Replay implements bus.DeadLetters.
func (l DeadLetters) Replay(_ context.Context, queue, messageID string) error {
	return missing(os.Rename(l.file(queue, messageID, given), l.file(queue, messageID, again)), queue, messageID)
}

// Drop implements bus.DeadLetters.
func (l DeadLetters) Drop(_ context.Context, queue, messageID string) error {
	return missing(os.Remove(l.file(queue, messageID, given)), queue, messageID)
}

func missing(err error, queue, messageID string) error {
	if errors.Is(err, os.ErrNotExist) {
		return fault.New(fault.NotFound, "queue %s gave up no message %s: see `peltond bus dead list`", queue, messageID)
	}
	return err
}

// put keeps a letter; it is on the disk when put returns nil.
func (l DeadLetters) put(d *bus.Dead) error {
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return err
	}
	name := l.file(d.Queue, d.ID, given)
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	dir, err := os.Open(l.Dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
