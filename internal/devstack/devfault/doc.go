// Package devfault starts private installations of PostgreSQL and Redis that
// can be broken in the ways in which real ones break: a primary with a
// streaming standby that is promoted, PgBouncer, Redis with Sentinels, Redis
// Cluster, a disk that is full, and a network that goes silent. The chaos
// harness uses it, and so do the tests of the packages that talk to these
// servers.
//
// Everything runs on 127.0.0.1, in a devstack.Folder that its Close removes.
// Like devstack, the package must not know what the servers store.
package devfault
