package s3

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/miniotest"
)

func TestMain(m *testing.M) { miniotest.Main(m) }

func TestParse(t *testing.T) {
	c, err := Parse("files", "s3://store:9000/bucket/some/prefix/?tls=false&region=eu-central-1")
	require.NoError(t, err)
	require.Equal(t, Config{Endpoint: "store:9000", Insecure: true, Bucket: "bucket", Prefix: "some/prefix/", Region: "eu-central-1"}, c)
	c, err = Parse("files", "s3://store/bucket")
	require.NoError(t, err)
	require.Equal(t, Config{Endpoint: "store", Bucket: "bucket", Region: "us-east-1"}, c)
	for text, says := range map[string]string{
		"s3://":                        "files: names no host (give s3://HOST:PORT/BUCKET",
		"s3://store":                   "files: names no bucket",
		"s3://store/B_cket":            `"B_cket", which is no name of one`,
		"s3://key:secret@store/bucket": "files: holds credentials (put access_key and secret_key into a YAML file",
		"s3://store/bucket?tls=maybe":  "tls=maybe, which is neither true nor false",
		"s3://store/bucket?tsl=false":  `unknown parameter "tsl"`,
		"s3://store/bucket/*":          "wildcard",
	} {
		_, err := Parse("files", text)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "key:secret")
	}
}

func TestCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s3.yaml")
	for text, says := range map[string]string{
		"":                                   "does not hold exactly",
		"access_key: a\n":                    "does not hold exactly",
		"access_key: a\nsecretkey: hidden":   "does not hold exactly",
		"access_key: [a\nsecret_key: hidden": "does not hold exactly",
	} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := Open(Config{Endpoint: "store", Bucket: "bucket", Credentials: file})
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "hidden")
	}
	_, err := Open(Config{Endpoint: "store", Bucket: "bucket"})
	require.ErrorContains(t, err, "s3.credentials: is missing")
}

// TestGuard: uploads that are signed with the bucket's own credentials could read any object of this
// store, which is found out before the store is used.
func TestGuard(t *testing.T) {
	server := miniotest.Shared(t)
	c, err := Parse("files", server.URL(server.Bucket(t)))
	require.NoError(t, err)
	c.Credentials = server.Credentials(t)
	b, err := Open(c)
	require.NoError(t, err)
	require.NoError(t, b.Guard(t.Context()))
	b.uploads = b.Client
	require.ErrorContains(t, b.Guard(t.Context()), "lets a signed upload copy any object")
}
