/**
 * The rooms of the house: each folder of source, and the question that one opens it with.
 * A folder that is not here, or that is here and no more there, fails the architecture test; docs/architecture.md's
 * table is generated from this.
 */

/** Folder → the question that it answers. Sorted as a newcomer would walk. */
export const ROOMS: Readonly<Record<string, string>> = {
  common: 'What do controller and sidecar both have to agree on?',
  'common/authz': 'What does a policy set answer to a request, and why?',
  'common/delta-xds': 'Which message comes next on a delta xDS stream, on either side?',
  host: 'What do both programs do with the machine: private files, one program per directory?',
  controller: 'How is the controller put together, and from which flags?',
  'controller/core/accept': 'Which version of each object is in force when the newest is bad?',
  'controller/core/admission': 'What is the API server told before it stores an object?',
  'controller/core/analyze': 'What in these manifests is wrong, or hardly meant?',
  'controller/core/bundle': 'What is in the policy bundle of a workload?',
  'controller/core/ca':
    'What does a certificate say, who may have it, and is what we signed right?',
  'controller/core/crd': 'Is a document a valid object, and if not, where and why?',
  'controller/core/inject': 'What is put into a pod, and which pods are left alone or refused?',
  'controller/core/kubernetes': 'Which workloads and services do pods and Services make?',
  'controller/core/lanes': 'Which rules can Envoy decide itself, and as which matcher tree?',
  'controller/core/model': 'What is the mesh, in values?',
  'controller/core/rego': 'What does a Rego policy consist of, and what did OPA say of it?',
  'controller/core/status': 'What do we tell the user about an object?',
  'controller/core/translate': 'What mesh do these objects describe?',
  'controller/core/xds': 'Which Envoy resources does a workload get?',
  'controller/runtime': 'In which order are things gathered, decided and published?',
  'controller/runtime/identity': 'Who may have which identity, and what is spent by asking?',
  'controller/adapters/crypto': 'How is a signature really made?',
  'controller/adapters/files': 'How is the manifests folder read and watched?',
  'controller/adapters/kubernetes': 'How is the Kubernetes API read and followed?',
  'controller/adapters/grpc': 'How do proxies and sidecars talk to the controller?',
  'controller/adapters/http': 'How are bundles, status, health and metrics served?',
  'controller/adapters/metrics': 'What does the controller count and measure?',
  'controller/adapters/opa': 'How is Rego compiled?',
  'controller/adapters/state': 'How does the controller remember across restarts?',
  sidecar: 'How is the sidecar put together, and how is one request decided?',
  'sidecar/core': 'Is this proxy ready, and what does it really enforce?',
  'sidecar/core/access-log': 'What is written of a request, beside its decision?',
  'sidecar/core/decision': 'What exactly is Envoy told, and can it be taken for an allow?',
  'sidecar/core/decision-log': 'What is written of a decision, and what never?',
  'sidecar/core/envoy': 'How is Envoy configured to start, and when is it started again?',
  'sidecar/core/identity': 'When is the SVID renewed, and what if that fails?',
  'sidecar/core/input': 'What does Rego see of a request?',
  'sidecar/core/policy': 'Which policy set answers, and how is its Rego asked?',
  'sidecar/core/trace': 'What does a trace say of a decision?',
  'sidecar/core/xds': 'What does Envoy get from the sidecar itself?',
  'sidecar/runtime': 'In which order do identity, Envoy, configuration and policy come up?',
  'sidecar/adapters/crypto': 'How are keys made and used?',
  'sidecar/adapters/envoy': 'How is Envoy run and asked?',
  'sidecar/adapters/fs': 'How does the sidecar remember across restarts, and where does it log?',
  'sidecar/adapters/grpc': 'How do Envoy and the controller talk to the sidecar?',
  'sidecar/adapters/http': 'How are bundles fetched and health served?',
  'sidecar/adapters/metrics': 'What does the sidecar count and measure?',
  'sidecar/adapters/wasm': 'How is a compiled policy run?',
  'sidecar/adapters/wasm/builtins': 'Which built-in functions does the host give to Rego?',
  'sidecar/adapters/worker': 'How does the main thread know that the check worker lives?',
  cli: 'What can be asked and done from the command line?',
  'cli/explain': 'Who decides a request, and why not the others?',
  'cli/output': 'How does an answer look?',
  'cli/proxy': 'What is each proxy at, and what does it really have?',
  demo: 'Does the whole path work, on three services that one can watch?',
  drills: 'Does it hold when parts are edited, killed and attacked under load?',
  bench: 'What does it cost?',
  'bench/fleet': 'What does a whole fleet cost one controller, and who gets what of an edit?',
  scripts: 'What is generated, fetched and run around the code?',
  'scripts/architecture': 'Do the imports keep to the house’s directions?',
  'scripts/cluster': 'How does a real Kubernetes come up on one machine, and leave no trace?',
  'scripts/crd': 'How do the CRDs become types and reference docs?',
  'scripts/images': 'What is in the container images, and why always the same bytes?',
  'scripts/tests': 'Which tests are there, and what did a run really execute?',
  'scripts/tools': 'How are Envoy, OPA and the tests’ programs brought?',
}

/** The folder of a source file: its room. Root files have none. */
export function roomOf(path: string): string | undefined {
  const slash = path.lastIndexOf('/')
  return slash === -1 ? undefined : path.slice(0, slash)
}
