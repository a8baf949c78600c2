// Package testserver lends private servers to tests: one that the tests of a process share, started
// when the first asks for it, or one of a test's own.
package testserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"sync"
	"testing"
)

// Kind is a kind of server, named in what tests are told. The zero value is not usable: Name and Start
// are needed. Safe for concurrent use.
type Kind[S interface{ Close() }] struct {
	Name  string
	Start func(ctx context.Context) (S, error)

	once    sync.Once
	server  S
	started bool
	err     error
}

// Main runs the tests of a package, stops what Shared started and ends the process.
func (k *Kind[S]) Main(m *testing.M) {
	code := m.Run()
	k.Stop()
	os.Exit(code)
}

// Stop ends the shared server, if one was started.
func (k *Kind[S]) Stop() {
	if k.started {
		k.server.Close()
	}
}

// Shared is the server of this test process, started at the first call.
func (k *Kind[S]) Shared(t testing.TB) S {
	t.Helper()
	k.once.Do(func() {
		k.server, k.err = k.Start(context.Background())
		k.started = k.err == nil
	})
	if k.err != nil {
		t.Fatalf("no %s for tests: %v", k.Name, k.err)
	}
	return k.server
}

// New is a server of the test's own, which ends with the test.
func (k *Kind[S]) New(t testing.TB) S {
	t.Helper()
	s, err := k.Start(context.Background())
	if err != nil {
		t.Fatalf("no %s for tests: %v", k.Name, err)
	}
	t.Cleanup(s.Close)
	return s
}

// Secret is a random password of 32 characters.
func Secret() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
