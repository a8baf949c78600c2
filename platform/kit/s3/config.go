// Package s3 is the way to a bucket of an S3 store: settings, a client whose errors are in words, and
// URLs by which others upload that lets them do nothing else.
package s3

import (
	"bytes"
	"errors"
	"io"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Config of Open.
type Config struct {
	Endpoint string // host:port
	Insecure bool   // HTTP without TLS
	Bucket   string
	Prefix   string // of every key, "" or ending in "/"
	Region   string
	// Credentials is a YAML file with access_key and secret_key. It is read at Open.
	Credentials string
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

const remedy = "give s3://HOST:PORT/BUCKET, optionally with /PREFIX, ?tls=false and &region=…"

// Parse reads "s3://HOST:PORT/BUCKET/PREFIX?tls=false&region=R". TLS is on and the region us-east-1
// unless it says otherwise. The error is of a field, named path.
func Parse(path, text string) (Config, error) {
	bad := func(message string) (Config, error) { return Config{}, fault.InvalidField(path, message, remedy) }
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "s3" {
		return bad("is no s3:// URL") // not told: it may hold a password
	}
	if u.User != nil {
		return Config{}, fault.InvalidField(path, "holds credentials", "put access_key and secret_key into a YAML file, and its path into s3.credentials")
	}
	c := Config{Endpoint: u.Host, Region: "us-east-1"}
	c.Bucket, c.Prefix, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if c.Prefix = strings.Trim(c.Prefix, "/"); c.Prefix != "" {
		c.Prefix += "/"
	}
	if u.Hostname() == "" {
		return bad("names no host")
	}
	if !bucketName.MatchString(c.Bucket) {
		return bad("names no bucket, or " + strconv.Quote(c.Bucket) + ", which is no name of one")
	}
	if strings.ContainsAny(c.Prefix, "*?") {
		return bad("has a wildcard in its prefix")
	}
	for key, values := range u.Query() {
		switch key {
		case "tls":
			on, err := strconv.ParseBool(values[0])
			if err != nil {
				return bad("has tls=" + values[0] + ", which is neither true nor false")
			}
			c.Insecure = !on
		case "region":
			c.Region = values[0]
		default:
			return bad("has the unknown parameter " + strconv.Quote(key))
		}
	}
	return c, nil
}

// keys are what the file of credentials holds.
type keys struct {
	AccessKey string `yaml:"access_key"`
	SecretKey string `yaml:"secret_key"`
}

func readKeys(file string) (k keys, err error) {
	bad := func(message string) (keys, error) {
		return keys{}, fault.InvalidField("s3.credentials", message, "give the path of a YAML file with access_key: … and secret_key: …")
	}
	if file == "" {
		return bad("is missing")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return bad("cannot be read: " + err.Error())
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&k); err != nil && !errors.Is(err, io.EOF) || k.AccessKey == "" || k.SecretKey == "" {
		return bad(file + " does not hold exactly access_key and secret_key") // the parser's error may quote the secret
	}
	return k, nil
}
