package httpx

import (
	"mime"
	"net/http"
	"strings"
)

// UserContent sets the headers of content that users made: it is shown in a sandbox without an
// origin, its type is not guessed, and it never runs with the rights of a page of ours.
func UserContent(h http.Header, name, mediaType string) {
	if mt, params, err := mime.ParseMediaType(mediaType); err == nil {
		mediaType = mime.FormatMediaType(mt, params)
	} else {
		mediaType = ""
	}
	if mediaType == "" {
		mediaType = "application/octet-stream"
	}
	h.Set("Content-Type", mediaType)
	h.Set("Content-Security-Policy", "sandbox allow-scripts")
	h.Set("X-Content-Type-Options", "nosniff")
	if name != "" {
		disposition := "inline"
		if mediaType == "application/octet-stream" {
			disposition = "attachment"
		}
		name = strings.Map(func(r rune) rune {
			if r < ' ' || r == '/' || r == '\\' {
				return '_'
			}
			return r
		}, name)
		h.Set("Content-Disposition", mime.FormatMediaType(disposition, map[string]string{"filename": name}))
	}
}
