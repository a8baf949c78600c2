package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func compile(t *testing.T, fields string) protoreflect.MessageDescriptor {
	t.Helper()
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(map[string]string{
		"a.proto": `syntax = "proto3"; package shop.v1; message Sold {` + fields + `} message Part { string name = 1; }`,
	})}}
	files, err := c.Compile(t.Context(), "a.proto")
	require.NoError(t, err)
	found := interactions(files[0])
	if strings.Contains(fields, "Part") {
		require.Len(t, found, 1)
	}
	return found[0]
}

func TestArchive(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, "shop.v1", name))
		require.NoError(t, err)
		return string(data)
	}
	first := compile(t, `string id = 1; map<string, int64> prices = 2; repeated Part parts = 3;`)
	require.NoError(t, archive(dir, first))
	require.NoError(t, archive(dir, first))
	one := file("Sold.1.binpb")
	require.Contains(t, file("Sold.1.json"), `"id": "id 0: é"`)
	require.NoFileExists(t, filepath.Join(dir, "shop.v1", "Sold.2.binpb"))

	require.NoError(t, archive(dir, compile(t, `string id = 1; map<string, int64> prices = 2; repeated Part parts = 3; optional double weight = 4;`)))
	require.Equal(t, one, file("Sold.1.binpb"))
	require.Contains(t, file("Sold.2.json"), `"weight": 4000.5`)

	for fields, problem := range map[string]string{
		`string name = 1; map<string, int64> prices = 2; repeated Part parts = 3; double weight = 4;`: `unknown field "id"`,
		`string id = 1; map<string, sint64> prices = 2; repeated Part parts = 3; double weight = 4;`:  "messages that are under way must be understood",
		`string id = 1; map<string, int64> prices = 2; repeated Part parts = 3; double weight = 5;`:   "messages that are under way must be understood",
		`string id = 1; map<string, int64> prices = 2; reserved 3; double weight = 4;`:                `unknown field "parts"`,
		`string id = 1; map<string, int64> prices = 2; repeated string parts = 3; double weight = 4;`: "cannot be said any more",
		`int64 id = 1; map<string, int64> prices = 2; repeated Part parts = 3; double weight = 4;`:    "cannot be said any more",
	} {
		err := archive(dir, compile(t, fields))
		require.ErrorContains(t, err, problem, fields)
		require.NoFileExists(t, filepath.Join(dir, "shop.v1", "Sold.3.binpb"))
	}
}
