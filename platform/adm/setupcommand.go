package adm

import (
	"bytes"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/pelton-run/pelton/platform/adm/setup"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/s3"
	"github.com/pelton-run/pelton/platform/server"
)

func (t *tool) setupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "setup PLAN", Short: "Make the databases, users and the bucket of an installation", Hidden: true,
		Long: "Make what an installation's services find there. A Job of the chart does so; PLAN is its YAML.",
		Args: exactly(1, "setup PLAN --config FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			var plan setup.Plan
			dec := yaml.NewDecoder(bytes.NewReader(data))
			dec.KnownFields(true)
			if err := dec.Decode(&plan); err != nil {
				return fault.Wrap(err, fault.Invalid, "the plan %s cannot be read: %s", args[0], err)
			}
			for _, kv := range t.environ {
				name, value, _ := strings.Cut(kv, "=")
				switch {
				case name == "PELTON_SETUP_POSTGRESQL_PASSWORD" && plan.PostgreSQL != nil:
					plan.PostgreSQL.Password = value
				case name == "PELTON_SETUP_RABBITMQ_PASSWORD" && plan.RabbitMQ != nil:
					plan.RabbitMQ.Password = value
				}
			}
			cfg, err := t.settings()
			if err != nil {
				return err
			}
			var bucket *s3.Bucket
			if plan.Bucket {
				if _, bucket, err = (&server.Data{Config: cfg}).Files(); err != nil {
					return err
				}
			}
			return plan.Make(cmd.Context(), bucket, t.say)
		},
	}
	t.data(cmd)
	return cmd
}
