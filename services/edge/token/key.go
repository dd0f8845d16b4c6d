package token

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// The algorithms that a Key may have.
const (
	HS256 = "HS256"
	EdDSA = "EdDSA"
)

// MinSecret is the least length of an HS256 secret, in bytes: that of the hash.
const MinSecret = 32

// Key verifies tokens, and signs them where it holds what signing needs.
type Key struct {
	// ID is the token's "kid". Tokens without one are tried with the only key, when there is one key only.
	ID string
	// Algorithm is HS256 or EdDSA; a token signed otherwise is refused whatever its header says.
	Algorithm string
	// Secret of an HS256 key, at least MinSecret bytes; verifies and signs.
	Secret []byte
	// PublicKey of an EdDSA key; verifies.
	PublicKey ed25519.PublicKey
	// PrivateKey of an EdDSA key; signs. Servers do not need it.
	PrivateKey ed25519.PrivateKey
}

func (k Key) validate() error {
	switch k.Algorithm {
	case HS256:
		if len(k.Secret) < MinSecret {
			return fmt.Errorf("secret has %d bytes; give at least %d", len(k.Secret), MinSecret)
		}
	case EdDSA:
		if len(k.PublicKey) != ed25519.PublicKeySize {
			return fmt.Errorf("public key has %d bytes; give %d", len(k.PublicKey), ed25519.PublicKeySize)
		}
	default:
		return fmt.Errorf("algorithm is %q; give %s or %s", k.Algorithm, HS256, EdDSA)
	}
	return nil
}

func (k Key) verifier() any {
	if k.Algorithm == EdDSA {
		return k.PublicKey
	}
	return k.Secret
}

func (k Key) signer() (jwt.SigningMethod, any, error) {
	switch {
	case k.Algorithm == HS256 && len(k.Secret) > 0:
		return jwt.SigningMethodHS256, k.Secret, nil
	case k.Algorithm == EdDSA && len(k.PrivateKey) == ed25519.PrivateKeySize:
		return jwt.SigningMethodEdDSA, k.PrivateKey, nil
	}
	return nil, nil, fmt.Errorf("key %q of algorithm %q holds nothing to sign with", k.ID, k.Algorithm)
}

// ParsePublicKey reads an Ed25519 public key: a PEM block ("PUBLIC KEY"), or the 32 bytes in base64.
func ParsePublicKey(text string) (ed25519.PublicKey, error) {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse public key: %w", err)
		}
		if public, ok := key.(ed25519.PublicKey); ok {
			return public, nil
		}
		return nil, fmt.Errorf("public key is a %T; give an Ed25519 key", key)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, errors.New("public key is neither PEM nor 32 bytes in base64")
	}
	return raw, nil
}
