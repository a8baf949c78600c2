//go:build !linux

package serve

func noNewPrivileges() {}
