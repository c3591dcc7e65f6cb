package jobs

import (
	"hash/fnv"
	"strconv"
	"strings"
)

// Lane is one of the queues of a priority. Lane 0 carries the requests that
// callers send within their share. The requests of a caller beyond its share (a
// crowd) wait in one of the other lanes, so that they delay at worst other
// crowds.
type Lane int16

// CrowdLanes is the number of lanes besides lane 0. A hash of the caller's name
// chooses the lane, so two crowds at the same time share one in one case of
// four.
const CrowdLanes = 4

// CrowdLane returns the lane of a caller's requests beyond its share.
func CrowdLane(caller string) Lane {
	h := fnv.New32a()
	_, _ = h.Write([]byte(caller)) // never fails
	return Lane(1 + h.Sum32()%CrowdLanes)
}

// QueueName names the Asynq queue of a priority and a lane.
func QueueName(p Priority, l Lane) string {
	if l == 0 {
		return string(p)
	}
	return string(p) + ":" + strconv.Itoa(int(l))
}

// IsCrowd reports whether a queue belongs to a lane other than 0.
func IsCrowd(queue string) bool { return strings.Contains(queue, ":") }

// Queues lists the queues that carry requests, most urgent first.
func Queues() []string {
	var list []string
	for _, p := range Priorities() {
		for l := range Lane(1 + CrowdLanes) {
			list = append(list, QueueName(p, l))
		}
	}
	return list
}

// QueueWeights returns how often a worker looks at each queue, relative to the
// others, while all of them hold work. The priorities have the proportion 6 : 3
// : 1 of Asynq's documentation, so low-priority work is slowed down but never
// starved. Within a priority, lane 0 is looked at as often as all other lanes
// together, which is four times as often as each of them.
func QueueWeights() map[string]int {
	weights := map[string]int{}
	for p, weight := range map[Priority]int{High: 6, Default: 3, Low: 1} {
		weights[QueueName(p, 0)] = weight * CrowdLanes
		for l := range Lane(CrowdLanes) {
			weights[QueueName(p, l+1)] = weight
		}
	}
	return weights
}
