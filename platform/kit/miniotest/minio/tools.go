//go:build tools

// Package minio pins the MinIO that tests run against. It is a module of its own: the project never
// links it.
package minio

import _ "github.com/minio/minio"
