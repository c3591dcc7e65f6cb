package config

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// HTTP is about the HTTP edge of the API.
type HTTP struct {
	Addr string

	MaxBody        int64
	MaxBatchBody   int64
	MaxDepth       int
	MaxHeaders     int
	MaxHeaderBytes int

	AnswerTimeout time.Duration
	ReadTimeout   time.Duration
	WriteTimeout  time.Duration
	IdleTimeout   time.Duration
	DrainDelay    time.Duration

	TLSCert        string
	TLSKey         string
	TrustedProxies Networks
	CORSOrigins    Origins

	// The following are no settings: an operator has no use for other values
	// than the default, but tests have.

	ReadHeaderTimeout time.Duration // for reading the header of one HTTP request
	WaitInterval      time.Duration // between looks at requests that clients wait for, in case a notification was lost
	KeepAlive         time.Duration // between signs of life in an event stream
	TLSReload         time.Duration // between looks at the files of certificate and key
}

func (h *HTTP) settings() []setting {
	return []setting{{
		value: &h.Addr, env: "MASS_ADDR", usedBy: "api dev", def: ":8000",
		help: "address and port on which the API listens",
	}, {
		value: &h.MaxBody, env: "MASS_MAX_BODY", usedBy: "api dev", def: "1048576", min: "1024",
		help: "largest accepted request body, in bytes",
	}, {
		value: &h.MaxBatchBody, env: "MASS_MAX_BATCH_BODY", usedBy: "api dev", def: "33554432", min: "1024",
		help: "largest accepted body of a batch of submissions, in bytes; " +
			"each submission in it is limited by MASS_MAX_BODY",
	}, {
		value: &h.MaxDepth, env: "MASS_MAX_DEPTH", usedBy: "api dev", def: "32", min: "4",
		help: "how deeply objects and arrays may be nested in a payload",
	}, {
		value: &h.MaxHeaders, env: "MASS_MAX_HEADERS", usedBy: "api dev", def: "100", min: "20",
		help: "maximum number of header fields in an HTTP request",
	}, {
		value: &h.MaxHeaderBytes, env: "MASS_MAX_HEADER_BYTES", usedBy: "api dev", def: "65536", min: "4096",
		help: "approximate maximum size of the header of an HTTP request, in bytes",
	}, {
		value: &h.AnswerTimeout, env: "MASS_ANSWER_TIMEOUT", usedBy: "api dev", def: "5s", min: "100ms",
		help: "how long an HTTP request waits for the database before it is answered with status 503",
	}, {
		value: &h.ReadTimeout, env: "MASS_READ_TIMEOUT", usedBy: "api dev", def: "15s", min: "100ms",
		help: "time limit for reading one HTTP request",
	}, {
		value: &h.WriteTimeout, env: "MASS_WRITE_TIMEOUT", usedBy: "api dev", def: "30s", min: "100ms",
		help: "time limit for answering one HTTP request",
	}, {
		value: &h.IdleTimeout, env: "MASS_IDLE_TIMEOUT", usedBy: "api dev", def: "2m", min: "1s",
		help: "how long an idle keep-alive connection stays open",
	}, {
		value: &h.DrainDelay, env: "MASS_DRAIN_DELAY", usedBy: "api", def: "0s",
		help: "how long the API reports that it is not ready before it stops accepting connections, " +
			"so that load balancers notice the shutdown",
	}, {
		value: &h.TLSCert, env: "MASS_TLS_CERT", usedBy: "api",
		help: "PEM file with the certificate of the API, followed by intermediate certificates; " +
			"it is reloaded when it changes; without it the API serves plain HTTP",
	}, {
		value: &h.TLSKey, env: "MASS_TLS_KEY", usedBy: "api",
		help: "PEM file with the private key of MASS_TLS_CERT",
	}, {
		value: &h.TrustedProxies, env: "MASS_TRUSTED_PROXIES", usedBy: "api",
		help: "networks of proxies whose X-Forwarded-For and X-Forwarded-Proto headers are trusted, " +
			"separated by commas, such as 10.1.0.0/16",
	}, {
		value: &h.CORSOrigins, env: "MASS_CORS_ORIGINS", usedBy: "api dev",
		help: "origins of other sites whose scripts may call the API with a token, " +
			"separated by commas, such as https://app.example.com",
	},
		{value: &h.ReadHeaderTimeout, def: "5s"},
		{value: &h.WaitInterval, def: "2s"},
		{value: &h.KeepAlive, def: "15s"},
		{value: &h.TLSReload, def: "5s"},
	}
}

func (h *HTTP) check() error {
	if (h.TLSCert == "") != (h.TLSKey == "") {
		return errors.New("MASS_TLS_CERT and MASS_TLS_KEY must be set together, but only one of them is")
	}
	return nil
}

// Origins are origins of web sites, as browsers write them.
type Origins []string

// UnmarshalText reads origins that are separated by commas or spaces.
func (o *Origins) UnmarshalText(text []byte) error {
	var list Origins
	for _, word := range splitList(string(text)) {
		u, err := url.Parse(word)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Scheme+"://"+u.Host != word || strings.ToLower(word) != word {
			return fmt.Errorf("%q is not an origin such as https://app.example.com", word)
		}
		list = append(list, word)
	}
	*o = list
	return nil
}
