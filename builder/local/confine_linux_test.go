package local

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// prepared is a job that runs commands of the test's choice.
func prepared(t *testing.T, b *Builder, project string, log func(string)) *job {
	t.Helper()
	j, done, err := b.job(Order{Project: project, Build: "sha256:" + strings.Repeat("ab", 32), Log: log}, &Result{Phases: map[string]time.Duration{}})
	require.NoError(t, err)
	t.Cleanup(done)
	return j
}

func (j *job) shell(ctx context.Context, script string) (string, error) {
	return j.command(ctx, "/", j.environment(), "/bin/sh", "-c", script)
}

func requireGone(t *testing.T, pid int) {
	t.Helper()
	_, lives := process(pid, false)
	require.False(t, lives, "process %d lives", pid)
}

// TestUsers: where we are root each project builds as a user of its own, who keeps it.
func TestUsers(t *testing.T) {
	b := newBuilder(t, Limits{})
	uid := func(b *Builder, project string) int {
		out, err := prepared(t, b, project, nil).shell(t.Context(), "id -u")
		require.NoError(t, err)
		n, err := strconv.Atoi(strings.TrimSpace(out))
		require.NoError(t, err)
		return n
	}
	a, c := uid(b, "a"), uid(b, "c")
	again := New(b.o)
	require.Equal(t, c, uid(again, "c"), "a restart keeps the users")
	require.Equal(t, a, uid(again, "a"))
	if os.Geteuid() != 0 {
		require.Equal(t, os.Geteuid(), a)
		return
	}
	require.NotEqual(t, a, c)
	require.Greater(t, a, testUser, "the first of the range fetches tools")
}

// TestBorders: what a build's code may not do, where builds have users of their own.
func TestBorders(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: builds run as this user, there are no borders between projects")
		return
	}
	b := newBuilder(t, Limits{})
	victim := prepared(t, b, "victim", nil)
	_, err := victim.shell(t.Context(), "echo precious > $HOME/wheel")
	require.NoError(t, err)
	tools, err := victim.tools()
	require.NoError(t, err)
	keys := filepath.Join(b.o.Home, "keys")
	require.NoError(t, os.Mkdir(keys, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(keys, "key"), []byte("secret"), 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(b.o.Home, "tools", "uv"), 0o755))
	j := prepared(t, b, "evil", nil)
	for what, script := range map[string]string{
		"read another project's cache":   "cat " + victim.cache + "/wheel",
		"poison another project's cache": "echo poison > " + victim.cache + "/wheel",
		"write into the tools' cache":    "touch " + tools.cache + "/x",
		"replace a tool":                 "touch " + b.o.Home + "/tools/uv/x",
		"read a key":                     "cat " + keys + "/key",
		"write beside the bundle":        "touch " + j.tmp + "/bundle.json",
		"write into the job's folder":    "touch " + j.work + "/x",
		"write the list of users":        "echo {} > " + b.owners.file,
		"list other projects":            "ls " + filepath.Dir(j.cache),
		"list bundles":                   "ls " + filepath.Dir(j.tmp),
		"replace its cache's folder":     "mv " + j.cache + " " + j.cache + ".old",
	} {
		out, err := j.shell(t.Context(), script)
		require.Error(t, err, "%s: %s", what, out)
		require.NotContains(t, out, "precious")
		require.NotContains(t, out, "secret")
	}
	data, err := os.ReadFile(filepath.Join(victim.cache, "wheel"))
	require.NoError(t, err)
	require.Equal(t, "precious\n", string(data))
	out, err := j.shell(t.Context(), "grep NoNewPrivs /proc/self/status; echo mine > $HOME/x && echo t > $TMPDIR/x && cat $HOME/x")
	require.NoError(t, err)
	require.Contains(t, out, "mine", "its own it may write")
	require.Contains(t, out, "NoNewPrivs:\t1")
}

// TestSeal: what a build leaves becomes ours without our following its links.
func TestSeal(t *testing.T) {
	b := newBuilder(t, Limits{})
	outside := filepath.Join(b.o.Home, "outside")
	require.NoError(t, os.WriteFile(outside, []byte("theirs"), 0o600))
	require.NoError(t, os.Chown(outside, os.Geteuid(), os.Getegid()))
	j := prepared(t, b, "default", nil)
	made, err := j.scratch("made")
	require.NoError(t, err)
	out, err := j.shell(t.Context(), "cd "+made+` && mkdir -p a/b && echo x > a/b/file && chmod 4777 a/b/file && ln -s `+outside+` a/link && ln -s / root && ln a/b/file a/second && mkfifo a/pipe && chmod 000 a/b && chmod 777 a`)
	require.NoError(t, err, out)
	require.NoError(t, j.user.seal(made))
	if j.user.uid < 0 {
		return // all is ours anyway
	}
	requireOurs(t, made)
	require.NoFileExists(t, filepath.Join(made, "a", "pipe"))
	info, err := os.Stat(outside)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), "a link's target keeps its rights")
	for _, name := range []string{"a/b/file", "a/second"} {
		data, err := os.ReadFile(filepath.Join(made, name))
		require.NoError(t, err)
		require.Equal(t, "x\n", string(data))
	}
}

// TestEnvironment: of our environment a build sees how to reach registries, and nothing else.
func TestEnvironment(t *testing.T) {
	for k, v := range map[string]string{"PELTON_STORE": "postgres://secret", "AWS_SECRET_ACCESS_KEY": "secret", "UV_PUBLISH_TOKEN": "secret", "NPM_TOKEN": "secret",
		"npm_config_prefix": "/secret", "PGPASSWORD": "secret", "GOFLAGS": "-secret", "PYTHONPATH": "/secret", "NODE_OPTIONS": "--secret", "LD_PRELOAD": "",
		"PIP_INDEX_URL": "https://index.example.org/simple", "https_proxy": "http://proxy.example.org:3128",
		"UV_INDEX_PRIVATE_PASSWORD": "of the index"} {
		t.Setenv(k, v)
	}
	b := newBuilder(t, Limits{})
	j := prepared(t, b, "default", nil)
	out, err := j.command(t.Context(), "/", j.environment("EXTRA=1"), "/usr/bin/env")
	require.NoError(t, err)
	require.NotContains(t, out, "secret")
	require.NotContains(t, out, "LD_PRELOAD")
	for _, want := range []string{"PIP_INDEX_URL=https://index.example.org/simple", "https_proxy=http://proxy.example.org:3128",
		"UV_INDEX_PRIVATE_PASSWORD=of the index", "HOME=" + j.cache, "TMPDIR=" + filepath.Join(j.work, "tmp"), "EXTRA=1"} {
		require.Contains(t, out, want+"\n")
	}
}

func TestLimits(t *testing.T) {
	python, err := findPython()
	require.NoError(t, err)
	for _, c := range []struct {
		name, script, says string
		limits             Limits
	}{
		{"memory", "import time\nx = bytearray(300 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\ntime.sleep(60)", "memory", Limits{MemoryBytes: 128 << 20}},
		{"memory of a child", "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time\\nx = bytearray(300 << 20)\\nfor i in range(0, len(x), 4096): x[i] = 1\\ntime.sleep(60)'], start_new_session=True)", "memory", Limits{MemoryBytes: 128 << 20}},
		{"file", "import os\nopen(os.environ['TMPDIR'] + '/large', 'wb').write(bytes(8 << 20))", "file larger", Limits{FileBytes: 4 << 20}},
		{"open files", "f = [open('/dev/null') for _ in range(200)]", "more files", Limits{OpenFiles: 64}},
		{"processor", "while True: pass", "processor time", Limits{CPU: time.Second}},
		{"processes", "import os, time\nfor i in range(100):\n    if os.fork() == 0:\n        time.sleep(60)", "more processes", Limits{Processes: 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if os.Geteuid() != 0 && (c.name == "processes" || c.name == "memory of a child") {
				t.Log("not root: a user's other programs would count")
				return
			}
			b := newBuilder(t, c.limits)
			j := prepared(t, b, "limited", nil)
			out, err := j.command(t.Context(), "/", j.environment(), python.path, "-c", c.script)
			require.Error(t, err, out)
			require.NotNil(t, j.r.limit, out)
			require.Equal(t, "limit", j.r.limit.Kind)
			require.Contains(t, j.r.limit.Message, c.says)
			require.Equal(t, j.r.limit, told(t.Context(), j.r, &Error{Kind: "dependency", Message: "what the tool made of it"}))
			if j.user.uid >= 0 {
				for _, p := range processes(true) {
					require.NotEqual(t, j.user.uid, p.uid, "process %d is left", p.pid)
				}
			}
		})
	}
}

// TestCancel: a cancelled command takes with it what it started, in its group, out of its group
// and out of its session.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	pids := make(chan int, 10)
	b := newBuilder(t, Limits{})
	j := prepared(t, b, "default", func(line string) {
		var pid int
		if _, err := fmt.Sscanf(line, "pid %d", &pid); err == nil {
			pids <- pid
		}
	})
	done := make(chan error, 1)
	go func() {
		_, err := j.shell(ctx, `sleep 1000 & echo pid $!; setsid sh -c 'echo pid $$; exec sleep 1000' & (setsid sh -c 'echo pid $$; exec sleep 1000' >&2 &) ; echo pid $$; wait`)
		done <- err
	}()
	var all []int
	for range 4 {
		all = append(all, <-pids)
	}
	cancel()
	require.Error(t, <-done)
	for _, pid := range all {
		requireGone(t, pid)
	}
	require.Nil(t, j.r.limit)
	var e *Error
	require.ErrorAs(t, told(ctx, j.r, fmt.Errorf("signal: killed")), &e)
	require.Equal(t, "cancelled", e.Kind)
}

// TestStrays: a command that ends well leaves nothing behind either, and nobody waits for it.
func TestStrays(t *testing.T) {
	b := newBuilder(t, Limits{})
	j := prepared(t, b, "default", nil)
	// The pipe closes only once nobody holds it: the stray says its number before we end.
	out, err := j.shell(t.Context(), `mkfifo $TMPDIR/said; (setsid sh -c 'echo $$ > $TMPDIR/said; exec sleep 1000' &); echo pid $(cat $TMPDIR/said)`)
	require.NoError(t, err, out)
	var pid int
	_, err = fmt.Sscanf(out, "pid %d", &pid)
	require.NoError(t, err, out)
	requireGone(t, pid)
}

// TestUserSettings: what npm needs to sign in to an index reaches it in a file of the job's user.
func TestUserSettings(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	require.NoError(t, os.WriteFile(filepath.Join(os.Getenv("HOME"), ".npmrc"), []byte("registry=https://npm.example.org/\n"), 0o600))
	t.Setenv("npm_config_//npm.example.org/:_authToken", "of the index")
	j := prepared(t, newBuilder(t, Limits{}), "default", nil)
	env, err := j.npmEnvironment()
	require.NoError(t, err)
	out, err := j.command(t.Context(), "/", env, "/bin/sh", "-c", "cat $npm_config_userconfig")
	require.NoError(t, err, out)
	require.Equal(t, "registry=https://npm.example.org/\n//npm.example.org/:_authToken=of the index\n", out)
}

// TestBesideEachOther: the end of one build of a project does not end another.
func TestBesideEachOther(t *testing.T) {
	b := newBuilder(t, Limits{})
	started := make(chan struct{})
	long := prepared(t, b, "default", func(line string) {
		if line == "started" {
			close(started)
		}
	})
	fifo := filepath.Join(reachableDir(t), "gate")
	require.NoError(t, syscall.Mkfifo(fifo, 0o666))
	require.NoError(t, os.Chmod(fifo, 0o666))
	done := make(chan error, 1)
	go func() {
		_, err := long.shell(t.Context(), "echo started; cat "+fifo+" | cat")
		done <- err
	}()
	<-started
	for range 3 {
		_, err := prepared(t, b, "default", nil).shell(t.Context(), "true")
		require.NoError(t, err)
	}
	require.NoError(t, os.WriteFile(fifo, []byte("go on"), 0o666))
	require.NoError(t, <-done)
}
