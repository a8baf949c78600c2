package studio

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/openapi"
	"github.com/pelton-run/pelton/platform/kit/openapi/contract"
	"github.com/pelton-run/pelton/platform/studio/internal/infra/httpapi"
)

// TestDocument: the document is complete, and describes the routes that are registered, no others.
func TestDocument(t *testing.T) {
	c, err := contract.Load(document)
	require.NoError(t, err)
	require.NoError(t, c.Lint())
	doc, err := openapi.Parse("studio", document)
	require.NoError(t, err)
	mux := httpapi.API{}.Handler()
	mount(doc, mux)
	require.NoError(t, c.Routes(mux.Routes()))
}
