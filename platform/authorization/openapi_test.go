package authorization

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/authorization/internal/infra/httpapi"
	"github.com/pelton-run/pelton/platform/kit/openapi"
	"github.com/pelton-run/pelton/platform/kit/openapi/contract"
)

// TestDocument: the document is complete, and describes the routes that are registered, no others.
func TestDocument(t *testing.T) {
	c, err := contract.Load(document)
	require.NoError(t, err)
	require.NoError(t, c.Lint())
	doc, err := openapi.Parse("authorization", document)
	require.NoError(t, err)
	require.NoError(t, c.Routes(doc.Mount(httpapi.API{}.Handler()).Routes()))
}
