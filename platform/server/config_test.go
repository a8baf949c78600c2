package server

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTargets(t *testing.T) {
	const pg, rabbit, issuer = "PELTON_STORE=postgres://u:p@h/", "PELTON_BUS=amqp://u:p@h/", "PELTON_AUTHORIZATION_URL=http://h:8080"
	for name, c := range map[string]struct {
		environ []string
		says    string // empty: the settings are right
	}{
		"all by default":                {nil, ""},
		"all over a broker":             {[]string{rabbit}, ""},
		"an unknown bus":                {[]string{"PELTON_BUS=kafka://h"}, "bus: is kafka://h (this version knows mem: and amqp:// and amqps://)"},
		"an unknown target":             {[]string{"PELTON_TARGET=runer"}, "target: is runer (this version knows all and authorization and"},
		"a service without a broker":    {[]string{"PELTON_TARGET=studio", pg, issuer}, "target: is studio while messages stay in this process (give bus: amqp://…"},
		"a service":                     {[]string{"PELTON_TARGET=studio", pg, rabbit, issuer}, ""},
		"without a database":            {[]string{"PELTON_TARGET=studio", rabbit, issuer}, "target: is studio while the database is this process's own (give the store: postgres://…"},
		"without an issuer":             {[]string{"PELTON_TARGET=studio", pg, rabbit}, `authorization.url: is "" while authorization is not among the targets (give the address`},
		"an issuer without a scheme":    {[]string{"PELTON_TARGET=studio", pg, rabbit, "PELTON_AUTHORIZATION_URL=h:8080"}, `authorization.url: is "h:8080"`},
		"the issuer":                    {[]string{"PELTON_TARGET=authorization", pg, rabbit}, ""},
		"several":                       {[]string{"PELTON_TARGET=authorization,studio,runner", pg, rabbit}, ""},
		"the builder needs no database": {[]string{"PELTON_TARGET=builder", rabbit}, ""},
		"a runner over a broker":        {[]string{"PELTON_TARGET=runner", pg, rabbit, issuer}, ""},
		"a replica of the runner":       {[]string{"PELTON_TARGET=runner", pg, "PELTON_REPLICA=b"}, ""},
		"a runner alone":                {[]string{"PELTON_TARGET=runner"}, ""},
		"databases of their own":        {[]string{"PELTON_TARGET=studio", pg, rabbit, issuer, "PELTON_STORES_STUDIO=postgres://s:p@h/x"}, ""},
		"a database of its own alone":   {[]string{"PELTON_STORES_STUDIO=postgres://s:p@h/x"}, "stores.studio: is given while the database is this process's own"},
		"a database of another kind":    {[]string{pg, "PELTON_STORES_STUDIO=mysql://h/x"}, "stores.studio: is mysql://h/x"},
		"a replica without a name":      {[]string{"PELTON_TARGET=runner", pg}, "replica: is missing"},
	} {
		_, err := LoadConfig("", c.environ, nil)
		if c.says == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, c.says, name)
	}
}

func TestBuilderSettings(t *testing.T) {
	const kaniko, registry = "PELTON_BUILDER_BACKEND=kaniko:", "PELTON_BUILDER_REGISTRY=registry.example.com/pelton"
	bucket := []string{"PELTON_FILES=s3://h:9000/bucket", "PELTON_S3_CREDENTIALS=/etc/pelton/s3.yaml"}
	for name, c := range map[string]struct {
		environ []string
		says    string // empty: the settings are right
	}{
		"in a cluster":          {append([]string{kaniko, registry}, bucket...), ""},
		"another backend":       {[]string{"PELTON_BUILDER_BACKEND=docker:"}, "builder.backend: is docker: (this version knows local: and kaniko:)"},
		"files of this machine": {[]string{kaniko, registry}, "files: is a folder of this machine while builder.backend is kaniko:"},
		"no registry":           {append([]string{kaniko}, bucket...), "builder.registry: is missing while builder.backend is kaniko: (give HOST[:PORT]/PREFIX"},
		"no patience":           {append([]string{kaniko, registry, "PELTON_BUILDER_PENDING=0s"}, bucket...), "builder.pending: is 0s"},
		"another service":       {[]string{kaniko, "PELTON_TARGET=studio", "PELTON_STORE=postgres://u:p@h/", "PELTON_BUS=amqp://u:p@h/", "PELTON_AUTHORIZATION_URL=http://h:8080"}, ""},
	} {
		_, err := LoadConfig("", c.environ, nil)
		if c.says == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, c.says, name)
	}
}

func TestFilesSettings(t *testing.T) {
	const credentials = "PELTON_S3_CREDENTIALS=/etc/pelton/s3.yaml"
	for name, c := range map[string]struct {
		environ []string
		says    string // empty: the settings are right
	}{
		"a folder":                {[]string{"PELTON_FILES=file:///srv/files"}, ""},
		"a bucket":                {[]string{"PELTON_FILES=s3://h:9000/bucket/prefix?tls=false", credentials}, ""},
		"another store":           {[]string{"PELTON_FILES=gs://bucket"}, "files: is gs://bucket (this version knows file: and s3://)"},
		"without a bucket":        {[]string{"PELTON_FILES=s3://h:9000", credentials}, "files: names no bucket"},
		"without credentials":     {[]string{"PELTON_FILES=s3://h:9000/bucket"}, "s3.credentials: is missing (give the path of a YAML file"},
		"credentials in the URL":  {[]string{"PELTON_FILES=s3://key:hidden@h/bucket", credentials}, "files: holds credentials"},
		"credentials of no store": {[]string{credentials}, "s3.credentials: is given while files is no s3:// URL"},
	} {
		_, err := LoadConfig("", c.environ, nil)
		if c.says == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, c.says, name)
		require.NotContains(t, err.Error(), "hidden", name)
	}
}

func TestDeployerSettings(t *testing.T) {
	files := []string{"PELTON_FILES=s3://h:9000/bucket", "PELTON_S3_CREDENTIALS=/etc/pelton/s3.yaml"}
	for deployer, says := range map[string]string{
		"knative:": "",
		"knative:?namespace=team-{project}&gateway=10.0.0.1:80&max-scale=3": "",
		"knative:?pull-credentials=/of/the/runner/alone":                    "",
		"docker:":              "deployer: is docker: (this version knows process: and knative:)",
		"knative:?max-scale=x": `deployer.max-scale: is "x" (give a number from 1 to 1000)`,
	} {
		_, err := LoadConfig("", append([]string{"PELTON_DEPLOYER=" + deployer}, files...), nil)
		if says == "" {
			require.NoError(t, err, deployer)
			continue
		}
		require.ErrorContains(t, err, says)
	}
	_, err := LoadConfig("", []string{"PELTON_DEPLOYER=knative:"}, nil)
	require.ErrorContains(t, err, "files: is file: with deployer: knative:")
}

func TestBrokerSettings(t *testing.T) {
	c, err := LoadConfig("", []string{"K_SINK=http://broker/n/b", "PELTON_BRIDGE_BROKER=knative:?class=RabbitMQBroker"}, nil)
	require.NoError(t, err)
	require.Equal(t, "http://broker/n/b", c.Bridge.Sink)
	c, err = LoadConfig("", []string{"K_SINK=http://broker/n/b", "PELTON_BRIDGE_SINK=http://other"}, nil)
	require.NoError(t, err)
	require.Equal(t, "http://other", c.Bridge.Sink)
	_, err = LoadConfig("", []string{"PELTON_BRIDGE_SINK=broker", "PELTON_BRIDGE_BROKER=knative:?clas=x"}, nil)
	require.ErrorContains(t, err, "bridge.broker.clas: is not known (known are class, ")
	require.ErrorContains(t, err, `bridge.sink: is "broker" (give the address of a Broker`)
}

// TestExpects: messages are held back for exactly the queues that take them.
func TestExpects(t *testing.T) {
	e := expects()
	require.Equal(t, []string{"runner.deployments"}, e["studio.v1"]["WorkflowDeployed"])
	require.Equal(t, []string{"builder.BuildOrdered"}, e["repository.v1"]["BuildOrdered"])
	require.Empty(t, e["authorization.v1"]["ProjectCreated"])
}
