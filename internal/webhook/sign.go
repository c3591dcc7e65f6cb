package webhook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The Standard Webhooks scheme requires secrets of 24 to 64 bytes.
const (
	secretPrefix = "whsec_"
	secretMin    = 24
	secretMax    = 64
)

// Signer signs messages with one secret, or with several while they rotate.
type Signer struct{ secrets []*standardwebhooks.Webhook }

// ParseSecrets reads secrets of the form whsec_<base64>, separated by spaces. Each
// message is signed with all of them, so that receivers can change to a new secret
// at their own pace. The error never contains a secret.
func ParseSecrets(text string) (*Signer, error) {
	s := &Signer{}
	for i, word := range strings.Fields(text) {
		encoded, ok := strings.CutPrefix(word, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(key) < secretMin || len(key) > secretMax {
			return nil, fmt.Errorf("webhook secret %d is not %s followed by the base64 of %d to %d bytes", i+1, secretPrefix, secretMin, secretMax)
		}
		w, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			return nil, fmt.Errorf("webhook secret %d: %w", i+1, err)
		}
		s.secrets = append(s.secrets, w)
	}
	if len(s.secrets) == 0 {
		return nil, errors.New("no webhook secret is set")
	}
	return s, nil
}

// sign sets the three headers of the Standard Webhooks scheme.
func (s *Signer) sign(h http.Header, id string, at time.Time, body []byte) error {
	signatures := make([]string, len(s.secrets))
	for i, w := range s.secrets {
		var err error
		if signatures[i], err = w.Sign(id, at, body); err != nil {
			return fmt.Errorf("sign message %s: %w", id, err)
		}
	}
	h.Set(standardwebhooks.HeaderWebhookID, id)
	h.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return nil
}
