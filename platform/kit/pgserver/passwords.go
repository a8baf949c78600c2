package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// tellPasswords gives the database the passwords that were made just now, because their file was
// lost or is new beside an older database. The server does not run yet: its single-user mode
// needs no password, and the data folder is ours.
func (s *Server) tellPasswords(ctx context.Context) error {
	var sql strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.passwords)) {
		// One line is one statement there. Names are ours, passwords are hexadecimal: neither needs quoting.
		fmt.Fprintf(&sql, "DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '%[1]s') THEN ALTER ROLE %[1]s PASSWORD '%[2]s'; END IF; END $$;\n", name, s.passwords[name])
	}
	cmd := s.command(ctx, "postgres", "--single", "-D", s.data, "postgres")
	cmd.Stdin = strings.NewReader(sql.String())
	out, err := cmd.CombinedOutput()
	if err == nil && bytes.Contains(out, []byte("ERROR:")) {
		err = errors.New("it was refused")
	}
	if err != nil {
		// The next start tries again: without the file the passwords are made anew.
		_ = os.Remove(filepath.Join(s.cfg.Dir, "passwords.json"))
		return fault.Wrap(fmt.Errorf("%w: %s", err, bytes.TrimSpace(out)), fault.Unavailable, "the database in %s could not be given new passwords: put passwords.json back from a backup", s.data)
	}
	return nil
}
