//go:build tools

// Package tools pins the OPA command that compiles Rego to WASM.
package tools

import _ "github.com/open-policy-agent/opa"
