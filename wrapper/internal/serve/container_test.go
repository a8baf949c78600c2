package serve_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

const audience = "acme/sha256:00"

// buildWrapper builds the program once for all tests.
var buildWrapper = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "serve-test-")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "wrapper")
	if text, err := exec.Command("go", "build", "-o", out, "../../cmd/wrapper").CombinedOutput(); err != nil {
		return "", errors.New(string(text))
	}
	return out, nil
})

// container is a wrapper as in a container: settings in its environment, TCP.
type container struct {
	t      *testing.T
	cmd    *exec.Cmd
	client pb.ActionClient
	health grpc_health_v1.HealthClient
	key    ed25519.PrivateKey
	host   string
	ended  chan struct{}
}

const echo = `import time
def handle(inputs):
    time.sleep(inputs.get("seconds") or 0)
    return {"text": inputs["text"]}
`

// startContainer starts a wrapper on a handler in Python; change makes another bundle of it.
func startContainer(t *testing.T, handler string, change ...func(bundle map[string]any)) *container {
	t.Helper()
	program, err := buildWrapper()
	require.NoError(t, err)
	dir := t.TempDir()
	python, err := exec.LookPath("python3")
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "code"), 0o755))
	item := func(name, kind string) map[string]any {
		return map[string]any{"name": name, "type": kind, "optional": name == "seconds"}
	}
	bundle := map[string]any{"format": 1, "build": "sha256:00", "action": "echo@1.0", "kind": "Processor", "runtime": "python3", "interpreter": python,
		"handler": "code/handler.py", "export": "handle", "concurrency": 2, "inputs": []any{item("text", "string"), item("seconds", "float")}, "outputs": []any{item("text", "string")}}
	for _, c := range change {
		c(bundle)
	}
	text, err := json.Marshal(bundle)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, bundle["handler"].(string)), []byte(handler), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bundle.json"), text, 0o644))
	public, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	port := freePort(t)
	c := &container{t: t, key: key, host: "127.0.0.1:" + port, ended: make(chan struct{})}
	c.cmd = exec.Command(program, "serve", "--bundle", dir, "--state", filepath.Join(dir, "state"), "--detach-lease", "2s")
	c.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PORT=" + port, "PELTON_AUDIENCE=" + audience,
		"PELTON_CALL_KEY=" + string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	line := make([]byte, len("ready batch\n"))
	_, err = io.ReadFull(out, line)
	require.NoError(t, err)
	go func() {
		_ = c.cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.ended
	})
	conn, err := grpc.NewClient(c.host, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	c.client, c.health = pb.NewActionClient(conn), grpc_health_v1.NewHealthClient(conn)
	return c
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func (c *container) token(audience string, life time.Duration) string {
	text, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{Subject: "*", Audience: jwt.ClaimStrings{audience},
		ExpiresAt: jwt.NewNumericDate(time.Now().Add(life))}).SignedString(c.key)
	require.NoError(c.t, err)
	return text
}

func (c *container) good() string { return c.token(audience, time.Minute) }

func (c *container) start(id, token string, inputs map[string][]byte) grpc.BidiStreamingClient[pb.ToAction, pb.FromAction] {
	call, err := c.client.Execute(c.t.Context())
	require.NoError(c.t, err)
	require.NoError(c.t, call.Send(&pb.ToAction{ExecutionId: id, Token: token, Body: &pb.ToAction_Start{Start: &pb.Start{Attempt: 1, Inputs: inputs}}}))
	return call
}

// follow receives until the last message; first is the first one.
func follow(t *testing.T, call grpc.BidiStreamingClient[pb.ToAction, pb.FromAction]) (all []*pb.FromAction) {
	t.Helper()
	for {
		m, err := call.Recv()
		require.NoError(t, err)
		all = append(all, m)
		if m.GetDone() != nil || m.GetFailed() != nil || m.GetUnknown() != nil {
			return all
		}
	}
}

// TestTheFirstExecutionIsToldWhatComingUpTook: in each isolation, although the language process is started before anybody asks.
func TestTheFirstExecutionIsToldWhatComingUpTook(t *testing.T) {
	node, err := exec.LookPath("node")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		handler string
		change  func(map[string]any)
	}{
		"fork":  {echo, func(b map[string]any) { b["isolation"] = "fork" }},
		"reuse": {echo, func(b map[string]any) { b["isolation"] = "reuse" }},
		"fresh": {"exports.handle = (inputs) => ({text: inputs.text})\n", func(b map[string]any) {
			b["isolation"], b["runtime"], b["interpreter"], b["handler"] = "fork", "nodejs", node, "code/handler.cjs"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := startContainer(t, c.handler, c.change)
			require.Eventually(t, func() bool { // loaded before anybody asks, as where the route takes its time
				d, err := c.client.Describe(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+c.good()), &pb.DescribeRequest{})
				return err == nil && d.GetLoaded()
			}, 30*time.Second, 10*time.Millisecond)
			told := func(id string) (kinds []pb.Phase_Kind) {
				last := int64(0)
				for _, m := range follow(t, c.start(id, c.good(), map[string][]byte{"text": []byte(`"hi"`)})) {
					if p := m.GetPhase(); p != nil {
						kinds = append(kinds, p.Kind)
						require.GreaterOrEqual(t, p.AtUnixMicros, last, p.Kind)
						last = p.AtUnixMicros
					}
				}
				return kinds
			}
			require.Equal(t, []pb.Phase_Kind{pb.Phase_LAUNCHED, pb.Phase_BOOTED, pb.Phase_LOADED, pb.Phase_STARTED, pb.Phase_RETURNED}, told("x1"))
			require.Equal(t, []pb.Phase_Kind{pb.Phase_STARTED, pb.Phase_RETURNED}, told("x2"))
		})
	}
}

func TestAContainerTakesItsSettingsFromTheEnvironment(t *testing.T) {
	c := startContainer(t, echo)
	call := c.start("x1", c.good(), map[string][]byte{"text": []byte(`"hi"`)})
	all := follow(t, call)
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, host, all[0].GetInstance().GetName(), "the instance is named by its host")
	require.NotNil(t, net.ParseIP(all[0].GetInstance().GetAddress()), "its address is an IP")
	require.NotNil(t, all[len(all)-1].GetDone(), all[len(all)-1])
	kinds := map[pb.Phase_Kind]bool{}
	for _, m := range all {
		if p := m.GetPhase(); p != nil {
			kinds[p.Kind] = true
		}
		if o := m.GetOutput(); o != nil {
			require.JSONEq(t, `"hi"`, string(o.Values["text"]))
		}
	}
	require.True(t, kinds[pb.Phase_LAUNCHED] && kinds[pb.Phase_STARTED], kinds)
	require.NoError(t, call.CloseSend())
	_, err = call.Recv()
	require.ErrorIs(t, err, io.EOF, "a half-close ends the call at once")
	answer, err := c.health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, answer.Status)
}

// TestAContainerTellsWhetherItsCodeLoads before anything is executed.
func TestAContainerTellsWhetherItsCodeLoads(t *testing.T) {
	for handler, problem := range map[string]string{
		echo:                                  "",
		"def handle(inputs):\n    return {\n": "handler.py:2: SyntaxError: '{' was never closed",
		"import no_such_module\n\ndef handle(i): return i\n": "ModuleNotFoundError: No module named 'no_such_module'",
		"import os\nos._exit(3)\n":                           "the language process ended while it loaded the handler",
	} {
		c := startContainer(t, handler)
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+c.good())
		require.Eventually(t, func() bool {
			d, err := c.client.Describe(ctx, &pb.DescribeRequest{})
			require.NoError(t, err)
			if d.Loaded || d.LoadError != "" {
				require.Equal(t, problem, d.LoadError)
				require.Equal(t, problem == "", d.Loaded)
				return true
			}
			return false
		}, 20*time.Second, 20*time.Millisecond)
	}
}

func TestACallEndsWithoutAHalfCloseAfterAMoment(t *testing.T) {
	c := startContainer(t, echo)
	call := c.start("x1", c.good(), map[string][]byte{"text": []byte(`"hi"`)})
	follow(t, call)
	_, err := call.Recv()
	require.ErrorIs(t, err, io.EOF)
}

func TestCallsWithoutAGoodTokenAreRefused(t *testing.T) {
	c := startContainer(t, echo)
	_, foreign, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	forged := *c
	forged.key = foreign
	for name, token := range map[string]string{"none": "", "of another project": c.token("other/sha256:00", time.Minute), "of another build": c.token("acme/sha256:01", time.Minute),
		"expired": c.token(audience, -time.Second), "of another key": forged.good()} {
		t.Run(name, func(t *testing.T) {
			_, err := c.client.Describe(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token), &pb.DescribeRequest{})
			require.Equal(t, codes.Unauthenticated, status.Code(err))
			call := c.start("x-"+name, token, map[string][]byte{"text": []byte(`"hi"`)})
			_, err = call.Recv()
			require.Equal(t, codes.Unauthenticated, status.Code(err))
			call, err = c.client.Execute(t.Context())
			require.NoError(t, err)
			require.NoError(t, call.Send(&pb.ToAction{ExecutionId: "x1", Token: token, Body: &pb.ToAction_Attach{Attach: &pb.Attach{FromSeq: 1}}}))
			_, err = call.Recv()
			require.Equal(t, codes.Unauthenticated, status.Code(err))
		})
	}
}

func TestAnExecutionIsFoundAgainAndAttachedTo(t *testing.T) {
	c := startContainer(t, echo)
	ctx, cut := context.WithCancel(t.Context())
	call, err := c.client.Execute(ctx)
	require.NoError(t, err)
	require.NoError(t, call.Send(&pb.ToAction{ExecutionId: "x1", Token: c.good(), Body: &pb.ToAction_Start{Start: &pb.Start{Inputs: map[string][]byte{"text": []byte(`"hi"`), "seconds": []byte("1")}}}}))
	first, err := call.Recv()
	require.NoError(t, err)
	require.NotNil(t, first.GetInstance())
	cut()
	d, err := c.client.Describe(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+c.good()), &pb.DescribeRequest{Executions: []string{"x0", "x1"}})
	require.NoError(t, err)
	require.Equal(t, []string{"x1"}, d.Known)
	again, err := c.client.Execute(t.Context())
	require.NoError(t, err)
	require.NoError(t, again.Send(&pb.ToAction{ExecutionId: "x1", Token: c.good(), Body: &pb.ToAction_Attach{Attach: &pb.Attach{FromSeq: 2}}}))
	all := follow(t, again)
	require.EqualValues(t, 2, all[0].Seq)
	require.NotNil(t, all[len(all)-1].GetDone(), all[len(all)-1])
	other, err := c.client.Execute(t.Context())
	require.NoError(t, err)
	require.NoError(t, other.Send(&pb.ToAction{ExecutionId: "x9", Token: c.good(), Body: &pb.ToAction_Attach{Attach: &pb.Attach{FromSeq: 1}}}))
	require.NotNil(t, follow(t, other)[0].GetUnknown())
}

func TestSIGTERMLetsWhatIsUnderWayEnd(t *testing.T) {
	c := startContainer(t, echo)
	call := c.start("x1", c.good(), map[string][]byte{"text": []byte(`"hi"`), "seconds": []byte("1.5")})
	for { // it is under way once the handler was called
		m, err := call.Recv()
		require.NoError(t, err)
		if p := m.GetPhase(); p != nil && p.Kind == pb.Phase_STARTED {
			break
		}
	}
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		a, err := c.health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		return err == nil && a.Status == grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}, time.Second, 5*time.Millisecond)
	late := follow(t, c.start("x2", c.good(), map[string][]byte{"text": []byte(`"hi"`)}))
	require.Equal(t, "not_started", late[len(late)-1].GetFailed().GetKind())
	all := follow(t, call)
	require.NotNil(t, all[len(all)-1].GetDone(), all[len(all)-1])
	require.NoError(t, call.CloseSend())
	<-c.ended
	require.Zero(t, c.cmd.ProcessState.ExitCode())
}

func TestAContainerWithoutSettingsSaysWhatIsMissing(t *testing.T) {
	program, err := buildWrapper()
	require.NoError(t, err)
	for missing, env := range map[string][]string{"PELTON_CALL_KEY": nil, "PELTON_AUDIENCE": {"PELTON_CALL_KEY=x"}} {
		cmd := exec.Command(program, "serve", "--bundle", t.TempDir(), "--state", t.TempDir())
		cmd.Env = env
		var out bytes.Buffer
		cmd.Stderr = &out
		require.Error(t, cmd.Run())
		require.True(t, strings.Contains(out.String(), missing+" is empty"), out.String())
	}
}
