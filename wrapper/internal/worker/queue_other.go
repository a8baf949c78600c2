//go:build !linux

package worker

import (
	"errors"
	"os"
)

// queue: this system has no sockets of whole messages between processes. Executions are handed over
// one at a time.
type queue struct{}

const queueMax = 0

func openQueue() (*queue, *os.File, error) { return nil, nil, errors.ErrUnsupported }

func (q *queue) put([]byte) error { return errors.ErrUnsupported }
func (q *queue) recall() [][]byte { return nil }
func (q *queue) dontWait()        {}
func (q *queue) close()           {}
