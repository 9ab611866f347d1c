# shop/app: what its declarative rules say. Mutations and denials of Rego policies are not in it.
package postern.rules

http := input.attributes.request.http

principal := p if { p := input.attributes.source.principal; p != "" }

method := m if { m := http.method; m != "" }

path := p if { p := split(http.path, "?")[0]; p != "" }

port := input.attributes.destination.address.socketAddress.portValue

port_text := sprintf("%d", [port])

address := a if { a := input.attributes.source.address.socketAddress.address; net.cidr_is_valid(sprintf("%s/0", [a])) }

ascii_lower := {c: l | some i, c in split("ABCDEFGHIJKLMNOPQRSTUVWXYZ", ""); l := split("abcdefghijklmnopqrstuvwxyz", "")[i]}

host := h if {
	h := trim_suffix(regex.replace(strings.replace_n(ascii_lower, http.host), ":[0-9]*$", ""), ".")
	h != ""
}

header(name) := v if { v := http.headers[name]; v != "" }

members(value) := [m | some part in split(value, ","); m := trim(part, " \t"); m != ""]

namespace := parts[0] if {
	some domain in ["shop.example", "cluster.local"]
	prefix := sprintf("spiffe://%s/ns/", [domain])
	startswith(principal, prefix)
	parts := split(trim_prefix(principal, prefix), "/")
	parts[0] != ""
	parts[1] == "sa"
	count(parts) > 2
}

guards contains "guard/san" if { startswith(principal, "spiffe://"); contains(principal, ",") }

guards contains "guard/identity" if { not startswith(principal, "spiffe://"); principal != "" }

has_plain_path if regex.match("^(?:(?:[!-$&->@-~]|%[0-9A-Fa-f]{2})+(?:\\?[!-~]*)?)$", http.path)

guards contains "guard/path" if not has_plain_path

guards contains "guard/path" if regex.match("^(?:[^?]*(?:/|%(?:[Cc]0%[Aa][Ff]|[Cc]1%9[Cc]|[Ee]0%80%[Aa][Ff]|[Ee][Ff]%[Bb][Cc]%8[Ff]))(?:\\+|%(?:[0189][0-9A-Fa-f]|20|7[Ff]|[Aa][0Dd]|[Cc]2%(?:[89][0-9A-Fa-f]|[Aa][0Dd])|[Ee]1%(?:9[Aa]%80|[Aa]0%8[Ee])|[Ee]2%8(?:0%(?:8[0-9A-Fa-f]|[Aa][89A-Fa-f])|1%(?:9[Ff]|[Aa][0-9A-Fa-f]))|[Ee]3%80%80|[Ee][Ff]%[Bb][Bb]%[Bb][Ff]))*(?:\\.|%(?:2[Ee]|[Cc]0%[Aa][Ee]|[Ee]0%80%[Aa][Ee]|[Ee]2%80%[Aa][45]|[Ee][Ff]%(?:[Bb][Cc]%8[Ee]|[Bb]9%92|[Bb]8%[Bb]0)))(?:\\+|(?:\\.|%(?:2[Ee]|[Cc]0%[Aa][Ee]|[Ee]0%80%[Aa][Ee]|[Ee]2%80%[Aa][45]|[Ee][Ff]%(?:[Bb][Cc]%8[Ee]|[Bb]9%92|[Bb]8%[Bb]0))))*(?:(?:[/?;]|%3[BbFf]|%23|%(?:[Cc]0%[Aa][Ff]|[Cc]1%9[Cc]|[Ee]0%80%[Aa][Ff]|[Ee][Ff]%[Bb][Cc]%8[Ff])|%(?:[0189][0-9A-Fa-f]|20|7[Ff]|[Aa][0Dd]|[Cc]2%(?:[89][0-9A-Fa-f]|[Aa][0Dd])|[Ee]1%(?:9[Aa]%80|[Aa]0%8[Ee])|[Ee]2%8(?:0%(?:8[0-9A-Fa-f]|[Aa][89A-Fa-f])|1%(?:9[Ff]|[Aa][0-9A-Fa-f]))|[Ee]3%80%80|[Ee][Ff]%[Bb][Bb]%[Bb][Ff]))[!-~]*)?)$", http.path)

has_plain_host if regex.match("^(?:[0-9A-Za-z_-]+(?:\\.[0-9A-Za-z_-]+)*|\\[[0-9A-Fa-f:.]+\\])$", http.host)

guards contains "guard/host" if not has_plain_host

has_plain_method if regex.match("^(?:[A-Z]+(?:-[A-Z]+)*)$", http.method)

guards contains "guard/method" if not has_plain_method

# ALLOW shop/p0
policy_0 contains "shop/p0/rules[0]" if { is_1 }
granted contains "shop/p0" if { count(policy_0) > 0 }

is_0 if { principal == "spiffe://shop.example/ns/shop/sa/web" }
is_0 if { principal == "spiffe://cluster.local/ns/shop/sa/web" }
is_0 if { startswith(principal, "spiffe://shop.example/ns/ops/") }
is_0 if { startswith(principal, "spiffe://cluster.local/ns/ops/") }
is_0 if { principal == "spiffe://other.example/ns/a/sa/b" }
is_1 if { is_0 }
is_1 if { namespace == "batch" }

denied := set()
refused := set()
default allow := false

allow if { count(guards) == 0; count(denied) == 0; permitted }

default permitted := false
permitted if { count(refused) == 0; count(granted) > 0 }
