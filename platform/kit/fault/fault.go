// Package fault is the one error vocabulary: a kind that edges map once, a message that is safe
// to show, the fields at fault with their remedies, and the cause, which is never shown.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what class of error it is.
type Kind string

// The kinds.
const (
	Invalid         Kind = "invalid"         // bad input: the caller mends it
	NotFound        Kind = "not_found"       // no such thing, or none that the caller may see
	Conflict        Kind = "conflict"        // the state forbids it now
	Unauthenticated Kind = "unauthenticated" // no valid credential
	Forbidden       Kind = "forbidden"       // a valid credential without the right
	Unavailable     Kind = "unavailable"     // try again later
	Exhausted       Kind = "exhausted"       // a limit is reached
	TooLarge        Kind = "too_large"       // the input is over a size limit
	Unsupported     Kind = "unsupported"     // a media type or feature that is not supported
	Gone            Kind = "gone"            // it was there and is no more
	Timeout         Kind = "timeout"         // a time limit passed
	Cancelled       Kind = "cancelled"       // the caller gave up
	Unprocessable   Kind = "unprocessable"   // understood and tried, and it failed by itself
	Internal        Kind = "internal"        // our fault
)

// Field is one thing at fault, with what would be right.
type Field struct {
	Path    string // "inputs.city", "spec.steps[2].uses"; empty = the whole
	Message string
	Remedy  string
	Line    int // 1-based, 0 = unknown
	Column  int
}

// Error is an error of a kind.
type Error struct {
	Kind    Kind
	Code    string // stable, more precise than the kind, may be empty
	Message string // safe to show
	Fields  []Field
	Err     error // the cause, for logs alone
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	for i, f := range e.Fields {
		if i > 0 || e.Message != "" {
			b.WriteString("; ")
		}
		if f.Path != "" {
			b.WriteString(f.Path + ": ")
		}
		b.WriteString(f.Message)
		if f.Remedy != "" {
			b.WriteString(" (" + f.Remedy + ")")
		}
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// WithCode sets the code and returns e.
func (e *Error) WithCode(code string) *Error { e.Code = code; return e }

// New makes an error of a kind with a message that is safe to show.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes an error of a kind around a cause; nil stays nil.
func Wrap(err error, kind Kind, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Err: err}
}

// InvalidFields is bad input with every field at fault.
func InvalidFields(fields ...Field) *Error {
	message := "the input is not valid"
	if len(fields) == 1 {
		message = "the input is not valid: " + strings.TrimPrefix(fields[0].Path+": ", ": ") + fields[0].Message
	}
	return &Error{Kind: Invalid, Message: message, Fields: fields}
}

// InvalidField is bad input in one field.
func InvalidField(path, message, remedy string) *Error {
	return InvalidFields(Field{Path: path, Message: message, Remedy: remedy})
}

// As is the fault in err's chain, nil without one.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// KindOf is the kind of the first fault in err's chain; Internal for other errors, "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e := As(err); e != nil {
		return e.Kind
	}
	return Internal
}

// Is tells whether err is a fault of the kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
