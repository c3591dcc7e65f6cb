package config

// Limits protect the system from its callers. In each of them 0 means no limit.
type Limits struct {
	MaxBacklog       int
	CallerRate       int
	CallerBurst      int
	AddressRate      int
	CallerMaxRunning int
}

func (l *Limits) settings() []setting {
	return []setting{{
		value: &l.MaxBacklog, env: "MASS_MAX_BACKLOG", usedBy: "api dev", def: "0", min: "0",
		help: "number of pending requests above which submissions are refused with status 429; 0 means no limit",
	}, {
		value: &l.CallerRate, env: "MASS_CALLER_RATE", usedBy: "api dev", def: "0", min: "0",
		help: "requests per second that one caller may send, where each item of a batch counts as one; 0 means no limit",
	}, {
		value: &l.CallerBurst, env: "MASS_CALLER_BURST", usedBy: "api dev", def: "0", min: "0",
		help: "requests that one caller may send at once, if that is more than MASS_CALLER_RATE",
	}, {
		value: &l.AddressRate, env: "MASS_ADDRESS_RATE", usedBy: "api dev", def: "100", min: "0",
		help: "requests per second without a valid token that one IP address may send; 0 means no limit",
	}, {
		value: &l.CallerMaxRunning, env: "MASS_CALLER_MAX_RUNNING", usedBy: "worker dev", def: "0", min: "0",
		help: "number of requests of one caller that may run at once on all workers together; 0 means no limit",
	}}
}
