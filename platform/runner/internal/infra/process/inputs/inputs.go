// Package inputs makes the inputs of an execution ready for the wire: a value above 64 KiB is put
// into the filestore and travels as {"$ref": …}.
package inputs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

const refAbove = 64 << 10

// Encode gives the values as they travel.
func Encode(filesDir, project string, in domain.Values) (map[string][]byte, error) {
	out := make(map[string][]byte, len(in))
	for k, v := range in {
		if len(v) <= refAbove {
			out[k] = v
			continue
		}
		sum := sha256.Sum256(v)
		digest := hex.EncodeToString(sum[:])
		if err := put(filepath.Join(filesDir, project), digest, v); err != nil {
			return nil, err
		}
		out[k] = fmt.Appendf(nil, `{"$ref":"sha256:%s","size":%d}`, digest, len(v))
	}
	return out, nil
}

func put(dir, digest string, data []byte) error {
	dest := filepath.Join(dir, "sha256", digest[:2], digest[2:])
	if _, err := os.Stat(dest); err == nil {
		return nil
	}
	tmp := filepath.Join(dir, "tmp")
	if err := errors.Join(os.MkdirAll(tmp, 0o700), os.MkdirAll(filepath.Dir(dest), 0o700)); err != nil {
		return err
	}
	f, err := os.CreateTemp(tmp, "input-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), dest)
}
