package httpx

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// DecodeJSON reads the body into v: at most limit bytes, one JSON value, no unknown fields.
// Every error is a fault that names the field and the remedy.
func DecodeJSON(r *http.Request, v any, limit int64) error {
	if ct := r.Header.Get("Content-Type"); ct != "" {
		if mt, _, err := mime.ParseMediaType(ct); err != nil || (mt != "application/json" && !strings.HasSuffix(mt, "+json")) {
			return fault.New(fault.Unsupported, "the body's type is %s: send Content-Type: application/json", ct)
		}
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the body could not be read")
	}
	if int64(len(data)) > limit {
		return fault.New(fault.TooLarge, "the body is larger than %d bytes", limit)
	}
	if len(data) == 0 {
		return fault.InvalidField("", "the body is empty", "send a JSON object")
	}
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return explain(err, v)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fault.InvalidField("", "there is more after the JSON value", "send one JSON object")
	}
	return nil
}

func explain(err error, v any) error {
	var typ *json.UnmarshalTypeError
	if errors.As(err, &typ) {
		return fault.InvalidField(typ.Field, "is a "+typ.Value, "give a "+kindName(typ.Type))
	}
	var syn *json.SyntaxError
	if errors.As(err, &syn) {
		return fault.InvalidField("", fmt.Sprintf("is not JSON: %s at byte %d", syn.Error(), syn.Offset), "send a JSON object")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.InvalidField("", "the JSON ends in the middle", "send the whole JSON object")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name, _ = strconv.Unquote(name)
		known := fieldNames(reflect.TypeOf(v))
		remedy := "the fields are " + strings.Join(known, ", ")
		if near := fault.Nearest(name, known); near != "" {
			remedy = "did you mean " + near + "?"
		}
		return fault.InvalidField(name, "is not a field of this request", remedy)
	}
	return fault.Wrap(err, fault.Invalid, "the body is not valid: %s", strings.TrimPrefix(err.Error(), "json: "))
}

func kindName(t reflect.Type) string {
	if t == nil {
		return "value of another type"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Slice, reflect.Array:
		return "list"
	case reflect.Map, reflect.Struct:
		return "object"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Pointer:
		return kindName(t.Elem())
	default:
		return "whole number"
	}
}

func fieldNames(t reflect.Type) []string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	var names []string
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// Page is what ?limit&cursor ask for.
type Page struct {
	Limit  int    // 1 to 200, 50 when not asked
	Cursor string // decoded text of the page before, "" at first
}

// PageOf reads ?limit&cursor; unknown query parameters are errors, so known names the others.
func PageOf(r *http.Request, known ...string) (Page, error) {
	p := Page{Limit: 50}
	allowed := append([]string{"limit", "cursor"}, known...)
	query := r.URL.Query()
	var bad []fault.Field
	for name := range query {
		found := false
		for _, k := range allowed {
			found = found || k == name
		}
		if !found {
			remedy := "the parameters are " + strings.Join(allowed, ", ")
			if near := fault.Nearest(name, allowed); near != "" {
				remedy = "did you mean " + near + "?"
			}
			bad = append(bad, fault.Field{Path: name, Message: "is not a parameter of this list", Remedy: remedy})
		}
	}
	if v := query.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 200 {
			bad = append(bad, fault.Field{Path: "limit", Message: "is " + strconv.Quote(v), Remedy: "give a number from 1 to 200"})
		}
		p.Limit = n
	}
	if v := query.Get("cursor"); v != "" {
		data, err := base64.RawURLEncoding.DecodeString(v)
		if err != nil {
			bad = append(bad, fault.Field{Path: "cursor", Message: "is not a cursor", Remedy: "pass next_cursor of the page before unchanged"})
		}
		p.Cursor = string(data)
	}
	if len(bad) > 0 {
		return Page{}, fault.InvalidFields(bad...)
	}
	return p, nil
}

// Cursor encodes the place where the next page begins; "" stays "".
func Cursor(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// List is the answer of a list.
type List[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// NewList makes a List whose items are never null.
func NewList[T any](items []T, next string) List[T] {
	if items == nil {
		items = []T{}
	}
	return List[T]{Items: items, NextCursor: Cursor(next)}
}
