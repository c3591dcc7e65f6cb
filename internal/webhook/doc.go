// Package webhook sends messages to addresses that clients choose. It signs them by
// the Standard Webhooks scheme (standardwebhooks.com), and refuses addresses that
// would make this process reach into networks that the client cannot reach itself
// (SSRF, server-side request forgery).
//
// The package must know neither SQL nor queues, nor what the messages are about.
package webhook
