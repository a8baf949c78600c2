package actiongrpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

const refAbove = 64 << 10

// LargeInputs tells whether EncodeInputs has to put something into the filestore, which may take a while.
func LargeInputs(in domain.Values) bool {
	for _, v := range in {
		if len(v) > refAbove {
			return true
		}
	}
	return false
}

// EncodeInputs makes the inputs of an execution ready for the wire: a value above 64 KiB is put into the
// filestore and travels as {"$ref": …}.
func EncodeInputs(ctx context.Context, files app.Files, project string, in domain.Values) (map[string][]byte, error) {
	out := make(map[string][]byte, len(in))
	for k, v := range in {
		if len(v) <= refAbove {
			out[k] = v
			continue
		}
		sum := sha256.Sum256(v)
		digest := "sha256:" + hex.EncodeToString(sum[:])
		there, err := files.Keep(ctx, project, digest)
		if err == nil && !there {
			_, _, err = files.Put(ctx, project, bytes.NewReader(v))
		}
		if err != nil {
			return nil, err
		}
		out[k] = fmt.Appendf(nil, `{"$ref":%q,"size":%d}`, digest, len(v))
	}
	return out, nil
}
