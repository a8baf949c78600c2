package bridge

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bridge/internal/infra/httpapi"
	"github.com/pelton-run/pelton/platform/kit/openapi"
	"github.com/pelton-run/pelton/platform/kit/openapi/contract"
)

// TestDocument: the document is complete, and describes the routes that are registered, no others.
func TestDocument(t *testing.T) {
	c, err := contract.Load(document)
	require.NoError(t, err)
	require.NoError(t, c.Lint())
	doc, err := openapi.Parse("bridge", document)
	require.NoError(t, err)
	mux := httpapi.API{}.Handler()
	doc.Mount(mux)
	require.NoError(t, c.Routes(mux.Routes()))
}
