# PostgreSQL, RabbitMQ and MinIO of the cluster, as host processes that listen on the node's address,
# where pods reach them. Their passwords are made here and lie in secrets/.

RABBIT_NODE=$PELTON_CLUSTER_NAME@localhost
RABBIT_EPMD=$((PELTON_CLUSTER_RABBITMQ_PORT + 20000)) RABBIT_DIST=$((PELTON_CLUSTER_RABBITMQ_PORT + 20001)) # on 127.0.0.1
RABBIT_MANAGEMENT=$((PELTON_CLUSTER_RABBITMQ_PORT + 10000)) # on the node's address

# PostgreSQL and RabbitMQ run as users of their own, who may not enter root's home: their data lies beside.
DATA=/var/lib/pelton/$PELTON_CLUSTER_NAME-$(printf %s "$PELTON_CLUSTER_DIR" | sha256sum | cut -c1-8)

stores_up() {
	step "PostgreSQL" postgres_up
	step "RabbitMQ" rabbitmq_up
	step "MinIO" minio_up
}

stores_down() { stop rabbitmq 30; stop epmd; stop postgres 30; stop minio; }

as() { # USER CMD...
	local user=$1
	shift
	setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"
}

# own USER FOLDER: a folder for a server's user alone.
own() { mkdir -p "$DATA" "$2" && chmod 755 "$DATA" && chown "$1:$1" "$2" && chmod 700 "$2" || die "cannot make $2 for the user $1"; }

postgres_bin() { find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin | sort -V | tail -n 1; }

postgres_up() {
	local bin data=$DATA/postgres password
	bin=$(postgres_bin) && [ -n "$bin" ] || die "PostgreSQL is not in /usr/lib/postgresql"
	password=$(secret postgres) || exit 1
	alive postgres && return
	if [ ! -d "$data" ]; then # put in its place whole: half a database would be taken for one the next time
		rm -rf "$data.new"
		own postgres "$data.new"
		(umask 077 && printf '%s\n' "$password" >"$DATA/initial") && chown postgres "$DATA/initial"
		(cd "$DATA" && as postgres env LC_ALL=C.UTF-8 "$bin/initdb" -D "$data.new" -U pelton --pwfile="$DATA/initial" --auth=scram-sha-256 --encoding=UTF8 --no-sync) >"$LOG/initdb.log" 2>&1 || die "initdb failed: $(tail -n 3 "$LOG/initdb.log")"
		rm -f "$DATA/initial"
		cat >"$data.new/pg_hba.conf" <<-HBA
			host all all $PELTON_CLUSTER_POD_CIDR scram-sha-256
			host all all $PELTON_CLUSTER_NODE_IP/32 scram-sha-256
			host all all $PELTON_CLUSTER_POD_GW/32 scram-sha-256
		HBA
		mv "$data.new" "$data"
	fi
	(cd "$DATA" && spawn postgres setpriv --reuid postgres --regid postgres --clear-groups -- "$bin/postgres" -D "$data" \
		-c listen_addresses="$PELTON_CLUSTER_NODE_IP" -c port="$PELTON_CLUSTER_POSTGRES_PORT" -c unix_socket_directories= \
		-c max_connections=300 -c shared_buffers=128MB)
	WAIT_ON=postgres wait_for 30 "PostgreSQL" psql_as_owner -c 'SELECT 1'
}

psql_as_owner() { PGPASSWORD=$(secret postgres) psql -X -q -v ON_ERROR_STOP=1 -h "$PELTON_CLUSTER_NODE_IP" -p "$PELTON_CLUSTER_POSTGRES_PORT" -U pelton -d postgres "$@"; }

# rabbit [-spawn] CMD...: run, or spawn, with the settings of this broker and no other's.
rabbit() {
	local d=$DATA/rabbitmq run=
	[ "$1" = -spawn ] && run="spawn rabbitmq" && shift
	$run env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=C.UTF-8 HOME="$d" PELTON_CLUSTER_PART=rabbitmq \
		RABBITMQ_NODENAME="$RABBIT_NODE" RABBITMQ_NODE_PORT="$PELTON_CLUSTER_RABBITMQ_PORT" RABBITMQ_NODE_IP_ADDRESS="$PELTON_CLUSTER_NODE_IP" RABBITMQ_DIST_PORT="$RABBIT_DIST" \
		RABBITMQ_CONFIG_FILE="$d/rabbitmq.conf" RABBITMQ_ADVANCED_CONFIG_FILE="$d/advanced.config" RABBITMQ_CONF_ENV_FILE="$d/env" RABBITMQ_ENABLED_PLUGINS_FILE="$d/plugins" \
		RABBITMQ_MNESIA_BASE="$d/data" RABBITMQ_LOG_BASE="$d/log" RABBITMQ_PID_FILE="$d/pid" RABBITMQ_GENERATED_CONFIG_DIR="$d/generated" \
		RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none" \
		ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$RABBIT_EPMD" NOTIFY_SOCKET="$d/notify" \
		setpriv --reuid rabbitmq --regid rabbitmq --clear-groups -- "$@"
}

rabbit_sbin() { find /usr/lib/rabbitmq/lib -mindepth 2 -maxdepth 2 -path '*rabbitmq_server-*/sbin' | sort -V | tail -n 1; }

# rabbit_eval CODE: in one call, as each starts an Erlang of its own.
rabbit_eval() {
	local out
	out=$(cd / && rabbit "$(rabbit_sbin)/rabbitmqctl" -q eval "$1." 2>&1) || die "RabbitMQ refuses: $out"
}

rabbitmq_up() {
	local d=$DATA/rabbitmq epmd sbin
	sbin=$(rabbit_sbin) && [ -n "$sbin" ] || die "RabbitMQ is not in /usr/lib/rabbitmq"
	epmd=$(command -v epmd || find /usr/lib/erlang -path '*erts-*/bin/epmd' | head -n 1)
	[ -n "$epmd" ] || die "Erlang's epmd is missing: reinstall erlang-base"
	alive rabbitmq && return
	own rabbitmq "$d"
	(
		umask 077
		cat >"$d/rabbitmq.conf" <<-CONF
			listeners.tcp.1 = $PELTON_CLUSTER_NODE_IP:$PELTON_CLUSTER_RABBITMQ_PORT
			loopback_users = none
			default_user = pelton
			default_pass = $(secret rabbitmq)
			log.console = false
			log.file.level = warning
			vm_memory_high_watermark.absolute = 1GB
			disk_free_limit.absolute = 50MB
			management.tcp.ip = $PELTON_CLUSTER_NODE_IP
			management.tcp.port = $RABBIT_MANAGEMENT
			management_agent.disable_metrics_collector = true
		CONF
		echo '[rabbitmq_management].' >"$d/plugins"
		: >"$d/env"
		[ -s "$d/.erlang.cookie" ] || secret erlang-cookie >"$d/.erlang.cookie"
		chown -R rabbitmq:rabbitmq "$d"
		chmod 400 "$d/.erlang.cookie"
	)
	# The node's name server as a process of ours; Erlang would leave one behind.
	(cd / && spawn epmd env ERL_EPMD_ADDRESS=127.0.0.1 setpriv --reuid rabbitmq --regid rabbitmq --clear-groups -- "$epmd" -address 127.0.0.1 -port "$RABBIT_EPMD")
	# As under systemd, NOTIFY_SOCKET makes the script become the server, which is then the recorded process.
	(cd / && rabbit -spawn "$sbin/rabbitmq-server")
	WAIT_ON=rabbitmq wait_for 120 "RabbitMQ" amqp_greets
	WAIT_ON=rabbitmq wait_for 60 "RabbitMQ's management" curl -fsS -o /dev/null "http://$PELTON_CLUSTER_NODE_IP:$RABBIT_MANAGEMENT/"
}

# amqp_greets: a broker answers there; the port alone may be open before it does.
amqp_greets() {
	[ "$(printf 'AMQP\0\0\x09\x01' | timeout 2 bash -c 'exec 3<>/dev/tcp/$0/$1; cat >&3; head -c 1 <&3 | od -An -tu1' "$PELTON_CLUSTER_NODE_IP" "$PELTON_CLUSTER_RABBITMQ_PORT" 2>/dev/null | tr -d ' ')" = 1 ]
}

# minio_program: the MinIO that the project's tests build, from its module, named by the digest of that.
minio_program() { echo "${XDG_CACHE_HOME:-$HOME/.cache}/pelton/minio/$(cat "$PROJECT"/platform/kit/miniotest/minio/go.{mod,sum} | sha256sum | cut -c1-16)"; }

minio_up() {
	local key file=$SECRETS/s3.yaml
	key=$(secret minio) || exit 1
	[ -s "$file" ] || (umask 077 && printf 'access_key: pelton\nsecret_key: %s\n' "$key" >"$file")
	alive minio && return
	[ -x "$(minio_program)" ] || (cd "$PROJECT" && nice -n "$PELTON_CLUSTER_NICE" go run ./platform/tools/testminio) >"$LOG/build-minio.log" 2>&1 || die "building MinIO failed: $(tail -n 3 "$LOG/build-minio.log")"
	mkdir -p "$STATE/minio/pelton" # a folder at the top is a bucket
	MINIO_ROOT_USER=pelton MINIO_ROOT_PASSWORD=$key MINIO_BROWSER=off MINIO_UPDATE=off GOMEMLIMIT=1GiB \
		spawn minio "$(minio_program)" server --quiet --address "$PELTON_CLUSTER_NODE_IP:$PELTON_CLUSTER_MINIO_PORT" "$STATE/minio"
	WAIT_ON=minio wait_for 60 "MinIO" curl -fsS "http://$PELTON_CLUSTER_NODE_IP:$PELTON_CLUSTER_MINIO_PORT/minio/health/cluster"
}

postgres_url() { echo "postgres://pelton:$(secret postgres)@$PELTON_CLUSTER_NODE_IP:$PELTON_CLUSTER_POSTGRES_PORT/${1:-}?sslmode=disable"; }
rabbitmq_url() { echo "amqp://pelton:$(secret rabbitmq)@$PELTON_CLUSTER_NODE_IP:$PELTON_CLUSTER_RABBITMQ_PORT/${1:-}"; }
s3_url() { echo "s3://$PELTON_CLUSTER_NODE_IP:$PELTON_CLUSTER_MINIO_PORT/$1?tls=false"; }

stores_env() {
	alive postgres && echo "export PELTON_CLUSTER_POSTGRES='$(postgres_url)' # a superuser"
	alive rabbitmq && printf "export PELTON_CLUSTER_RABBITMQ='%s' # an administrator\nexport PELTON_CLUSTER_RABBITMQ_MANAGEMENT=%s\n" "$(rabbitmq_url)" "http://$PELTON_CLUSTER_NODE_IP:$RABBIT_MANAGEMENT"
	alive minio && printf "export PELTON_CLUSTER_S3='%s'\nexport PELTON_CLUSTER_S3_CREDENTIALS=%s\n" "$(s3_url pelton)" "$SECRETS/s3.yaml"
	return 0
}

# tenant NAME: what one installation needs of the stores; printed as peltond's settings. tenant -d NAME removes it.
tenant() {
	local drop='' name s
	[ "${1:-}" = -d ] && drop=1 && shift
	name=${1:-}
	[[ $name =~ ^[a-z][a-z0-9]{0,19}$ ]] || die "usage: cluster tenant [-d] NAME; NAME is up to 20 lower-case letters and digits, beginning with a letter"
	alive postgres && alive rabbitmq && alive minio || die "the stores are not up: run 'cluster up stores'"
	for s in authorization repository studio runner bridge; do
		if [ -n "$drop" ]; then
			psql_as_owner -c "DROP DATABASE IF EXISTS ${name}pelton_$s WITH (FORCE)" 2>/dev/null || die "cannot drop the database ${name}pelton_$s"
		elif [ -z "$(psql_as_owner -tAc "SELECT 1 FROM pg_database WHERE datname = '${name}pelton_$s'")" ]; then
			psql_as_owner -c "CREATE DATABASE ${name}pelton_$s" || die "cannot make the database ${name}pelton_$s"
		fi
	done
	if [ -n "$drop" ]; then
		rabbit_eval "rabbit_vhost:delete(<<\"$name\">>, <<\"testcluster\">>)"
		rm -rf "$STATE/minio/$name"
		return
	fi
	rabbit_eval "rabbit_vhost:exists(<<\"$name\">>) orelse rabbit_vhost:add(<<\"$name\">>, <<\"testcluster\">>),
		ok = rabbit_auth_backend_internal:set_permissions(<<\"pelton\">>, <<\"$name\">>, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"testcluster\">>)"
	mkdir -p "$STATE/minio/$name"
	printf "export PELTON_STORE='%s'\nexport PELTON_BUS='%s'\nexport PELTON_FILES='%s'\nexport PELTON_S3_CREDENTIALS=%s\n" \
		"$(postgres_url "$name")" "$(rabbitmq_url "$name")" "$(s3_url "$name")" "$SECRETS/s3.yaml"
}
