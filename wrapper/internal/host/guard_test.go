package host_test

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// processesOf are the pids of processes whose command line or environment names the mark.
func processesOf(mark string) []string {
	var out []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && strings.Contains(string(data), mark) {
			out = append(out, filepath.Base(filepath.Dir(f)))
		}
	}
	return out
}

// until waits for a state of the system that nothing tells of.
func until(t *testing.T, what string, check func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(15 * time.Second); !check(); <-tick.C {
		require.True(t, time.Now().Before(end), "%s", what)
	}
}

// An import that never ends is ended by a cancel and by the time limit, and leaves nothing that spins.
func TestEndlessImport(t *testing.T) {
	for _, isolation := range []string{"fork", "reuse"} {
		t.Run(isolation, func(t *testing.T) {
			a := pyEcho
			a.isolation = isolation
			mark := fmt.Sprintf("endless-%s-%d", isolation, time.Now().UnixNano())
			a.handler = "import subprocess, sys\nsubprocess.Popen(['sleep', '1000'], executable='/bin/sleep') if False else None\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)  # " + mark + "'])\nwhile True:\n    pass\n\ndef handle(inputs):\n    return {}\n"
			i := a.start(t)
			id := i.send(&pb.Start{Inputs: map[string][]byte{"x": []byte("1")}, DeadlineUnixMs: time.Now().Add(time.Minute).UnixMilli()})
			until(t, "the import runs", func() bool { return len(processesOf(mark)) > 0 })
			require.NoError(t, i.stream.Send(&pb.ToAction{ExecutionId: id, Body: &pb.ToAction_Cancel{Cancel: &pb.Cancel{Reason: "enough"}}}))
			o := i.collect(id)
			require.NotNil(t, o.failed)
			require.Equal(t, "cancelled", o.failed.Kind)
			require.Equal(t, "enough", o.failed.Message)
			until(t, "what the import started is gone", func() bool { return len(processesOf(mark)) == 0 })
			until(t, "nothing spins", func() bool { return len(below(i.process.Pid)) == 0 })

			o = i.collect(i.send(&pb.Start{Inputs: map[string][]byte{"x": []byte("1")}, DeadlineUnixMs: time.Now().Add(500 * time.Millisecond).UnixMilli()}))
			require.Equal(t, "timeout", o.failed.GetKind())
			until(t, "nothing spins", func() bool { return len(below(i.process.Pid)) == 0 })
		})
	}
}

// below are the processes that a process has started and that live.
func below(pid int) []string {
	var out []string
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		data, _ := os.ReadFile(f)
		for _, child := range strings.Fields(string(data)) {
			if stat, err := os.ReadFile("/proc/" + child + "/stat"); err == nil && !strings.Contains(string(stat), ") Z ") {
				out = append(out, child)
			}
		}
	}
	return out
}

const strayHandler = `import os
import subprocess
import sys


def handle(inputs):
    sleeper = "import time; time.sleep(1000)  # " + inputs["mark"]
    subprocess.Popen([sys.executable, "-c", sleeper])
    subprocess.Popen([sys.executable, "-c", sleeper], start_new_session=True)
    subprocess.Popen([sys.executable, "-c", sleeper], start_new_session=True, env={})
    # a daemon: its parent is gone at once
    subprocess.run([sys.executable, "-c", "import os, sys\nif os.fork() == 0:\n    os.setsid()\n    os.execve(sys.executable, [sys.executable, '-c', sys.argv[1]], {})", sleeper])
    return {"mark": inputs["mark"]}
`

// Whatever an execution started is gone after it, also what went into a session of its own, has no
// environment, or was left by its parent.
func TestStrays(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("there is no /proc here: only process groups are ended on this system")
	}
	for _, isolation := range []string{"reuse", "fork"} {
		t.Run(isolation, func(t *testing.T) {
			a := action{runtime: "python3", isolation: isolation, handler: strayHandler, inputs: []map[string]any{item("mark", "string")}, outputs: []map[string]any{item("mark", "string")}}
			i := a.start(t)
			mark := fmt.Sprintf("stray-%s-%d", isolation, time.Now().UnixNano())
			o := i.run(map[string]string{"mark": strconv.Quote(mark)})
			require.NotNil(t, o.done, "%v", o.failed)
			until(t, "no stray is left", func() bool { return len(processesOf(mark)) == 0 })
			o = i.run(map[string]string{"mark": strconv.Quote(mark + "-again")})
			require.NotNil(t, o.done, "it works on: %v", o.failed)
		})
	}
}

func TestTokens(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	_, other, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	key := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	a := pyEcho
	a.isolation = "reuse"
	a.flags = []string{"--key", key, "--audience", "build-1"}
	i := a.start(t)
	sign := func(k ed25519.PrivateKey, audience, subject string, life time.Duration) string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{Subject: subject, Audience: jwt.ClaimStrings{audience}, ExpiresAt: jwt.NewNumericDate(time.Now().Add(life))}).SignedString(k)
		require.NoError(t, err)
		return token
	}
	good := sign(private, "build-1", "*", time.Hour)
	bad := map[string]string{
		"none": "", "another key": sign(other, "build-1", "*", time.Hour), "another audience": sign(private, "build-2", "*", time.Hour),
		"too old": sign(private, "build-1", "*", -time.Hour), "another execution": sign(private, "build-1", "y", time.Hour),
	}
	for name, token := range bad {
		for _, m := range []*pb.ToAction{
			{ExecutionId: "x", Token: token, Body: &pb.ToAction_Start{Start: &pb.Start{Inputs: map[string][]byte{"x": []byte("1")}}}},
			{ExecutionId: "x", Token: token, Body: &pb.ToAction_Attach{Attach: &pb.Attach{FromSeq: 1}}},
		} {
			stream, err := i.client.Session(t.Context())
			require.NoError(t, err)
			require.NoError(t, stream.Send(m))
			_, err = stream.Recv()
			require.Equal(t, codes.Unauthenticated, status.Code(err), "%s: %v", name, err)
		}
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
		_, err := i.client.Describe(ctx, &pb.DescribeRequest{})
		require.Equal(t, codes.Unauthenticated, status.Code(err), "describe with %s: %v", name, err)
	}
	_, err = i.client.Describe(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+good), &pb.DescribeRequest{})
	require.NoError(t, err)

	// An execution is steered by the stream that it was given to, by no other.
	stream, err := i.client.Session(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&pb.ToAction{ExecutionId: "mine", Token: good, Body: &pb.ToAction_Start{Start: &pb.Start{Inputs: map[string][]byte{"x": []byte("1")}, Filestore: "file://" + i.files, Context: &pb.Context{}}}}))
	stranger, err := i.client.Session(t.Context())
	require.NoError(t, err)
	require.NoError(t, stranger.Send(&pb.ToAction{ExecutionId: "mine", Body: &pb.ToAction_Cancel{Cancel: &pb.Cancel{Reason: "not yours"}}}))
	for {
		m, err := stream.Recv()
		require.NoError(t, err)
		require.Nil(t, m.GetFailed(), "%v", m.GetFailed())
		if m.GetDone() != nil {
			return
		}
	}
}

// A busy instance says so; what it refused was not started.
func TestConcurrency(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	a := action{runtime: "python3", isolation: "fork", flags: []string{"--concurrency", "1"},
		handler: "import os, time\n\ndef handle(inputs):\n    while not os.path.exists(inputs['gate']):\n        time.sleep(0.01)\n    return {'gate': 'open'}\n",
		inputs:  []map[string]any{item("gate", "string")}, outputs: []map[string]any{item("gate", "string")}}
	i := a.start(t)
	in := map[string][]byte{"gate": []byte(strconv.Quote(gate))}
	first := i.send(&pb.Start{Inputs: in})
	for started := false; !started; {
		m, err := i.stream.Recv()
		require.NoError(t, err)
		started = m.GetPhase().GetKind() == pb.Phase_STARTED
	}
	refused := i.collect(i.send(&pb.Start{Inputs: in}))
	require.Equal(t, "not_started", refused.failed.GetKind())
	require.True(t, refused.failed.GetRetryable())
	require.NoError(t, os.WriteFile(gate, nil, 0o644))
	require.NotNil(t, i.collect(first).done)
}

// An execution that nobody is attached to ends with the lease.
func TestDetachLease(t *testing.T) {
	mark := fmt.Sprintf("lease-%d", time.Now().UnixNano())
	a := action{runtime: "python3", isolation: "fork", handler: "import subprocess, sys\n\ndef handle(inputs):\n    subprocess.run([sys.executable, '-c', 'import time; time.sleep(1000)  # " + mark + "'])\n    return {}\n"}
	i := a.start(t)
	ctx, leave := context.WithCancel(t.Context())
	stream, err := i.client.Session(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&pb.ToAction{ExecutionId: "x", Body: &pb.ToAction_Start{Start: &pb.Start{Filestore: "file://" + i.files, Context: &pb.Context{}}}}))
	until(t, "it runs", func() bool { return len(processesOf(mark)) > 0 })
	leave()
	until(t, "it is ended after the lease", func() bool { return len(processesOf(mark)) == 0 })
}

func TestCommonJS(t *testing.T) {
	for name, text := range map[string]string{
		"function": "module.exports = async (inputs) => ({ x: inputs.x + 1 });\n",
		"object":   "module.exports = { handle(inputs) { return { x: inputs.x + 1 }; } };\n",
		"exports":  "exports.handle = function (inputs) { return { x: inputs.x + 1 }; };\n",
	} {
		t.Run(name, func(t *testing.T) {
			a := action{runtime: "nodejs", isolation: "reuse", module: "handler.cjs", handler: text, inputs: []map[string]any{item("x", "integer")}, outputs: []map[string]any{item("x", "integer")}}
			o := a.start(t).run(map[string]string{"x": "41"})
			require.NotNil(t, o.done, "%v", o.failed)
			require.Equal(t, "42", o.outputs[0]["x"])
		})
	}
}

// A path that leads out of the execution's folder is refused however it is dressed.
func TestPathsOutside(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("hush"), 0o644))
	for name, body := range map[string]string{
		"absolute":       "return {'f': inputs['secret']}",
		"dots":           "return {'f': '../../../../../../../' + inputs['secret']}",
		"link":           "os.symlink(inputs['secret'], 'l'); return {'f': 'l'}",
		"link to folder": "os.symlink(os.path.dirname(inputs['secret']), 'd'); return {'f': 'd/secret'}",
		"pipe":           "os.mkfifo('p'); return {'f': 'p'}",
		"folder link":    "os.mkdir('x'); os.symlink(inputs['secret'], 'x/l'); return {'d': 'x'}",
	} {
		t.Run(name, func(t *testing.T) {
			f, d := item("f", "file"), item("d", "directory")
			f["optional"], d["optional"] = true, true
			a := action{runtime: "python3", isolation: "reuse", handler: "import os\n\ndef handle(inputs):\n    " + body + "\n",
				inputs: []map[string]any{item("secret", "string")}, outputs: []map[string]any{f, d}}
			o := a.start(t).run(map[string]string{"secret": strconv.Quote(secret)})
			require.NotNil(t, o.failed, "%v", o.outputs)
			require.Empty(t, o.outputs)
			require.NotContains(t, o.failed.Message, "hush")
		})
	}
}

// What an execution used is told in every isolation.
func TestUsage(t *testing.T) {
	py := action{runtime: "python3", handler: "def handle(inputs):\n    return {'n': sum(range(3000000)) % 7}\n", outputs: []map[string]any{item("n", "integer")}}
	node := action{runtime: "nodejs", handler: "export const handle = () => { let n = 0; for (let i = 0; i < 3e7; i++) n += i % 3; return { n: n % 7 }; };\n", outputs: py.outputs}
	for _, base := range []action{py, node} {
		for _, isolation := range []string{"reuse", "fork"} {
			t.Run(base.runtime+" "+isolation, func(t *testing.T) {
				a := base
				a.isolation = isolation
				i := a.start(t)
				for range 2 {
					o := i.run(nil)
					require.NotNil(t, o.done, "%v", o.failed)
					require.Greater(t, o.done.Usage.CpuMicros, int64(1000))
					require.Greater(t, o.done.Usage.MaxRssBytes, int64(4<<20))
					require.Positive(t, o.done.Usage.WallMicros)
				}
			})
		}
	}
}

// Silence is told to be life.
func TestHeartbeat(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	a := action{runtime: "python3", isolation: "reuse", flags: []string{"--heartbeat", "20ms"},
		handler: "import os, time\n\ndef handle(inputs):\n    while not os.path.exists(inputs['gate']):\n        time.sleep(0.01)\n    return {}\n",
		inputs:  []map[string]any{item("gate", "string")}}
	i := a.start(t)
	id := i.send(&pb.Start{Inputs: map[string][]byte{"gate": []byte(strconv.Quote(gate))}})
	for beats := 0; beats < 3; {
		m, err := i.stream.Recv()
		require.NoError(t, err)
		if m.GetHeartbeat() != nil {
			require.Equal(t, id, m.ExecutionId)
			beats++
		}
	}
	require.NoError(t, os.WriteFile(gate, nil, 0o644))
	require.NotNil(t, i.collect(id).done)
}

// A runner that gives credit gets no more than that: lines beyond it are dropped and counted, results
// wait, and another execution of the same stream is not held up.
func TestCredit(t *testing.T) {
	a := action{runtime: "python3", isolation: "fork",
		handler: "def handle(inputs):\n    for n in range(1000):\n        print('line', n)\n    return [{'n': n} for n in range(5)]\n", outputs: []map[string]any{item("n", "integer")}}
	i := a.start(t)
	id := "flood"
	start := &pb.Start{Filestore: "file://" + i.files, Context: &pb.Context{}}
	require.NoError(t, i.stream.Send(&pb.ToAction{ExecutionId: id, Body: &pb.ToAction_Start{Start: start}}))
	require.NoError(t, i.stream.Send(&pb.ToAction{ExecutionId: id, Body: &pb.ToAction_Credit{Credit: &pb.Credit{Logs: 500}}}))
	quiet := i.collect(i.send(&pb.Start{})) // reads past the flood's messages
	require.NotNil(t, quiet.done)
	require.Len(t, quiet.logs, 1000)
	require.Len(t, quiet.outputs, 5)
	require.NoError(t, i.stream.Send(&pb.ToAction{ExecutionId: id, Body: &pb.ToAction_Attach{Attach: &pb.Attach{FromSeq: 1}}}))
	require.NoError(t, i.stream.Send(&pb.ToAction{ExecutionId: id, Body: &pb.ToAction_Credit{Credit: &pb.Credit{Outputs: 1 << 20}}}))
	o := i.collect(id)
	require.NotNil(t, o.done, "%v", o.failed)
	require.Len(t, o.outputs, 5, "a result is never lost")
	require.Less(t, len(o.logs), 1000)
	require.Contains(t, strings.Join(o.logs, " "), "log lines were dropped")
}
