package action_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/action"
)

const head = "apiVersion: pelton.dev/v1\nkind: Processor\nspec:\n  runtime: python3\n"

// load reads an action from its files; action.yaml is given, handler.py is there unless told.
func load(yaml string, files map[string]string) []string {
	fsys := fstest.MapFS{"word-count/action.yaml": {Data: []byte(yaml)}, "word-count/handler.py": {Data: []byte("def handle(inputs):\n    return {}\n")}}
	for name, text := range files {
		if text == "" {
			delete(fsys, "word-count/"+name)
		} else {
			fsys["word-count/"+name] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	_, problems := action.Load(fsys, "word-count", "word-count")
	var out []string
	for _, p := range problems {
		out = append(out, p.Error())
	}
	return out
}

func TestBadMetadata(t *testing.T) {
	const f = "word-count/action.yaml"
	for name, c := range map[string]struct {
		yaml  string
		files map[string]string
		want  string
	}{
		"empty":                 {"", nil, f + ":1: is empty (start with apiVersion: pelton.dev/v1)"},
		"no YAML":               {"a: [", nil, f + ":1: is not YAML: did not find expected node content"},
		"no mapping":            {"- a", nil, f + ":1: is not a mapping (start with apiVersion: pelton.dev/v1)"},
		"no version":            {"kind: Processor", nil, f + ":1: apiVersion is missing (add apiVersion: pelton.dev/v1)"},
		"unknown version":       {"apiVersion: pelton.dev/v9", nil, f + ":1: apiVersion: is \"pelton.dev/v9\", a format that is not known (give pelton.dev/v1 or ryax.tech/v2.0)"},
		"no kind":               {"apiVersion: pelton.dev/v1\nspec: {runtime: python3}", nil, f + ":1: kind is missing (add kind: Processor)"},
		"kind misspelt":         {"apiVersion: pelton.dev/v1\nkind: Procesor\nspec: {runtime: python3}", nil, f + ":2: kind: is \"Procesor\" (did you mean Processor?)"},
		"no spec":               {"apiVersion: pelton.dev/v1\nkind: Processor", nil, f + ":1: spec is missing (add spec: with runtime, inputs and outputs)"},
		"no runtime":            {"apiVersion: pelton.dev/v1\nkind: Processor\nspec: {title: x}", nil, f + ":3: spec: runtime is missing (give python3, nodejs, go or container)"},
		"unknown runtime":       {"apiVersion: pelton.dev/v1\nkind: Processor\nspec: {runtime: python}", nil, f + ":3: spec.runtime: is \"python\" (did you mean python3?)"},
		"unknown field":         {head + "  outptus: []\n", nil, f + ":5: spec.outptus: is no field here (did you mean outputs?)"},
		"unknown top field":     {head + "sepc: {}\n", nil, f + ":5: sepc: is no field here (did you mean spec?)"},
		"field twice":           {head + "  title: a\n  title: b\n", nil, f + ":6: spec.title: is given twice (keep one of them)"},
		"bad id":                {head + "  id: No Spaces\n", nil, f + ":5: spec.id: is \"No Spaces\" (give 3 to 24 of a-z, 0-9, - and .)"},
		"bad version":           {head + "  version: \"one two\"\n", nil, f + ":5: spec.version: is \"one two\" (give a version such as 1.0)"},
		"inputs no list":        {head + "  inputs: 3\n", nil, f + ":5: spec.inputs: is no list (write a list: one element a line behind -)"},
		"input no mapping":      {head + "  inputs: [text]\n", nil, f + ":5: spec.inputs[0]: is no mapping (write fields, one a line: name: value)"},
		"input without name":    {head + "  inputs: [{type: string}]\n", nil, f + ":5: spec.inputs[0]: name is missing (name it)"},
		"input without type":    {head + "  inputs: [{name: a}]\n", nil, f + ":5: spec.inputs[0]: type is missing (give one of string, longstring, password, integer, float, boolean, enum, bytes, json, list, file, directory)"},
		"unknown type":          {head + "  inputs: [{name: a, type: integr}]\n", nil, f + ":5: spec.inputs[0].type: is \"integr\" (did you mean integer?)"},
		"input twice":           {head + "  inputs: [{name: a, type: string}, {name: a, type: string}]\n", nil, f + ":5: spec.inputs[1]: the name \"a\" is given twice (rename one of them)"},
		"bad input name":        {head + "  inputs: [{name: 1a, type: string}]\n", nil, f + ":5: spec.inputs[0].name: is \"1a\" (give letters, digits, - and _, a letter first)"},
		"enum without values":   {head + "  inputs: [{name: a, type: enum}]\n", nil, f + ":5: spec.inputs[0]: an enum wants its values (add enum: [a, b])"},
		"default of no type":    {head + "  inputs: [{name: a, type: integer, default: x}]\n", nil, f + ":5: spec.inputs[0].default: is \"x\", which is no integer (give a value of the type integer)"},
		"default not in enum":   {head + "  inputs: [{name: a, type: enum, enum: [x], default: y}]\n", nil, f + ":5: spec.inputs[0].default: is \"y\" and not one of x (give a value of the type enum)"},
		"optional no boolean":   {head + "  inputs: [{name: a, type: string, optional: perhaps}]\n", nil, f + ":5: spec.inputs[0].optional: is \"perhaps\" (give true or false)"},
		"item field":            {head + "  inputs: [{name: a, type: string, defualt: x}]\n", nil, f + ":5: spec.inputs[0].defualt: is no field here (did you mean default?)"},
		"little cpu":            {head + "  resources: {cpu: 0.01}\n", nil, f + ":5: spec.resources.cpu: is \"0.01\" (give a number of at least 0.1)"},
		"little memory":         {head + "  resources: {memory: 16M}\n", nil, f + ":5: spec.resources.memory: is 16777216 bytes (give at least 32M)"},
		"memory in words":       {head + "  resources: {memory: much}\n", nil, f + ":5: spec.resources.memory: is \"much\" (give a size such as 512M or 2G)"},
		"time in words":         {head + "  resources: {time: soon}\n", nil, f + ":5: spec.resources.time: is \"soon\" (give a duration such as 500ms, 30s, 5m, 2h or 1d)"},
		"isolation":             {head + "  isolation: forks\n", nil, f + ":5: spec.isolation: is \"forks\" (did you mean fork?)"},
		"effect":                {head + "  effect: none\n", nil, f + ":5: spec.effect: is \"none\" (give one of pure, read, write, irreversible)"},
		"concurrency":           {head + "  concurrency: 0\n", nil, f + ":5: spec.concurrency: is \"0\" (give a whole number from 1 to 1000)"},
		"dynamic outputs":       {head + "  dynamicOutputs: true\n", nil, f + ":5: spec.dynamicOutputs: is for sources only (leave it out)"},
		"test without end":      {head + "  tests: [{name: a}]\n", nil, f + ":5: spec.tests[0]: a test wants either expect or error (give expect: with outputs, or error: with kind and field)"},
		"no handler":            {head, map[string]string{"handler.py": ""}, "word-count: there is no handler (add handler.py or ryax_handler.py or src/handler.py)"},
		"no function":           {head, map[string]string{"handler.py": "x = 1\n"}, "word-count/handler.py: there is no function handle (add def handle(inputs):)"},
		"no parameters":         {head, map[string]string{"handler.py": "\ndef handle():\n    pass\n"}, "word-count/handler.py:2: handle takes 0 parameters (write def handle(inputs): or def handle(inputs, ctx):)"},
		"many parameters":       {head, map[string]string{"handler.py": "def handle(a, b, c):\n    pass\n"}, "word-count/handler.py:1: handle takes 3 parameters (write def handle(inputs): or def handle(inputs, ctx):)"},
		"logo missing":          {head + "  logo: l.png\n", nil, "word-count/l.png: spec.logo: the logo is missing (add the file or leave out logo)"},
		"logo no picture":       {head + "  logo: l.png\n", map[string]string{"l.png": "text"}, "word-count/l.png: spec.logo: the logo is neither png nor jpg (give a png or jpg of at most 250 x 250)"},
		"logo outside":          {head + "  logo: ../l.png\n", nil, "l.png: spec.logo: the logo lies outside of the folder (put it beside the metadata)"},
		"source not async":      {strings.Replace(head, "Processor", "Source", 1), map[string]string{"source.py": "def run(service, input_values):\n    pass\n"}, "word-count/source.py:1: run is no coroutine (write async def run(service, input_values):)"},
		"ryax without name":     {"apiVersion: ryax.tech/v2.0\nkind: Processor\nspec: {id: abc, type: python3}\n", nil, f + ":3: spec: human_name is missing (give 3 to 128 characters)"},
		"ryax short name":       {"apiVersion: ryax.tech/v2.0\nkind: Processor\nspec: {id: abc, type: python3, human_name: ab}\n", nil, f + ":3: spec.human_name: has 2 characters (give 3 to 128 characters)"},
		"ryax csharp":           {"apiVersion: ryax.tech/v2.0\nkind: Processor\nspec: {id: abc, human_name: abc, type: csharp-dotnet6}\n", nil, f + ":3: spec.type: csharp-dotnet6 is not supported yet (use python3 or nodejs)"},
		"ryax dependency":       {"apiVersion: ryax.tech/v2.0\nkind: Processor\nspec: {id: abc, human_name: abc, type: python3, dependencies: [nosuchthing]}\n", nil, f + ":3: spec.dependencies[0]: the system package \"nosuchthing\" is not in the table (name the Debian package in an action.yaml: options: {apt: [package]})"},
		"go without module":     {strings.Replace(head, "python3", "go", 1), map[string]string{"handler.py": "", "handler.go": "package action\n"}, "word-count: there is no handler (add go.mod)"},
		"go source":             {strings.NewReplacer("python3", "go", "Processor", "Source").Replace(head), map[string]string{"go.mod": "module m\n", "source.go": "package action\n\nfunc Run(in Input) error { return nil }\n"}, "word-count: there is no function Run of the right form (write func Run(ctx context.Context, source Source, in Input) error)"},
		"source in a container": {strings.NewReplacer("python3", "container", "Processor", "Source").Replace(head), nil, "word-count: spec.runtime: a source is written in Python, JavaScript or Go (use runtime: python3, nodejs or go)"},
		"go without function":   {strings.Replace(head, "python3", "go", 1), map[string]string{"go.mod": "module m\n", "handler.go": "package action\n"}, "word-count: there is no function Handle of the right form (write func Handle(ctx context.Context, in Input) (Output, error))"},
		"go in another package": {strings.Replace(head, "python3", "go", 1), map[string]string{"go.mod": "module m\n", "handler.go": "package main\n\nfunc Handle(ctx context.Context, in Input) (Output, error) {\n"}, "word-count/handler.go:1: is not in package action (start the file with package action)"},
	} {
		t.Run(name, func(t *testing.T) { require.Contains(t, load(c.yaml, c.files), c.want) })
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	got := load(head+"  inputs: [{name: a, type: strng}, {type: string}]\n  effect: x\n", map[string]string{"handler.py": ""})
	require.Len(t, got, 4, "%v", got)
}

func TestVersionAsWritten(t *testing.T) {
	a, problems := action.Parse("action.yaml", []byte(head+"  version: 1.10\n"), "word-count")
	require.False(t, problems.Errors(), "%v", problems)
	require.Equal(t, "1.10", a.Version)
	require.Equal(t, "word-count@1.10", a.Label())
}

func TestRyax(t *testing.T) {
	a, problems := action.Parse("ryax_metadata.yaml", []byte(`apiVersion: "ryax.tech/v2.0"
kind: Source
spec:
  id: clock
  human_name: A clock
  type: python3
  version: "1.2"
  logo: logo.png
  description: ticks
  categories: [time]
  dependencies: [ffmpeg]
  dynamic_outputs: true
  resources: {cpu: 0.5, memory: 512M, time: 5m}
  addons: {http_service: {port: 80}}
  inputs: [{name: every, human_name: Every, type: integer, help: seconds, default_value: 5}]
  outputs: [{name: when it ticks, human_name: When, type: string, help: x, optional: true}]
`), "clock")
	require.False(t, problems.Errors(), "%v", problems)
	require.Equal(t, []string{"ffmpeg"}, a.Dependencies)
	require.EqualValues(t, 512<<20, a.MemoryBytes)
	require.EqualValues(t, 300_000, a.TimeoutMillis)
	require.True(t, a.DynamicOutputs)
	require.Equal(t, "Every", a.Inputs[0].Title)
}

func TestDigest(t *testing.T) {
	one := fstest.MapFS{"a/handler.py": {Data: []byte("1")}, "a/.git/x": {Data: []byte("1")}, "a/__pycache__/x.pyc": {Data: []byte("1")}}
	two := fstest.MapFS{"b/handler.py": {Data: []byte("1")}}
	d1, err := action.Digest(one, "a")
	require.NoError(t, err)
	d2, err := action.Digest(two, "b")
	require.NoError(t, err)
	require.Equal(t, d1, d2, "dot folders, caches and the folder's name do not count")
	two["b/handler.py"] = &fstest.MapFile{Data: []byte("2")}
	d3, err := action.Digest(two, "b")
	require.NoError(t, err)
	require.NotEqual(t, d1, d3)
}
