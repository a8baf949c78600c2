package actiongrpc

import (
	"context"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

const (
	// MaxAsks is how many questions of one wrapper are answered at a time; it asks again what was dropped.
	MaxAsks = 64
	// maxSums is how many pieces one question may be about.
	maxSums = 64
	// grantLimit is how long an answer may take: a large file is read for it once.
	grantLimit = 30 * time.Minute
)

// Grant answers a wrapper's question about the filestore, for one project and no other. It may take
// long: a large file is read for it once.
func Grant(t app.Transfers, files app.Files, project string, ask *pb.FileAsk) *pb.FileGrant {
	ctx, cancel := context.WithTimeout(context.Background(), grantLimit)
	defer cancel()
	g, err := granted(ctx, t, files, project, ask)
	if err != nil {
		g = &pb.FileGrant{Error: err.Error(), Later: fault.Is(err, fault.Unavailable)}
	}
	g.Id = ask.GetId()
	return g
}

func granted(ctx context.Context, t app.Transfers, files app.Files, project string, ask *pb.FileAsk) (*pb.FileGrant, error) {
	switch what := ask.GetWhat().(type) {
	case *pb.FileAsk_Fetch:
		u, size, err := t.Fetch(ctx, project, what.Fetch)
		if fault.Is(err, fault.NotFound) {
			return &pb.FileGrant{Missing: true}, nil
		}
		return &pb.FileGrant{Urls: []*pb.FileURL{{Url: u}}, Size: size}, err
	case *pb.FileAsk_Keep:
		there, err := files.Keep(ctx, project, what.Keep.GetDigest())
		return &pb.FileGrant{Missing: !there, PieceSize: t.PieceSize()}, err
	case *pb.FileAsk_Pieces:
		p := what.Pieces
		if len(p.GetSha256()) > maxSums {
			return nil, fault.New(fault.Invalid, "at most %d pieces are asked for at a time", maxSums)
		}
		sums := make([]app.Sum, len(p.GetSha256()))
		for n, sum := range p.GetSha256() {
			if len(sum) != len(sums[n]) {
				return nil, fault.New(fault.Invalid, "a sum has %d bytes", len(sums[n]))
			}
			copy(sums[n][:], sum)
		}
		urls, err := t.Pieces(ctx, project, p.GetUpload(), int(p.GetFirst()), sums)
		g := &pb.FileGrant{}
		for _, u := range urls {
			g.Urls = append(g.Urls, &pb.FileURL{Url: u.URL, Headers: u.Headers})
		}
		return g, err
	case *pb.FileAsk_Finish:
		f := what.Finish
		return &pb.FileGrant{}, t.Finish(ctx, project, f.GetUpload(), f.GetDigest(), int(f.GetPieces()))
	}
	return nil, fault.New(fault.Unsupported, "this runner does not know the question")
}
