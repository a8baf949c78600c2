package frame

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

var results = []string{
	`{"t":"result","id":"r:s:1","v":[{"x":1}],"list":false,"cpu_us":12,"rss_kb":9000,"us":345}`,
	`{"t":"result","id":"r","v":[{"x":{"a":[1,"],}"]},"y":"\"\\","z":null},{}],"list":true,"q":true}`,
	`{"t":"result","v":[],"id":""}`,
	`{"t":"result","v":[{"x":-1.5e3,"y":"ä","w":""}],"list":false}`,
	`{"t":"result","v":[{"x":1,"x":2}],"list":false}`,
}

// others are left to encoding/json, right or wrong.
var others = []string{
	`{"t":"result", "id":"r"}`,
	`{"t":"result","id":"\u0041"}`,
	`{"t":"result","id":"ä"}`,
	`{"t":"result","v":[{"ä":1}]}`,
	`{"t":"result","v":[null]}`,
	`{"t":"result","v":null}`,
	`{"t":"result","v":[{"x": 1}]}`,
	`{"t":"result","v":[{"x":1 }]}`,
	`{"t":"result","v":[{"x":}]}`,
	`{"t":"result","v":[{"x":tru}]}`,
	`{"t":"result","v":[{"x":1]}`,
	`{"t":"result","v":[{"x":1}`,
	`{"t":"result","v":[`,
	`{"t":"result","cpu_us":01}`,
	`{"t":"result","cpu_us":9999999999999999999}`,
	`{"t":"result","cpu_us":-1}`,
	`{"t":"result","m":"more"}`,
	`{"t":"result","list":1}`,
	`{"t":"result","id":"r"}}`,
	`{"t":"result",}`,
	`{"t":"result"}`,
	`{"t":"done","id":"r"}`,
	"",
}

// TestResult: what is read the short way is read as encoding/json would.
func TestResult(t *testing.T) {
	for _, text := range results {
		m, ok := result([]byte(text))
		require.True(t, ok, text)
		same(t, text, m)
	}
	for _, text := range others {
		_, ok := result([]byte(text))
		require.False(t, ok, text)
	}
}

func same(t *testing.T, text string, m *Message) {
	t.Helper()
	var want Message
	require.NoError(t, json.Unmarshal([]byte(text), &want), text)
	require.Equal(t, &want, m, text)
}

func FuzzResult(f *testing.F) {
	for _, text := range append(results, others...) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if m, ok := result([]byte(text)); ok {
			same(t, text, m)
		}
	})
}

// TestReaderKeeps: a message stays as it was while later ones are read.
func TestReaderKeeps(t *testing.T) {
	var b bytes.Buffer
	for _, text := range []string{results[0], results[1]} {
		var head [4]byte
		binary.BigEndian.PutUint32(head[:], uint32(len(text)))
		b.Write(head[:])
		b.WriteString(text)
	}
	r := NewReader(&b)
	first, err := r.Read()
	require.NoError(t, err)
	_, err = r.Read()
	require.NoError(t, err)
	same(t, results[0], first)
}

func BenchmarkResult(b *testing.B) {
	text := []byte(results[0])
	b.Run("short", func(b *testing.B) {
		for b.Loop() {
			if _, ok := result(text); !ok {
				b.Fatal()
			}
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		for b.Loop() {
			var m Message
			if err := json.Unmarshal(text, &m); err != nil {
				b.Fatal(err)
			}
		}
	})
}
