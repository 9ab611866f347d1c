//go:build tools

// Package tools pins the etcd server that stands behind the kube-apiserver of the tests.
package tools

import _ "go.etcd.io/etcd/server/v3"
