package userapi

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Triggers with `auth: signature` take requests that are signed with a secret of the project: as the
// Standard Webhooks specification 1.0 says (https://www.standardwebhooks.com; headers webhook-id,
// webhook-timestamp, webhook-signature), or as GitHub and others do (X-Hub-Signature-256).

// maxSigned bounds a signed body, in bytes: nothing of it may be used before all of it has come.
const maxSigned = 32 << 20

// signed checks the signature of a request and gives the key under which its run is to be the only
// one, "" where the scheme has none. The body can be read afterwards as before.
func (a *API) signed(w http.ResponseWriter, r *http.Request, project string, t *route) (key string, err error) {
	secret, err := a.UseCases.TriggerSecret(project, t.with.Secret)
	if err != nil {
		return "", err
	}
	limit := min(int64(t.with.MaxBytes), maxSigned)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return "", fault.New(fault.TooLarge, "the body is larger than %d bytes, which is the most that a trigger with auth: signature takes", limit)
	}
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, "the body could not be read: %s", err)
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if t.with.Scheme == "github" {
		return "", hubSigned(secret, body, r.Header.Get("X-Hub-Signature-256"))
	}
	return standardSigned(secret, body, r.Header)
}

func standardSigned(secret string, body []byte, h http.Header) (key string, err error) {
	wh, err := standardwebhooks.NewWebhook(secret)
	if err != nil || !strings.HasPrefix(secret, "whsec_") { // a secret that is no base64 is taken as it is
		if wh, err = standardwebhooks.NewWebhookRaw([]byte(secret)); err != nil {
			return "", fault.Wrap(err, fault.Internal, "the secret of the trigger cannot be used")
		}
	}
	if err := wh.Verify(body, h); err != nil {
		return "", unsigned(map[error]string{
			standardwebhooks.ErrRequiredHeaders:     "send the headers webhook-id, webhook-timestamp and webhook-signature",
			standardwebhooks.ErrInvalidHeaders:      "webhook-timestamp has to be seconds since 1970",
			standardwebhooks.ErrNoMatchingSignature: "webhook-signature does not match the body: sign ID.TIMESTAMP.BODY with the trigger's secret",
			standardwebhooks.ErrMessageTooOld:       "webhook-timestamp is more than 5 minutes ago",
			standardwebhooks.ErrMessageTooNew:       "webhook-timestamp is more than 5 minutes ahead",
		}, err)
	}
	// Senders repeat a message under its id until it is answered.
	return "webhook/" + h.Get(standardwebhooks.HeaderWebhookID), nil
}

func unsigned(words map[error]string, err error) error {
	for cause, text := range words {
		if errors.Is(err, cause) {
			return fault.New(fault.Unauthenticated, "the request is not signed as this trigger wants: %s", text)
		}
	}
	return fault.Wrap(err, fault.Unauthenticated, "the request is not signed as this trigger wants")
}

// hubSigned checks "sha256=<hex of HMAC-SHA256 of the body>".
func hubSigned(secret string, body []byte, header string) error {
	text, ok := strings.CutPrefix(header, "sha256=")
	given, err := hex.DecodeString(text)
	if !ok || err != nil || len(given) != sha256.Size {
		return fault.New(fault.Unauthenticated, "the request is not signed as this trigger wants: send the header X-Hub-Signature-256 with sha256= and 64 hexadecimal digits")
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	if !hmac.Equal(given, mac.Sum(nil)) {
		return fault.New(fault.Unauthenticated, "the request is not signed as this trigger wants: X-Hub-Signature-256 does not match the body and the trigger's secret")
	}
	return nil
}
