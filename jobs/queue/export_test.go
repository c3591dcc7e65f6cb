package queue

import "github.com/redis/go-redis/v9"

// AtLeast62 lets tests call the comparison of versions.
func AtLeast62(version string) bool { return atLeast(version, 6, 2) }

// Ring lets tests ring the doorbell.
var Ring = ring

// Rings returns how many rings for a queue a doorbell has heard.
func Rings(d *Doorbell, queue string) int64 { return d.rings[queue].Load() }

// ChangesChannel is the channel of AnnounceChanges.
func ChangesChannel(rdb redis.UniversalClient) string { return channelOf(rdb, changesName) }
