// Package token verifies and issues the JSON Web Tokens that name the user of a connection. It accepts only what the
// configured keys signed with their own algorithm, requires an expiry and the configured audience, and tells a client
// in words which of these failed. It keeps no list of issued or withdrawn tokens: a token is good until it expires.
package token

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// DefaultAudience is the audience of tokens when none is configured.
const DefaultAudience = "catena"

// maxToken bounds what is parsed, in bytes.
const maxToken = 8 << 10

// Config says which tokens are accepted.
type Config struct {
	// Keys of which any may have signed a token; at least one. IDs are distinct.
	Keys []Key
	// Audience that a token must name; empty means DefaultAudience.
	Audience string
}

// Claims are what a token says.
type Claims struct {
	User    im.UserID   // "sub"
	Device  im.DeviceID // "device"; empty: any
	Expires time.Time   // "exp"
}

// Verifier verifies tokens. It may be used by many goroutines at once.
type Verifier struct {
	keys     map[string]Key
	only     string // id of the only key
	audience string
	parser   *jwt.Parser
}

// wire is the claims as they stand in the token.
type wire struct {
	jwt.RegisteredClaims
	Device string `json:"device,omitempty"`
}

// NewVerifier makes a verifier. The error names the key that is wrong.
func NewVerifier(cfg Config) (*Verifier, error) {
	if len(cfg.Keys) == 0 {
		return nil, errors.New("no keys; give at least one to verify tokens with")
	}
	v := &Verifier{keys: make(map[string]Key, len(cfg.Keys)), audience: cfg.Audience}
	if v.audience == "" {
		v.audience = DefaultAudience
	}
	for _, k := range cfg.Keys {
		if err := k.validate(); err != nil {
			return nil, fmt.Errorf("key %q: %w", k.ID, err)
		}
		if _, twice := v.keys[k.ID]; twice {
			return nil, fmt.Errorf("key %q: id is used twice", k.ID)
		}
		v.keys[k.ID] = k
	}
	if len(cfg.Keys) == 1 {
		v.only = cfg.Keys[0].ID
	}
	v.parser = jwt.NewParser(jwt.WithValidMethods([]string{HS256, EdDSA}), jwt.WithExpirationRequired(),
		jwt.WithAudience(v.audience))
	return v, nil
}

// Verify returns what the token says. Its error is a *refusal.Refusal.
func (v *Verifier) Verify(token string) (Claims, error) {
	switch {
	case token == "":
		return Claims{}, invalid("the token is missing; put a JWT into Connect.token")
	case len(token) > maxToken:
		return Claims{}, invalid("the token has %d bytes; at most %d are read", len(token), maxToken)
	}
	var claims wire
	if _, err := v.parser.ParseWithClaims(token, &claims, v.key); err != nil {
		return Claims{}, v.refuse(err, &claims)
	}
	c := Claims{User: im.UserID(claims.Subject), Device: im.DeviceID(claims.Device), Expires: claims.ExpiresAt.Time}
	if err := c.User.Validate(); err != nil {
		return Claims{}, invalid(`the token's "sub" is not a user: %v`, err)
	}
	return c, nil
}

// key chooses the key by the token's header and insists on the key's own algorithm.
func (v *Verifier) key(t *jwt.Token) (any, error) {
	id, named := t.Header["kid"].(string)
	if !named && len(v.keys) == 1 {
		id = v.only
	}
	k, known := v.keys[id]
	if !known {
		return nil, errors.New("unknown key")
	}
	if t.Method.Alg() != k.Algorithm {
		return nil, errors.New("wrong algorithm")
	}
	return k.verifier(), nil
}

// refuse turns an error of the parser into what a client is told. What a refreshed token would not mend goes first.
func (v *Verifier) refuse(err error, claims *wire) error {
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return invalid("the token is not a JWT; give three base64url parts with dots between them")
	case errors.Is(err, jwt.ErrTokenUnverifiable), errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return invalid("the token is not signed by a key of this server; check its kid, its algorithm (HS256 or EdDSA) and the key")
	case errors.Is(err, jwt.ErrTokenInvalidAudience),
		errors.Is(err, jwt.ErrTokenRequiredClaimMissing) && len(claims.Audience) == 0:
		return refusal.New(imv1.ErrorCode_ERROR_CODE_TOKEN_AUDIENCE, "the token is for another audience; issue it with aud %q", v.audience)
	case errors.Is(err, jwt.ErrTokenExpired):
		return refusal.New(imv1.ErrorCode_ERROR_CODE_TOKEN_EXPIRED, "the token has expired; get a new one and connect again")
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return refusal.New(imv1.ErrorCode_ERROR_CODE_TOKEN_EXPIRED, "the token is not valid yet; check the clock of the machine that issues tokens")
	}
	return invalid(`the token's claims cannot be used: %v; "sub", "aud" and "exp" are required`, err)
}

// Issue signs a token with a key that can sign. An empty audience means DefaultAudience.
func Issue(key Key, audience string, c Claims) (string, error) {
	method, secret, err := key.signer()
	if err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	if err := c.User.Validate(); err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	if audience == "" {
		audience = DefaultAudience
	}
	t := jwt.NewWithClaims(method, wire{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject:   string(c.User),
			Audience:  jwt.ClaimStrings{audience},
			ExpiresAt: jwt.NewNumericDate(c.Expires),
			IssuedAt:  jwt.NewNumericDate(time.Now()),
		},
		Device: string(c.Device),
	})
	t.Header["kid"] = key.ID
	signed, err := t.SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	return signed, nil
}

func invalid(format string, args ...any) error {
	return refusal.New(imv1.ErrorCode_ERROR_CODE_TOKEN_INVALID, format, args...)
}
