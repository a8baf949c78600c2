package pgserver

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// SuperURLOf is the superuser's connection URL of the server on dir, run by whichever process,
// also one that outlived the process that started it: for tests and tools that look at the data
// while the platform is down. It starts nothing.
func SuperURLOf(dir, database string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(filepath.Join(dir, "passwords.json"))
	if err != nil {
		return "", fault.Wrap(err, fault.NotFound, "no database of a Pelton lies in %s", dir)
	}
	s := &Server{}
	if err := json.Unmarshal(data, &s.passwords); err != nil {
		return "", fault.Wrap(err, fault.Invalid, "%s cannot be read", filepath.Join(dir, "passwords.json"))
	}
	if s.socketDir, err = SocketDir(dir, "pg"); err != nil {
		return "", err
	}
	return s.SuperURL(database), nil
}
