package actiongrpc

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Key is the pair that signs calls to wrappers. Safe for concurrent use.
type Key struct {
	private ed25519.PrivateKey
	public  []byte // PEM
}

// OpenKey reads or makes the pair in dir, as calls.pem; the private half is for its owner alone.
func OpenKey(dir string) (*Key, error) {
	private := filepath.Join(dir, "calls.pem")
	data, err := os.ReadFile(private)
	if errors.Is(err, fs.ErrNotExist) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		data = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		if err := errors.Join(os.WriteFile(private+".new", data, 0o600), os.Rename(private+".new", private)); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM file", private)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds no Ed25519 key", private)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return &Key{key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}, nil
}

// Public is the half that wrappers check calls by, as PEM text.
func (k *Key) Public() []byte { return k.public }

// Token signs calls to the instances of an audience, for every execution, until a time.
func (k *Key) Token(audience string, now, until time.Time) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{
		Issuer: "runner", Subject: "*", Audience: jwt.ClaimStrings{audience}, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(until),
	}).SignedString(k.private)
}
