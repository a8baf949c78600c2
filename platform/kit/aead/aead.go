// Package aead seals secrets with AES-256-GCM under one key of the installation. A sealed
// value is a version byte, a random nonce of 12 bytes and the ciphertext with its tag; the
// context (whose secret it is, of which project) is authenticated with it.
package aead

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const version = 1

// Cipher seals and opens. Safe for concurrent use.
type Cipher struct{ gcm cipher.AEAD }

// New makes a cipher of a 32-byte key.
func New(key []byte) (*Cipher, error) {
	if len(key) != 32 {
		return nil, fmt.Errorf("the key has %d bytes, 32 are wanted", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	return &Cipher{gcm}, err
}

// Open reads the key (hex) from a file, which it makes with a new key, mode 0600, and with its
// folder, if it is not there. Without this file sealed secrets are lost.
func Open(path string) (*Cipher, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("key file %s: not a key in hexadecimal: restore it from a backup", path)
	}
	c, err := New(key)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return c, nil
}

// create writes a new key under another name and links it, so that two processes starting
// at once agree on one key and a crash leaves none or a whole one.
func create(path string) ([]byte, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
	return os.ReadFile(path)
}

// Seal encrypts.
func (c *Cipher) Seal(plain []byte, context string) ([]byte, error) {
	out := make([]byte, 1+c.gcm.NonceSize(), 1+c.gcm.NonceSize()+len(plain)+c.gcm.Overhead())
	out[0] = version
	nonce := out[1:]
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return c.gcm.Seal(out, nonce, plain, []byte(context)), nil
}

// Open decrypts; it refuses what was sealed with another key or for another context.
func (c *Cipher) Open(sealed []byte, context string) ([]byte, error) {
	n := 1 + c.gcm.NonceSize()
	if len(sealed) < n || sealed[0] != version {
		return nil, errors.New("this is no sealed value of a known version")
	}
	return c.gcm.Open(nil, sealed[1:n], sealed[n:], []byte(context))
}
