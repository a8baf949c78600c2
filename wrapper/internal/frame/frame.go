// Package frame is the wire between the wrapper and a language process: a stream of messages
// over an inherited socket, each a 4-byte big-endian length and that many bytes of JSON.
package frame

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Max is the size above which a frame is refused: the limit of all outputs of an execution.
const Max = 80 << 20

// TooLargeError tells that the language process sent more than Max.
type TooLargeError struct{ Size uint32 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a message of %d bytes is over the limit of %d", e.Size, Max)
}

// Message is a message from a language process.
type Message struct {
	T         string                       `json:"t"`
	ID        string                       `json:"id,omitempty"`
	LoadUS    int64                        `json:"load_us,omitempty"`
	Threads   int                          `json:"threads,omitempty"`
	Stream    string                       `json:"s,omitempty"`
	Level     string                       `json:"l,omitempty"`
	Text      string                       `json:"m,omitempty"`
	Fraction  float64                      `json:"f,omitempty"`
	Values    []map[string]json.RawMessage `json:"v,omitempty"`
	List      bool                         `json:"list,omitempty"`
	EventSeq  uint64                       `json:"seq,omitempty"`
	EventKey  string                       `json:"key,omitempty"`
	Cursor    json.RawMessage              `json:"cursor,omitempty"`
	Kind      string                       `json:"kind,omitempty"`
	Code      string                       `json:"code,omitempty"`
	Stack     string                       `json:"stack,omitempty"`
	Field     string                       `json:"field,omitempty"`
	Retryable bool                         `json:"retryable,omitempty"`
	Details   json.RawMessage              `json:"details,omitempty"`
	PID       int                          `json:"pid,omitempty"`
	Status    int                          `json:"status,omitempty"`
	CPUMicros int64                        `json:"cpu_us,omitempty"`
	RSSKiB    int64                        `json:"rss_kb,omitempty"`
	Micros    int64                        `json:"us,omitempty"` // how long the handler took, by the process's own clock
	Took      bool                         `json:"q,omitempty"`  // the next execution was taken from the queue
}

// Reader reads messages; one goroutine uses it.
type Reader struct {
	r   *bufio.Reader
	buf []byte
}

// NewReader makes a Reader.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 64<<10)} }

// Read reads the next message.
func (r *Reader) Read() (*Message, error) {
	var head [4]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > Max {
		return nil, &TooLargeError{n}
	}
	// Raw values point into the buffer's copy that the decoder makes, so it can be used again.
	if cap(r.buf) < int(n) || cap(r.buf) > 1<<20 && n < 1<<16 {
		r.buf = make([]byte, max(int(n), 4096))
	}
	b := r.buf[:n]
	if _, err := io.ReadFull(r.r, b); err != nil {
		return nil, err
	}
	if m, ok := result(b); ok {
		return m, nil
	}
	m := &Message{}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("message of the language process: %w", err)
	}
	return m, nil
}

// Writer writes messages. Safe for concurrent use.
type Writer struct {
	mu sync.Mutex
	w  io.Writer
}

// NewWriter makes a Writer.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write sends text, which is one JSON value.
func (w *Writer) Write(text []byte) error {
	b := make([]byte, 4+len(text))
	binary.BigEndian.PutUint32(b, uint32(len(text)))
	copy(b[4:], text)
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.w.Write(b)
	return err
}

// Send sends v as JSON.
func (w *Writer) Send(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.Write(data)
}
