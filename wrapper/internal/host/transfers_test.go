package host_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// startsAsking starts an execution whose filestore is reached by questions.
func (l *lanesUnderTest) startsAsking(what string) {
	l.t.Helper()
	require.NoError(l.t, l.conn.Write(&pb.ToAction{ExecutionId: what, Body: &pb.ToAction_Start{Start: &pb.Start{
		Inputs: map[string][]byte{"what": fmt.Appendf(nil, "%q", what), "notes": fmt.Appendf(nil, "%q", l.notes)}, Filestore: "grant:",
		Attempt: 1, DeadlineUnixMs: time.Now().Add(20 * time.Second).UnixMilli(), Context: &pb.Context{RunId: "r", Step: "s"}}}}))
}

// asked reads to the next question.
func (l *lanesUnderTest) asked() (execution string, q *pb.FileAsk) {
	l.t.Helper()
	for {
		m := &pb.FromAction{}
		require.NoError(l.t, l.conn.Read(m))
		if q := m.GetFileAsk(); q != nil {
			return m.ExecutionId, q
		}
		l.note(m)
	}
}

func (l *lanesUnderTest) grants(execution string, g *pb.FileGrant) {
	l.t.Helper()
	require.NoError(l.t, l.conn.Write(&pb.ToAction{ExecutionId: execution, Body: &pb.ToAction_FileGrant{FileGrant: g}}))
}

// TestAskFromLane: a large result of an execution in a lane is put by way of the runner, while the
// runner can be heard; so is a cancel.
func TestAskFromLane(t *testing.T) {
	l := startLanes(t, "python3", strings.Replace(laneHandler, `    if what == "list":`, `    if what == "long":
        return {"out": "x" * 100000}
    if what == "list":`, 1))
	l.startsAsking("long 1")
	x, q := l.asked()
	require.Equal(t, "long 1", x)
	require.NotEmpty(t, q.GetKeep().GetDigest())
	l.wants("next")
	l.wait("next")
	l.grants(x, &pb.FileGrant{Id: q.Id + 100})
	l.grants(x, &pb.FileGrant{Id: q.Id})
	l.wait("long 1")
	require.Contains(t, l.ends["long 1"].outputs[0]["out"], q.GetKeep().GetDigest())

	l.startsAsking("long 2")
	x, _ = l.asked()
	require.NoError(t, l.conn.Write(&pb.ToAction{ExecutionId: x, Body: &pb.ToAction_Cancel{Cancel: &pb.Cancel{}}}))
	l.wait("long 2")
	require.Equal(t, "cancelled", l.ends["long 2"].failed.GetKind())

	l.startsAsking("long 3")
	x, q = l.asked()
	l.grants(x, &pb.FileGrant{Id: q.Id, Error: "the store is away", Later: true})
	l.wait("long 3")
	require.Equal(t, "filestore_unavailable", l.ends["long 3"].failed.GetKind())
	require.True(t, l.ends["long 3"].failed.GetRetryable())

	// A runner that attaches is asked at once what the one before it has not answered.
	l.startsAsking("long 4")
	x, q = l.asked()
	begun := time.Now()
	require.NoError(t, l.conn.Write(&pb.ToAction{ExecutionId: x, Body: &pb.ToAction_Attach{Attach: &pb.Attach{FromSeq: 1}}}))
	_, again := l.asked()
	require.Equal(t, q.Id, again.Id)
	require.Less(t, time.Since(begun), 4*time.Second)
	l.grants(x, &pb.FileGrant{Id: q.Id})
	l.wait("long 4")
}
