package factory

import (
	"io"
	"strings"
)

const maxSecret = 64 << 10

// Secret reads a text that must not be seen: from standard input, or typed without an echo.
// It never comes from an argument, which other users of the machine could read.
func (f *Factory) Secret(what string, stdin bool) (string, error) {
	if !stdin && f.ReadSecret != nil {
		text, err := f.ReadSecret(what + ": ")
		if err == nil && text == "" {
			err = Usage("the %s is empty", what)
		}
		return text, err
	}
	data, err := io.ReadAll(io.LimitReader(f.In, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxSecret {
		return "", Usage("the %s is longer than 64 KiB", what)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" {
		return "", Usage("the %s is empty: type it at a terminal, or send it to standard input", what)
	}
	return text, nil
}
