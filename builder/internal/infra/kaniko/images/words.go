package images

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"crypto/x509"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pelton-run/pelton/builder/internal/app"
)

// words tells what a registry said in a way that names what to change. The cause is kept out of
// it where it could name a token.
func (r *Registry) words(repo name.Repository, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	host := repo.RegistryStr()
	var said *transport.Error
	if errors.As(err, &said) {
		code := ""
		if len(said.Errors) > 0 {
			code = string(said.Errors[0].Code)
		}
		switch {
		case said.StatusCode == http.StatusUnauthorized, said.StatusCode == http.StatusForbidden, code == "UNAUTHORIZED", code == "DENIED":
			return &app.Error{Kind: "network", Host: host, Setting: "builder.registry_credentials",
				Message: fmt.Sprintf("the registry %s refuses the builder at %s: give a docker config.json with the right user and password for %s in builder.registry_credentials", host, repo.RepositoryStr(), host)}
		case said.StatusCode == http.StatusMethodNotAllowed, code == "UNSUPPORTED":
			return &app.Error{Kind: "network", Host: host, Setting: "builder.registry",
				Message: "the registry " + host + " does not allow this (of the usual registry: REGISTRY_STORAGE_DELETE_ENABLED=true lets images be deleted)"}
		case said.StatusCode == http.StatusTooManyRequests:
			return &app.Error{Kind: "network", Host: host, Setting: "builder.registry_credentials", Message: "the registry " + host + " says that it is asked too often: wait, or give credentials with a higher limit in builder.registry_credentials"}
		}
		return &app.Error{Kind: "network", Host: host, Setting: "builder.registry", Message: fmt.Sprintf("the registry %s answered %d %s for %s", host, said.StatusCode, http.StatusText(said.StatusCode), repo.RepositoryStr())}
	}
	var unknown x509.UnknownAuthorityError
	var wrongName x509.HostnameError
	if errors.As(err, &unknown) || errors.As(err, &wrongName) {
		return &app.Error{Kind: "network", Host: host, Setting: "builder.registry_ca", Message: "the certificate of the registry " + host + " is not trusted: give the file of its CA in builder.registry_ca"}
	}
	if strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return &app.Error{Kind: "network", Host: host, Setting: "builder.registry_insecure", Message: "the registry " + host + " speaks plain HTTP: name it in builder.registry_insecure"}
	}
	var op *net.OpError
	var dns *net.DNSError
	if errors.As(err, &op) || errors.As(err, &dns) {
		return &app.Error{Kind: "network", Host: host, Setting: "builder.registry", Message: "the registry " + host + " cannot be reached: check that it runs, and builder.registry"}
	}
	return fmt.Errorf("registry %s: %w", host, err)
}
