/** How long Envoy waits for the sidecar's answer to a Check: the controller configures it, the sidecar keeps to it. */
export const CHECK_TIMEOUT_MS = 500
