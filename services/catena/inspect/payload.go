package inspect

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/catena-im/catena/pkg/chain"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// TypeKey is the type name under which Payload decodes the key of a store.
const TypeKey = "key"

// Types are the type names that Payload takes, sorted.
func Types() []string {
	types := []string{TypeKey}
	for _, file := range []protoreflect.FileDescriptor{
		imv1.File_im_v1_edge_proto, imv1.File_im_v1_error_proto, imv1.File_im_v1_frame_proto,
		imv1.File_im_v1_message_proto, imv1.File_im_v1_store_proto, imv1.File_im_v1_stream_proto,
	} {
		for i := range file.Messages().Len() {
			types = append(types, string(file.Messages().Get(i).Name()))
		}
	}
	slices.Sort(types)
	return types
}

// Payload decodes data as a protobuf message of package im.v1, or as the key of a store. It reports unknown fields,
// which tell a wrong type, or a newer version of it.
func Payload(name string, data []byte) (json.RawMessage, error) {
	if name == TypeKey {
		k, err := chain.DecodeKey(data)
		if err != nil {
			return nil, err
		}
		r := Record{Bytes: len(data)}
		r.name(k)
		return json.Marshal(r)
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("im.v1." + name))
	if err != nil {
		return nil, fmt.Errorf("there is no type %s; there are: %s", name, strings.Join(Types(), ", "))
	}
	m := t.New().Interface()
	text, err := decoded(data, m)
	if err == nil && len(m.ProtoReflect().GetUnknown()) > 0 {
		err = fmt.Errorf("%s has fields that this version does not know: the type is another one, or newer; what is known: %s", name, text)
	}
	return text, err
}

// Bytes reads data written in hexadecimal or base64 (standard or URL alphabet), blanks left out.
func Bytes(text string) ([]byte, error) {
	text = strings.Join(strings.Fields(text), "")
	if b, err := hex.DecodeString(strings.TrimPrefix(text, "0x")); err == nil {
		return b, nil
	}
	unpadded := strings.TrimRight(text, "=")
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if b, err := e.DecodeString(unpadded); err == nil {
			return b, nil
		}
	}
	return nil, errors.New("neither hexadecimal nor base64")
}
