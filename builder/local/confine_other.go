//go:build !linux

package local

import (
	"errors"
	"time"
)

const gate = ""

const confines = false

func confine(int, Limits, bool) error { return nil }

type seen struct {
	pid, session, uid int
	resident          int64
}

func processes(bool) []seen { return nil }

func bears(int, string) bool { return false }

const pace = time.Second

func exchange(_, _ string) error { return errors.ErrUnsupported }
