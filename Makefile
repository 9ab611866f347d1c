# Everything that one does with this repository; `make help` lists it.
# Needs Node ≥ 20 with npm, Python 3 with pip or venv, git; the rest is fetched, pinned, into the user's cache.
.DEFAULT_GOAL := help
.NOTPARALLEL:
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
NODE := node_modules/.bin/node
COMMANDS := help node_modules tools test-tools cluster-tools build typecheck test unit integration golden conformance e2e \
  coverage cluster cluster-down cluster-test images push install uninstall demo bench bench-rules bench-fleet proof lint format generate \
  generate-check proto clean ci
.PHONY: $(COMMANDS)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

node_modules: ## npm packages and the pinned Node, as package-lock.json says
	@command -v node >/dev/null || { echo 'Node is missing: install Node 20 or newer with npm.' >&2; exit 1; }
	@node scripts/node-modules.mjs

tools: node_modules ## Envoy and OPA, into the user's cache; .tools/ points there
	@$(NODE) scripts/tools.ts

test-tools: node_modules ## etcd, kube-apiserver, Prometheus and an OpenTelemetry collector, which the tests run
	@$(NODE) scripts/tools.ts --test

cluster-tools: node_modules ## Kubernetes, containerd, CoreDNS and Helm, which make cluster runs; needs root
	@$(NODE) scripts/tools.ts --cluster

build: node_modules ## the programs as JavaScript, a whole installation in dist/
	$(NODE) scripts/build.ts

typecheck: node_modules
	tsc --noEmit

test: typecheck lint generate-check tools test-tools cluster-tools ## everything: types, lint, drift, all tests
	$(NODE) scripts/run-tests.ts

unit: node_modules ## the pure, fast tests
	$(NODE) scripts/run-tests.ts unit

integration: node_modules tools test-tools ## the tests with real Envoy, OPA and kube-apiserver
	$(NODE) scripts/run-tests.ts integration waiting

conformance: node_modules tools test-tools ## other people's tests and examples
	$(NODE) scripts/run-tests.ts conformance

e2e: node_modules tools ## the whole path: sidecars, Envoys, edits and outages
	$(NODE) scripts/run-tests.ts e2e

cluster-test: node_modules tools cluster-tools ## the tests in a Kubernetes of their own; needs root
	$(NODE) scripts/run-tests.ts cluster

golden: node_modules tools cluster-tools ## write the golden files anew; read the diff before you commit it
	TAP_SNAPSHOT=1 $(NODE) scripts/run-tests.ts unit golden
	git status --short test/golden

coverage: node_modules ## report which lines each module's own unit test reaches
	tap run --coverage-map=test/coverage-map.mjs --coverage-report=text --allow-incomplete-coverage \
	  --allow-empty-coverage --reporter=silent $$(find test/unit -name '*.test.ts' | sort)

cluster: node_modules ## a Kubernetes of one node; CLUSTER=name, CLUSTER_NETWORK=10.99, KUBERNETES=1.34 to 1.37; needs root
	@$(NODE) scripts/cluster.ts up

cluster-down: node_modules ## end it, without a trace
	@$(NODE) scripts/cluster.ts down

images: node_modules tools ## OCI archives of controller, sidecar and init, into .tools/images and the cluster, if it is up
	@$(NODE) scripts/images.ts

push: node_modules tools ## the same to a registry: REGISTRY=registry.example.com/postern
	@$(NODE) scripts/tools.ts --push
	@$(NODE) scripts/images.ts push

install: node_modules ## the chart into the cluster of make cluster, with the images of make images
	.tools/helm upgrade --install postern charts/postern --kubeconfig .tools/cluster/kubeconfig \
	  --namespace postern-system --create-namespace --set image.pullPolicy=Never --wait --timeout 3m

uninstall: ## take it out again; charts/postern/README.md says what stays
	.tools/helm uninstall postern --kubeconfig .tools/cluster/kubeconfig --namespace postern-system --wait

demo: node_modules tools ## three services, each with sidecar and Envoy: what is allowed, what is denied, and why
	$(NODE) demo/main.ts

bench: node_modules tools ## measure start, memory and latency
	$(NODE) bench/standalone.ts

bench-fleet: node_modules tools ## measure 1,000 and 5,000 proxies on one controller; writes docs/performance.md
	$(NODE) bench/fleet.ts

bench-rules: node_modules tools ## measure what 10 to 10,000 rules cost in Envoy; writes docs/performance.md
	$(NODE) bench/rules.ts

proof: node_modules tools test-tools ## the long trials: outages, renewals and edits under load
	$(NODE) drills/main.ts

lint: node_modules ## Biome: format and lint rules
	biome check .

format: node_modules ## let Biome write what it can
	biome check --write .

generate: node_modules ## write all generated files
	$(NODE) scripts/generate.ts

generate-check: node_modules ## fail when a generated file differs from its source
	$(NODE) scripts/generate.ts --check

proto: node_modules ## write proto/gen only
	$(NODE) scripts/gen-protos.ts

clean: ## remove what make made in this folder (the user's cache stays)
	rm -rf node_modules .tap .tools coverage

ci: test demo ## what .ci/run runs
