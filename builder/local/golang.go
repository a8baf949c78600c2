package local

import "context"

func (j *job) golang(_ context.Context, _ interpreter, _ string) (string, error) {
	return "", &Error{Kind: "runtime_missing", Message: "Go actions cannot be built by this version"}
}
