package token

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

var (
	seed    = ed25519.NewKeyFromSeed([]byte(strings.Repeat("s", ed25519.SeedSize)))
	public  = seed.Public().(ed25519.PublicKey)
	shared  = Key{ID: "h", Algorithm: HS256, Secret: []byte(strings.Repeat("k", MinSecret))}
	paired  = Key{ID: "e", Algorithm: EdDSA, PublicKey: public, PrivateKey: seed}
	foreign = Key{ID: "h", Algorithm: HS256, Secret: []byte(strings.Repeat("x", MinSecret))}
)

func verifier(t *testing.T, keys ...Key) *Verifier {
	t.Helper()
	v, err := NewVerifier(Config{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestIssuedTokensVerify(t *testing.T) {
	v := verifier(t, shared, paired)
	for _, key := range []Key{shared, paired} {
		want := Claims{User: "alice", Device: "phone", Expires: time.Unix(99_999_999_999, 0)}
		signed, err := Issue(key, "", want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.Verify(signed)
		if err != nil {
			t.Fatalf("%s: %v", key.Algorithm, err)
		}
		if got.User != want.User || got.Device != want.Device || !got.Expires.Equal(want.Expires) {
			t.Errorf("%s: got %+v, want %+v", key.Algorithm, got, want)
		}
	}
}

// sign makes a token with any header and claims.
func sign(t *testing.T, method jwt.SigningMethod, kid any, secret any, claims jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, claims)
	if kid != nil {
		tok.Header["kid"] = kid
	}
	s, err := tok.SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBadTokensAreRefused(t *testing.T) {
	soon, past := time.Now().Add(time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	good := jwt.MapClaims{"sub": "alice", "aud": "catena", "exp": soon}
	hs := func(c jwt.MapClaims) string { return sign(t, jwt.SigningMethodHS256, "h", shared.Secret, c) }
	foreignToken, err := Issue(foreign, "", Claims{User: "alice", Expires: time.Unix(soon, 0)})
	if err != nil {
		t.Fatal(err)
	}
	const (
		badToken = imv1.ErrorCode_ERROR_CODE_TOKEN_INVALID
		expired  = imv1.ErrorCode_ERROR_CODE_TOKEN_EXPIRED
		audience = imv1.ErrorCode_ERROR_CODE_TOKEN_AUDIENCE
	)
	for _, tc := range []struct {
		name, token string
		want        imv1.ErrorCode
	}{
		{"missing", "", badToken},
		{"not a token", "hello", badToken},
		{"not base64", "a.b.c", badToken},
		{"too long", strings.Repeat("a", maxToken+1), badToken},
		{"alg none", sign(t, jwt.SigningMethodNone, "h", jwt.UnsafeAllowNoneSignatureType, good), badToken},
		{"hmac with the public key", sign(t, jwt.SigningMethodHS256, "e", []byte(public), good), badToken},
		{"other hash", sign(t, jwt.SigningMethodHS512, "h", shared.Secret, good), badToken},
		{"wrong signature", foreignToken, badToken},
		{"unknown key", sign(t, jwt.SigningMethodHS256, "zzz", shared.Secret, good), badToken},
		{"no key named among two", sign(t, jwt.SigningMethodHS256, nil, shared.Secret, good), badToken},
		{"key id not a string", sign(t, jwt.SigningMethodHS256, 7, shared.Secret, good), badToken},
		{"expired", hs(jwt.MapClaims{"sub": "alice", "aud": "catena", "exp": past}), expired},
		{"not yet", hs(jwt.MapClaims{"sub": "alice", "aud": "catena", "exp": soon, "nbf": soon}), expired},
		{"no expiry", hs(jwt.MapClaims{"sub": "alice", "aud": "catena"}), badToken},
		{"expiry not a number", hs(jwt.MapClaims{"sub": "alice", "aud": "catena", "exp": "soon"}), badToken},
		{"wrong audience", hs(jwt.MapClaims{"sub": "alice", "aud": "other", "exp": soon}), audience},
		{"wrong audience and expired", hs(jwt.MapClaims{"sub": "alice", "aud": "other", "exp": past}), audience},
		{"no audience", hs(jwt.MapClaims{"sub": "alice", "exp": soon}), audience},
		{"no user", hs(jwt.MapClaims{"aud": "catena", "exp": soon}), badToken},
		{"bad user", hs(jwt.MapClaims{"sub": "a.b", "aud": "catena", "exp": soon}), badToken},
		{"user not a string", hs(jwt.MapClaims{"sub": 5, "aud": "catena", "exp": soon}), badToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := verifier(t, shared, paired).Verify(tc.token)
			var r *refusal.Refusal
			if !errors.As(err, &r) || r.Code() != tc.want {
				t.Fatalf("got %v, want code %v", err, tc.want)
			}
			if r.Error() == "" {
				t.Error("the refusal has no text")
			}
		})
	}
}

func TestOnlyKeyNeedsNoName(t *testing.T) {
	tok := sign(t, jwt.SigningMethodHS256, nil, shared.Secret,
		jwt.MapClaims{"sub": "alice", "aud": []string{"x", "catena"}, "exp": time.Now().Add(time.Hour).Unix()})
	if _, err := verifier(t, shared).Verify(tok); err != nil {
		t.Error(err)
	}
}

func TestConfigErrorsNameTheKey(t *testing.T) {
	for name, keys := range map[string][]Key{
		"none":          nil,
		"short secret":  {{ID: "k1", Algorithm: HS256, Secret: []byte("short")}},
		"no public key": {{ID: "k1", Algorithm: EdDSA}},
		"algorithm":     {{ID: "k1", Algorithm: "RS256"}},
		"twice":         {shared, shared},
	} {
		if _, err := NewVerifier(Config{Keys: keys}); err == nil {
			t.Errorf("%s: accepted", name)
		} else if len(keys) == 1 && !strings.Contains(err.Error(), `"k1"`) {
			t.Errorf("%s: error does not name the key: %v", name, err)
		}
	}
	if _, err := Issue(Key{Algorithm: EdDSA, PublicKey: public}, "", Claims{User: "alice"}); err == nil {
		t.Error("a public key issued a token")
	}
}

func TestPublicKeyForms(t *testing.T) {
	const block = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"
	if key, err := ParsePublicKey(block); err != nil || len(key) != ed25519.PublicKeySize {
		t.Errorf("PEM: %v", err)
	}
	if key, err := ParsePublicKey(base64.StdEncoding.EncodeToString(public)); err != nil || !key.Equal(public) {
		t.Errorf("base64: %v", err)
	}
	if _, err := ParsePublicKey("nonsense"); err == nil {
		t.Error("nonsense was accepted")
	}
}
