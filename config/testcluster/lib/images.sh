# Images made from static programs, without a container engine, and pushed to the cluster's registry.

# pushed NAME:TAG KEY: was this image pushed from KEY before, and is it still there?
pushed() {
	[ "$(cat "$IMAGES/pushed/${1//[\/:]/_}" 2>/dev/null)" = "$2" ] &&
		curl -fsS -o /dev/null -I -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' "http://$REGISTRY/v2/${1%:*}/manifests/${1##*:}" 2>/dev/null
}

# push NAME:TAG KEY [img flags...]
push() {
	local name=$1 key=$2 stamp=$IMAGES/pushed/${1//[\/:]/_}
	shift 2
	"$(program small img)" "$@" "$REGISTRY/$name" >/dev/null || die "pushing $REGISTRY/$name failed"
	mkdir -p "$IMAGES/pushed" && echo "$key" >"$stamp"
}

# image NAME:TAG GROUP PROGRAM [img flags...]
image() {
	local name=$1 at base=${3##*/} key
	at=$(readlink -f "$BIN/current/$2")/$3
	[ -x "$at" ] || die "the program $3 is not built: run 'cluster build $2'"
	key="$at ${*:4}"
	pushed "$name" "$key" && return
	push "$name" "$key" -entry "/ko-app/$base" -file "$at:/ko-app/$base:755" -dir /tmp "${@:4}"
}
