package jobs

import (
	"hash/fnv"
	"strconv"
	"strings"
)

// Lane is one of the queues of a priority. Lane 0 carries what callers send
// within their share; what a caller sends beyond it waits in one of the other
// lanes, so that a crowd holds up nobody but, at worst, other crowds.
type Lane int16

// CrowdLanes is how many lanes there are beside lane 0. Callers are spread over
// them by name: two crowds at once get in each other's way in one case of four.
const CrowdLanes = 4

// CrowdLane is where a caller's crowd waits.
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

// IsCrowd tells whether a queue is of another lane than 0.
func IsCrowd(queue string) bool { return strings.Contains(queue, ":") }

// Queues lists the queues that carry requests, the most urgent first.
func Queues() []string {
	var list []string
	for _, p := range Priorities() {
		for l := range Lane(1 + CrowdLanes) {
			list = append(list, QueueName(p, l))
		}
	}
	return list
}

// QueueWeights says how often a worker looks at each queue relative to the
// others when all hold work: the priorities in the proportion 6 : 3 : 1, the
// weights of Asynq's documentation, so that low-priority work is slowed and never
// starved; within a priority lane 0 as often as the crowds together, and so four
// times as often as each.
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
