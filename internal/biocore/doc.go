// Package biocore asks BioCore for recommendations. BioCore is a black box over
// HTTP that may be slow, dead or wrong, so the package has two parts:
//
//   - The client (Client, Poller) makes calls that are bounded in number, time
//     and size, retries only what may be retried, and stops calling a BioCore
//     that is down.
//   - The checks (Decode, Check) accept an answer only if it has the shape of the
//     contract, states that nothing is controlled, and respects the hard
//     constraints of its request.
//
// Contract runs the tests of the contract against any server. Package reference
// is a server of the contract with simple, documented rules.
//
// The package knows the signals shape of a request. It must not know SQL,
// queues, other parts of MASS, or the environment, and it holds no global
// state. It never sends anything but questions to BioCore: POST /recommend, GET
// /health and GET /version.
package biocore
