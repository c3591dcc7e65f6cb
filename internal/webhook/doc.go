// Package webhook sends a message to an address that a stranger named: it signs
// by the Standard Webhooks scheme (standardwebhooks.com), and guards against
// addresses that would make this process reach into networks where the stranger
// cannot (SSRF, server-side request forgery).
//
// It knows neither SQL nor queue, nor what the messages are about.
package webhook
