package server

import (
	"encoding/base64"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/pelton-run/pelton/eventing/bus"
)

// describe shows a message's body as JSON; one of an unknown type, or that cannot be read, as Base64.
func describe(m bus.Message) string {
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(m.Exchange + "." + m.Key))
	if err == nil {
		body := t.New().Interface()
		if err = proto.Unmarshal(m.Body, body); err == nil {
			return protojson.MarshalOptions{Multiline: true, Indent: "  "}.Format(body)
		}
	}
	return "(Base64) " + base64.StdEncoding.EncodeToString(m.Body)
}
