package domain

import (
	"encoding/binary"
	"errors"
	"math"
)

// The journal's encoding: varints and length-prefixed bytes, fields in a fixed order that
// only grows at its end. A reader takes missing trailing fields as zero and ignores what
// it does not know, so old rows stay readable and new ones can be read by the code before.

type encoder struct{ b []byte }

func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)   { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) bytes(v []byte) {
	e.uint(uint64(len(v)))
	e.b = append(e.b, v...)
}
func (e *encoder) string(v string) {
	e.uint(uint64(len(v)))
	e.b = append(e.b, v...)
}
func (e *encoder) bool(v bool) {
	if v {
		e.b = append(e.b, 1)
	} else {
		e.b = append(e.b, 0)
	}
}
func (e *encoder) float(v float64) { e.uint(math.Float64bits(v)) }

// value keeps nil apart from empty.
func (e *encoder) value(v []byte) {
	if v == nil {
		e.uint(0)
		return
	}
	e.uint(uint64(len(v)) + 1)
	e.b = append(e.b, v...)
}
func (e *encoder) path(p []int32) {
	e.uint(uint64(len(p)))
	for _, i := range p {
		e.uint(uint64(i))
	}
}
func (e *encoder) values(v Values) {
	if v == nil {
		e.uint(0)
		return
	}
	e.uint(uint64(len(v)) + 1)
	for k, x := range v {
		e.string(k)
		e.value(x)
	}
}

// ordered is values with the keys in order, for what is compared.
func (e *encoder) ordered(v Values) {
	if len(v) < 2 {
		e.values(v)
		return
	}
	e.uint(uint64(len(v)) + 1)
	for _, k := range sortedKeys(v) {
		e.string(k)
		e.value(v[k])
	}
}

var errShort = errors.New("the row ends in the middle of a field")

type decoder struct {
	b   []byte
	err error
}

func (d *decoder) uint() uint64 {
	if len(d.b) == 0 {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}
func (d *decoder) int() int64 {
	if len(d.b) == 0 {
		return 0
	}
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}
func (d *decoder) fail() { d.err, d.b = errShort, nil }

// take gives n bytes that alias the row: rows are never changed.
func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}
func (d *decoder) bytes() []byte  { return d.take(d.uint()) }
func (d *decoder) string() string { return string(d.bytes()) }
func (d *decoder) bool() bool     { return d.uint() != 0 }
func (d *decoder) float() float64 { return math.Float64frombits(d.uint()) }
func (d *decoder) value() []byte {
	n := d.uint()
	if n == 0 {
		return nil
	}
	return d.take(n - 1)
}

// count guards against sizes that the row cannot hold.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}
func (d *decoder) path() []int32 {
	n := d.count()
	if n == 0 {
		return nil
	}
	p := make([]int32, n)
	for i := range p {
		p[i] = int32(d.uint())
	}
	return p
}
func (d *decoder) values() Values {
	n := d.uint()
	if n == 0 {
		return nil
	}
	n--
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := make(Values, n)
	for range n {
		k := d.string()
		v[k] = d.value()
	}
	return v
}
