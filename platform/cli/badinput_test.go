package cli_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/cli"
	"github.com/pelton-run/pelton/platform/cli/factory"
)

type result struct {
	code     int
	out, err string
}

// pelton runs the program in an empty folder of its own, with env as its environment.
func pelton(t *testing.T, env map[string]string, stdin string, args ...string) result {
	t.Helper()
	if env == nil {
		env = map[string]string{}
	}
	if env["PELTON_CONFIG"] == "" {
		env["PELTON_CONFIG"] = filepath.Join(t.TempDir(), "config.json")
	}
	if env["PELTON_HOME"] == "" {
		env["PELTON_HOME"] = filepath.Join(t.TempDir(), "none")
	}
	var out, err bytes.Buffer
	f := &factory.Factory{In: strings.NewReader(stdin), Out: &out, Err: &err, Getenv: func(k string) string { return env[k] }}
	code := cli.Run(context.WithoutCancel(t.Context()), f, args)
	return result{code, out.String(), err.String()}
}

// TestBadInput: every wrong call ends with its exit code and says what to do.
func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	require.NoError(t, os.Mkdir("empty", 0o755))
	require.NoError(t, os.Mkdir("flows", 0o755))
	for name, text := range map[string]string{
		"test.yaml": "kind: WorkflowTest\n", "noname.yaml": "kind: Workflow\n", "bad.yaml": "kind: [\n",
		"flows/a.yaml": "kind: Workflow\nmetadata: {name: a}\n", "flows/b.yaml": "kind: Workflow\nmetadata: {name: a}\n",
		"list.json": "[1]", "context.json": "{",
	} {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	for _, c := range []struct {
		args string
		code int
		err  string
	}{
		{"runs", 2, "pelton: unknown command \"runs\" for \"pelton\"\nDid you mean this?\n\trun\n"},
		{"run lst", 2, "pelton: unknown command \"lst\" for \"pelton run\": did you mean cost or list?\n  `pelton run --help` lists the commands\n"},
		{"secret sett", 2, "pelton: unknown command \"sett\" for \"pelton secret\": did you mean set?\n  `pelton secret --help` lists the commands\n"},
		{"run list -o jsn", 2, "pelton: --output \"jsn\" is none of [table json yaml name] (did you mean json?)\n"},
		{"run list --limt 3", 2, "pelton: unknown flag: --limt\n  `pelton run list --help` lists the flags\n"},
		{"run list --limit x", 2, "pelton: invalid argument \"x\" for \"--limit\" flag: strconv.ParseInt: parsing \"x\": invalid syntax\n  `pelton run list --help` lists the flags\n"},
		{"run list --limit 0", 2, "pelton: --limit 0 is not between 1 and 200\n"},
		{"run list --limit 201", 2, "pelton: --limit 201 is not between 1 and 200\n"},
		{"run list --state complete", 2, "pelton: --state \"complete\" is none of [queued running waiting paused cancelling undoing completed failed cancelled] (did you mean completed?)\n"},
		{"run list more", 2, "pelton: \"more\" is one argument too many: pelton run list [flags]\n"},
		{"run show", 2, "pelton: RUN is missing: pelton run show RUN [flags]\n"},
		{"run show a b", 2, "pelton: \"b\" is one argument too many: pelton run show RUN [flags]\n"},
		{"run watch", 2, "pelton: RUN is missing: pelton run watch RUN [flags]\n"},
		{"run watch a --timeout -1s", 2, "pelton: --timeout -1s is negative\n"},
		{"run logs", 2, "pelton: RUN is missing: pelton run logs RUN [flags]\n"},
		{"run logs a --attempt -1", 2, "pelton: --attempt -1 is negative: attempts are counted from 1\n"},
		{"run cancel", 2, "pelton: RUN is missing: pelton run cancel RUN [flags]\n"},
		{"run signal a", 2, "pelton: NAME is missing: pelton run signal RUN NAME [flags]\n"},
		{"run signal a b --payload x", 2, "pelton: --payload is not JSON: write text as '\"text\"'\n"},
		{"run signal a b --payload @none", 2, "pelton: --payload: open none: no such file or directory\n"},
		{"run approve a", 2, "pelton: STEP is missing: pelton run approve RUN STEP [flags]\n"},
		{"run approve a b --item x", 2, "pelton: --item \"x\" is no item: write the indices that stand in brackets behind the step, such as 2 or 0.1\n"},
		{"run approve a b --item 0.-1", 2, "pelton: --item \"0.-1\" is no item: write the indices that stand in brackets behind the step, such as 2 or 0.1\n"},
		{"run approve a b -i x --server http://127.0.0.1:1", 2, "pelton: -i \"x\": write name=value, or name=@FILE\n"},
		{"run reject a b -i x=1", 2, "pelton: unknown shorthand flag: 'i' in -i\n  `pelton run reject --help` lists the flags\n"},
		{"run pause", 2, "pelton: RUN is missing: pelton run pause RUN [flags]\n"},
		{"run resume", 2, "pelton: RUN is missing: pelton run resume RUN [flags]\n"},
		{"run retry", 2, "pelton: RUN is missing: pelton run retry RUN [flags]\n"},
		{"run retry a --timeout 1s", 2, "pelton: --timeout bounds the waiting: it needs --wait\n"},
		{"run waits --kind approvals", 2, "pelton: --kind \"approvals\" is none of [signal approval consent lost] (did you mean approval?)\n"},
		{"run waits --limit 0", 2, "pelton: --limit 0 is not between 1 and 200\n"},
		{"run start", 2, "pelton: WORKFLOW is missing: pelton run start WORKFLOW [flags]\n"},
		{"run start w --timeout 1s", 2, "pelton: --timeout bounds the waiting: it needs --wait\n"},
		{"run start w --wait --timeout -1s", 2, "pelton: --timeout -1s is negative\n"},
		{"run start w -i name --server http://127.0.0.1:1", 2, "pelton: -i \"name\": write name=value, or name=@FILE\n"},
		{"run start w -i =1 -i a=1 -i a=2 --server http://127.0.0.1:1", 2, "pelton: -i \"=1\": write name=value, or name=@FILE\n-i a is given twice\n"},
		{"run start w -i f=@none.csv --server http://127.0.0.1:1", 2, "pelton: -i f: there is no file none.csv\n"},
		{"run start w --inputs [1] --server http://127.0.0.1:1", 2, "pelton: --inputs is no JSON object: json: cannot unmarshal array into Go value of type map[string]json.RawMessage\n"},
		{"run start w --inputs @none.json --server http://127.0.0.1:1", 2, "pelton: --inputs: open none.json: no such file or directory\n"},
		{"run list", 1, "pelton: no server is known: start one with `pelton dev`, sign in with `pelton login --server URL`, or name one with --server URL\n"},
		{"run list --server localhost:8080", 2, "pelton: --server \"localhost:8080\" is no URL: write it with http:// or https://, for example http://127.0.0.1:8080\n"},
		{"run list --server http://127.0.0.1:1", 1, "pelton: no Pelton answers at http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused\n  start it with `pelton dev`, or name another with --server URL\n"},
		{"login --server http://127.0.0.1:1", 2, "pelton: the password of admin is empty: type it at a terminal, or send it to standard input\n"},
		{"login --api-key --stdin --server http://127.0.0.1:1", 2, "pelton: the API key is empty: type it at a terminal, or send it to standard input\n"},
		{"project use", 2, "pelton: NAME is missing: pelton project use NAME [flags]\n"},
		{"project use a", 1, "pelton: nobody is signed in: use `pelton login --project a`, --project, or PELTON_PROJECT\n"},
		{"secret set", 2, "pelton: NAME is missing: pelton secret set NAME [flags]\n"},
		{"secret set a b", 2, "pelton: \"b\" is one argument too many: pelton secret set NAME [flags]\n"},
		{"secret set a --server http://127.0.0.1:1", 2, "pelton: the value of a is empty: type it at a terminal, or send it to standard input\n"},
		{"secret delete", 2, "pelton: NAME is missing: pelton secret delete NAME [flags]\n"},
		{"variable set a", 2, "pelton: VALUE is missing: pelton variable set NAME VALUE [flags]\n"},
		{"key create", 2, "pelton: NAME is missing: pelton key create NAME [flags]\n"},
		{"key create ci --role operater", 2, "pelton: --role \"operater\" is none of [viewer operator developer admin] (did you mean operator?)\n"},
		{"key create ci --expires-in -1h", 2, "pelton: --expires-in -1h0m0s is negative\n"},
		{"key revoke", 2, "pelton: ID is missing: pelton key revoke ID [flags]\n"},
		{"repo add", 2, "pelton: URL|DIR is missing: pelton repo add URL|DIR [flags]\n"},
		{"repo add none", 2, "pelton: none is neither a URL (https://…, file://…) nor a folder\n"},
		{"repo add https://example.com/a.git --watch", 2, "pelton: --watch is for folders: a Git repository is scanned with `pelton repo scan`\n"},
		{"repo add empty --branch main", 2, "pelton: --branch is for Git repositories: name this one by URL, file://" + dir + "/empty\n"},
		{"repo scan", 2, "pelton: REPOSITORY is missing: pelton repo scan REPOSITORY [flags]\n"},
		{"repo scan a --timeout 0s", 2, "pelton: --timeout 0s is not above 0\n"},
		{"action new", 2, "pelton: NAME is missing: pelton action new NAME [flags]\n"},
		{"action new ab", 2, "pelton: \"ab\" is no name of an action: give 3 to 24 of a-z, 0-9, - and ., starting with a letter or digit\n"},
		{"action new Greet", 2, "pelton: \"Greet\" is no name of an action: give 3 to 24 of a-z, 0-9, - and ., starting with a letter or digit\n"},
		{"action new ../up", 2, "pelton: \"../up\" is no name of an action: give 3 to 24 of a-z, 0-9, - and ., starting with a letter or digit\n"},
		{"action new greet --lang python", 2, "pelton: --lang \"python\" is none of [python3 nodejs go] (did you mean python3?)\n"},
		{"action new greet --source --workflow", 2, "pelton: --workflow calls a processor by HTTP: leave out --source\n"},
		{"action check none", 2, "pelton: none is no folder: name the folder of an action, or one above\n"},
		{"action check empty", 2, "pelton: empty holds no action.yaml and no ryax_metadata.yaml: make an action with `pelton action new NAME`\n"},
		{"action build a", 2, "pelton: PATH is missing: pelton action build REPOSITORY PATH [flags]\n"},
		{"workflow check", 2, "pelton: FILE is missing: pelton workflow check FILE… [flags]\n"},
		{"workflow check none.yaml", 2, "pelton: open none.yaml: no such file or directory\n"},
		{"workflow deploy", 2, "pelton: WORKFLOW is missing: pelton workflow deploy WORKFLOW [flags]\n"},
		{"workflow deploy test.yaml", 2, "pelton: test.yaml is a file or folder, not a workflow's name: `pelton apply test.yaml` saves and deploys what is in it\n"},
		{"workflow deploy w --revision 0", 2, "pelton: --revision 0 is none: revisions are counted from 1\n"},
		{"workflow deploy w --traffic 0", 2, "pelton: --traffic 0 is no share: give a whole number from 1 to 100\n"},
		{"workflow deploy w --traffic 101", 2, "pelton: --traffic 101 is no share: give a whole number from 1 to 100\n"},
		{"workflow traffic w", 2, "pelton: WORKFLOW and REVISION=WEIGHT are wanted: pelton workflow traffic WORKFLOW REVISION=WEIGHT... [flags]\n"},
		{"workflow traffic w 7=90 8", 2, "pelton: \"8\" is not REVISION=WEIGHT, two whole numbers such as 7=90\n"},
		{"workflow traffic w 7=1.5", 2, "pelton: \"7=1.5\" is not REVISION=WEIGHT, two whole numbers such as 7=90\n"},
		{"workflow rollback w --revision -1", 2, "pelton: --revision -1 is none: revisions are counted from 1\n"},
		{"apply", 2, "pelton: DIR|FILE is missing: pelton apply DIR|FILE [flags]\n"},
		{"apply a.yaml --timeout 0s", 2, "pelton: --timeout 0s is not above 0\n"},
		{"apply test.yaml --prune", 2, "pelton: --prune needs the whole folder: test.yaml is a file\n"},
		{"apply flows --prune --no-deploy", 2, "pelton: --prune undeploys: leave out --no-deploy\n"},
		{"apply none", 2, "pelton: there is no file or folder none\n"},
		{"apply empty", 2, "pelton: empty holds no workflows/*.yaml and no *.yaml\n"},
		{"apply test.yaml", 1, "pelton: test.yaml: its kind is \"WorkflowTest\": apply takes kind: Workflow\n"},
		{"apply noname.yaml", 1, "pelton: noname.yaml: metadata.name is missing\n"},
		{"apply bad.yaml", 1, "pelton: bad.yaml: line 1: did not find expected node content\n"},
		{"apply flows", 1, "pelton: flows/b.yaml: workflow a is in flows/a.yaml already\n"},
	} {
		t.Run(c.args, func(t *testing.T) {
			r := pelton(t, nil, "", strings.Fields(c.args)...)
			require.Equal(t, c.err, r.err)
			require.Equal(t, c.code, r.code)
			require.Empty(t, r.out)
		})
	}
	t.Run("a damaged context file", func(t *testing.T) {
		r := pelton(t, map[string]string{"PELTON_CONFIG": "context.json"}, "", "run", "list")
		require.Equal(t, "pelton: context.json is not readable as JSON (unexpected end of JSON input): delete it and run `pelton login` again\n", r.err)
		require.Equal(t, 1, r.code)
	})
}

// TestNewActionPassesCheck: what `action new` writes passes `action check` and `workflow check`; a
// second time it refuses; broken files are told all at once.
func TestNewActionPassesCheck(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, l := range []string{"python3", "nodejs", "go"} {
		r := pelton(t, nil, "", "action", "new", "my-"+l, "--lang", l, "--workflow")
		require.Zero(t, r.code, r.err)
	}
	r := pelton(t, nil, "", "action", "new", "my-go")
	require.Equal(t, result{2, "", "pelton: actions/my-go is there already: choose another name, or delete it first\n"}, r)
	require.Equal(t, result{0, "3 checked, no errors\n", ""}, pelton(t, nil, "", "action", "check"))
	require.Equal(t, result{0, "3 checked, no errors\n", ""}, pelton(t, nil, "", "workflow", "check", "workflows/my-python3.yaml", "workflows/my-nodejs.yaml", "workflows/my-go.yaml"))

	edit := func(file, from, to string) {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(data), from)
		require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(data), from, to)), 0o644))
	}
	edit("actions/my-python3/handler.py", "def handle(", "def handle((")
	edit("actions/my-go/action.yaml", "runtime: go", "runtim: go")
	edit("workflows/my-python3.yaml", "inputs.name", "inputs.nam")
	r = pelton(t, nil, "", "action", "check")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.out, "actions/my-go/action.yaml:7: spec.runtim: is no field here (did you mean runtime?)\n")
	require.Contains(t, r.out, "actions/my-python3/handler.py:11: SyntaxError: ")
	r = pelton(t, nil, "", "workflow", "check", "workflows/my-python3.yaml")
	require.Equal(t, 1, r.code)
	require.Equal(t, "workflows/my-python3.yaml:14:20: spec.steps[0].with.name: the workflow has no input \"nam\" (did you mean name?)\n", r.out)
	require.Equal(t, "pelton: 1 error in 1 file\n", r.err)
}
