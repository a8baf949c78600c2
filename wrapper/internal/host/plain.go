package host

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/pelton-run/pelton/wrapper/wire"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// plain is a Session over a connection of plain frames.
type plain struct {
	*wire.Conn
	ctx context.Context
}

func (p plain) Send(m *pb.FromAction) error { return p.Write(m) }

func (p plain) Recv() (*pb.ToAction, error) {
	m := &pb.ToAction{}
	err := p.Read(m)
	if errors.Is(err, io.EOF) {
		err = errGone // half of a plain connection is never closed alone
	}
	return m, err
}

var errGone = errors.New("the runner has hung up")

func (p plain) Context() context.Context { return p.ctx }

// ServePlain serves Sessions on a listener of plain frames until it is closed.
func (h *Host) ServePlain(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			ctx, end := context.WithCancel(context.Background())
			defer end()
			if err := h.serve(plain{wire.New(conn), ctx}, false); err != nil {
				h.cfg.Log.Info("a session ended", "reason", err.Error())
			}
		}()
	}
}

// plainly tells whether a stream is of plain frames: its runner takes executions in one message.
func plainly(c caller) bool {
	_, ok := c.(plain)
	return ok
}
