package app

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// What differs between two failures of one cause: ids, numbers, quoted values, addresses.
var (
	varying = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|0x[0-9a-fA-F]+|\b[0-9a-fA-F]{16,}\b|"[^"]*"|'[^']*'|` + "`[^`]*`" + `|https?://\S+|/[\w./-]{8,}|\d+(\.\d+)?`)
	frame   = regexp.MustCompile(`(?m)^\s*(?:File "([^"]+)", line \d+, in (\S+)|at (\S+) \(?([^():]+):\d+)`)
	spaces  = regexp.MustCompile(`\s+`)
)

// maxFrames is how many frames of the author's code count.
const maxFrames = 5

// fingerprint groups failures of one cause: the same workflow, step, kind and code, a message
// that differs in ids, numbers and quoted values only, and the same place in the author's code.
func fingerprint(workflow, step string, e *domain.StepError) string {
	if e == nil {
		return ""
	}
	h := sha256.New()
	for _, part := range []string{workflow, step, e.Kind, e.Code, normal(e.Message)} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	frames := frame.FindAllStringSubmatch(e.Stack, -1)
	for _, f := range frames[max(0, len(frames)-maxFrames):] {
		file := f[1] + f[4]
		h.Write([]byte(file[strings.LastIndexByte(file, '/')+1:] + ":" + f[2] + f[3]))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// normal is a message without what varies.
func normal(message string) string {
	return strings.TrimSpace(spaces.ReplaceAllString(varying.ReplaceAllString(message, "#"), " "))
}
