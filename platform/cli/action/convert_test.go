package action

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/cli/factory"
)

const old = `apiVersion: ryax.tech/v2.0
kind: Processor
spec:
  id: resize
  human_name: Resize a picture
  type: python3
  version: 1.10
  description: "Makes it: smaller"
  categories: [pictures]
  dependencies: [imagemagick]
  resources: {cpu: 0.5, memory: 512M, time: 2h}
  inputs:
    - {name: width, human_name: Width, help: in pixels, type: integer, default_value: 100}
    - {name: mode, human_name: Mode, help: how, type: enum, enum_values: ["on", "2"], default_value: "on"}
    - {name: note, human_name: Note, help: "", type: string, optional: true}
  outputs:
    - {name: out, human_name: Out, help: it, type: file}
`

// TestConvert: the new file says what the old one said; texts that look like other types stay texts.
func TestConvert(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, oldFile), []byte(old), 0o644))
	var out, errs bytes.Buffer
	o := &ConvertOptions{Factory: &factory.Factory{Out: &out, Err: &errs}, Dir: dir, Write: true}
	require.NoError(t, convert(o), errs.String())
	text, err := os.ReadFile(filepath.Join(dir, newFile))
	require.NoError(t, err)
	a, problems := action.Parse(newFile, text, "x")
	require.Empty(t, problems, string(text))
	b, problems := action.Parse(oldFile, []byte(old), "x")
	require.Empty(t, problems)
	require.Equal(t, "1.10", a.Version)
	require.Equal(t, "pelton.dev/v1", a.Format)
	require.Equal(t, []string{"on", "2"}, a.Inputs[1].EnumValues)
	require.Empty(t, difference(a, b))
	require.FileExists(t, filepath.Join(dir, oldFile+".old"))
	require.NoFileExists(t, filepath.Join(dir, oldFile))
	require.ErrorContains(t, convert(o), "there is no "+filepath.Join(dir, oldFile)+": nothing to convert")
}

func TestConvertRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, err, told string }{
		"errors":  {"apiVersion: ryax.tech/v2.0\nkind: Processor\nspec: {id: resize, human_name: abc}\n", " has errors, mend them first", "type is missing"},
		"a spell": {"apiVersion: ryax.tech/v2.0\nkind: Processor\nspec: {id: resize, human_name: abc, type: python3, outpust: []}\n", " has errors, mend them first", "did you mean outputs?"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, oldFile), []byte(c.text), 0o644))
			var out, errs bytes.Buffer
			err := convert(&ConvertOptions{Factory: &factory.Factory{Out: &out, Err: &errs}, Dir: dir, Write: true})
			require.ErrorContains(t, err, c.err)
			require.Contains(t, errs.String(), c.told)
			require.NoFileExists(t, filepath.Join(dir, newFile))
		})
	}
}
