package host_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// A runner that sends batches gets batches; an execution is forgotten once its end is fetched and
// settled, and not before.
func TestBatch(t *testing.T) {
	a := pyEcho
	a.isolation = "reuse"
	i := a.start(t)
	const n = 4
	for round := range 20 { // later ones share the processes that earlier ones left
		var all []*pb.ToAction
		for k := range n {
			all = append(all, &pb.ToAction{ExecutionId: fmt.Sprintf("b%d-%d", round, k), Body: &pb.ToAction_Start{Start: &pb.Start{
				Inputs: map[string][]byte{"x": fmt.Append(nil, k)}, Attempt: 1, Context: &pb.Context{RunId: "r", Step: "s"}}}})
		}
		require.NoError(t, i.stream.Send(&pb.ToAction{Body: &pb.ToAction_Batch{Batch: &pb.ToActionBatch{Messages: all}}}))
		seqs, outputs, ends := map[string]uint64{}, map[string]string{}, 0
		for ends < n {
			m, err := i.stream.Recv()
			require.NoError(t, err)
			list := []*pb.FromAction{m}
			if b := m.GetBatch(); b != nil {
				require.Greater(t, len(b.Messages), 1)
				list = b.Messages
			}
			for _, m := range list {
				require.Equal(t, seqs[m.ExecutionId]+1, m.Seq, "in order, without gaps")
				seqs[m.ExecutionId] = m.Seq
				require.Nil(t, m.GetFailed())
				if o := m.GetOutput(); o != nil {
					outputs[m.ExecutionId] = string(o.Values["x"])
				}
				if m.GetDone() != nil {
					ends++
				}
			}
		}
		for k := range n {
			require.Equal(t, fmt.Sprint(k), outputs[fmt.Sprintf("b%d-%d", round, k)])
		}
	}
	attach := func(id string) *pb.FromAction {
		require.NoError(t, i.stream.Send(&pb.ToAction{ExecutionId: id, Body: &pb.ToAction_Attach{Attach: &pb.Attach{FromSeq: 1}}}))
		m, err := i.stream.Recv()
		require.NoError(t, err)
		return m
	}
	require.NoError(t, i.stream.Send(&pb.ToAction{ExecutionId: "b0-0", Body: &pb.ToAction_Forget{Forget: &pb.Forget{}}}))
	require.NotNil(t, attach("b0-0").GetUnknown(), "forgotten")
	require.Nil(t, attach("b0-1").GetUnknown(), "kept for who has not settled it")
}
