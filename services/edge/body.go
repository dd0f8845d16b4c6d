package edge

import (
	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

const maxKind = 64 // bytes of CustomBody.kind

// checkBody checks that a body is there, fits its type and holds what its type requires.
func checkBody(typ imv1.MessageType, body *imv1.Body) error {
	if typ == imv1.MessageType_MESSAGE_TYPE_SYSTEM || body.GetSystem() != nil {
		return badBody("system messages are written by the server only; send MESSAGE_TYPE_CUSTOM for your own kinds")
	}
	if n := proto.Size(body); n > im.MaxBody {
		return refusal.New(imv1.ErrorCode_ERROR_CODE_BODY_TOO_LARGE,
			"the encoded body has %d bytes; at most %d are taken: upload the content and send its URL", n, im.MaxBody)
	}
	is, err := checkContent(body)
	if err != nil {
		return err
	}
	if is != typ {
		return badBody("send.type is %v but the body is of %v; set both to the same", typ, is)
	}
	return nil
}

// checkContent checks what is set in a body, and returns the type that it is of.
func checkContent(body *imv1.Body) (imv1.MessageType, error) {
	switch c := body.GetContent().(type) {
	case *imv1.Body_Text:
		return imv1.MessageType_MESSAGE_TYPE_TEXT, required("text.text", c.Text.GetText())
	case *imv1.Body_Image:
		return imv1.MessageType_MESSAGE_TYPE_IMAGE, required("image.url", c.Image.GetUrl())
	case *imv1.Body_Audio:
		return imv1.MessageType_MESSAGE_TYPE_AUDIO, required("audio.url", c.Audio.GetUrl())
	case *imv1.Body_Video:
		return imv1.MessageType_MESSAGE_TYPE_VIDEO, required("video.url", c.Video.GetUrl())
	case *imv1.Body_File:
		if err := required("file.url", c.File.GetUrl()); err != nil {
			return 0, err
		}
		return imv1.MessageType_MESSAGE_TYPE_FILE, required("file.name", c.File.GetName())
	case *imv1.Body_Location:
		return imv1.MessageType_MESSAGE_TYPE_LOCATION, checkLocation(c.Location)
	case *imv1.Body_Custom:
		if n := len(c.Custom.GetKind()); n > maxKind {
			return 0, badBody("body.custom.kind has %d bytes; give at most %d", n, maxKind)
		}
		return imv1.MessageType_MESSAGE_TYPE_CUSTOM, required("custom.kind", c.Custom.GetKind())
	}
	return 0, badBody("the message has no body; set the member of send.body that send.type names")
}

func checkLocation(l *imv1.LocationBody) error {
	// Written so that NaN is refused too.
	if lat := l.GetLatitudeDeg(); !(lat >= -90 && lat <= 90) {
		return badBody("body.location.latitude_deg is %v; give -90 to 90", lat)
	}
	if lon := l.GetLongitudeDeg(); !(lon >= -180 && lon <= 180) {
		return badBody("body.location.longitude_deg is %v; give -180 to 180", lon)
	}
	return nil
}

func required(name, value string) error {
	if value == "" {
		return badBody("body.%s is empty; it must not be", name)
	}
	return nil
}

func badBody(format string, args ...any) error {
	return refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_BODY, format, args...)
}
