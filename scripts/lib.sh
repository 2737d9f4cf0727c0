# Functions that the scripts of this folder share. Sourced, never run. Needs bash.
#
# A cluster here is a folder with one server and two mounts:
#   data/     the server's data folder        server.log, server.pid, server.addr
#   a/, b/    two mount points                cache-a/, cache-b/

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RUST_MIN=1.95
SERVER_START_S=20
STOP_S=70

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    warn "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# ensure_packages COMMAND:PACKAGE... : installs the packages whose command is missing. Returns 1,
# after saying which, if some stay missing.
ensure_packages() {
    local pair missing=() packages=()
    for pair in "$@"; do
        have "${pair%%:*}" || { missing+=("${pair%%:*}") && packages+=("${pair#*:}"); }
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -eq 0 ] && have apt-get; then
        say "installing: ${packages[*]}"
        { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
            --no-install-recommends "${packages[@]}"; } >/dev/null 2>&1 && return 0
    fi
    warn "missing and not installable here: ${missing[*]} (Debian: apt install ${packages[*]})"
    return 1
}

# Whether there is a cargo and a rustc >= RUST_MIN; sets RUST_FOUND.
have_rust() {
    # rustup puts them here; a fresh root shell may not have read its profile.
    have cargo || PATH="$PATH:$HOME/.cargo/bin"
    RUST_FOUND=$(rustc --version 2>/dev/null | awk '{print $2}') || RUST_FOUND=
    have cargo && [ -n "$RUST_FOUND" ] &&
        [ "$(printf '%s\n' "$RUST_MIN" "$RUST_FOUND" | sort -V | head -n 1)" = "$RUST_MIN" ]
}

# Makes cargo and rustc >= RUST_MIN and a C compiler available, or says what to do.
require_rust() {
    local curl=
    have curl || curl="apt install -y curl ca-certificates
    "
    have_rust || die "Rust $RUST_MIN or newer is needed, found: ${RUST_FOUND:-none}. Debian's own is older; run
    ${curl}curl -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c rustfmt -c clippy
(see https://rustup.rs), open a new shell and start this again."
    have cc || ensure_packages cc:gcc cc:libc6-dev || die "a C compiler is needed (SQLite is built in)"
}

# Checks what a mount needs of this machine.
require_mounts() {
    [ "$(id -u)" -eq 0 ] || die "run this as root: it mounts file systems"
    [ -e /dev/fuse ] || modprobe fuse 2>/dev/null || true
    [ -e /dev/fuse ] || die "/dev/fuse is missing: load the kernel module 'fuse' (in a container: --device /dev/fuse --cap-add SYS_ADMIN)"
}

# build PROFILE: builds the two programs and sets BIN to their folder, unless DFS_BIN_DIR names one
# that has them. For debug it is the selection of scripts/test: another would have features of its
# own, and be built anew.
build() {
    local what=(--workspace --all-targets)
    [ "$1" != release ] || what=(--release -p dfs-server -p dfs-fuse)
    BIN=${DFS_BIN_DIR:-}
    [ -z "$BIN" ] || return 0
    (cd "$ROOT" && cargo build "${what[@]}")
    BIN=${CARGO_TARGET_DIR:-$ROOT/target}/$1
}

# A TCP port of the loopback on which nothing listens.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 10000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# until_true SECONDS COMMAND... : waits until the command succeeds; 1 if it does not in time.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        # Polls for a state of another process; there is nothing to wait on.
        sleep 0.05
    done
}

# start_server DIR [OPTION...]: starts a server on DIR/data, at its old address if it had one.
start_server() {
    local dir=$1 addr
    shift
    addr=$(cat "$dir/server.addr" 2>/dev/null) || addr=127.0.0.1:$(free_port)
    # Its own session: Ctrl-C in this terminal is not for the server.
    setsid "$BIN/dfs-server" --data "$dir/data" --listen "$addr" "$@" \
        >"$dir/server.out" 2>>"$dir/server.log" </dev/null &
    SERVER_PID=$!
    # The shell does not comment on its end.
    disown "$SERVER_PID"
    if ! until_true "$SERVER_START_S" server_ready "$dir"; then
        tail -n 20 "$dir/server.log" >&2
        die "the server did not start, see $dir/server.log"
    fi
    echo "$SERVER_PID" >"$dir/server.pid"
    echo "$addr" >"$dir/server.addr"
}

server_ready() {
    alive "$SERVER_PID" || die "$(tail -n 1 "$1/server.log")"
    grep -qs "^dfs-server ready" "$1/server.out"
}

# mount_one DIR NAME [OPTIONS]: mounts the server of DIR at DIR/NAME.
mount_one() {
    mkdir -p "$1/$2"
    "$BIN/dfs-fuse" "$(cat "$1/server.addr")" "$1/$2" \
        -o "cache=$1/cache-$2,cache_size=1g${3:+,$3}" </dev/null >/dev/null
}

is_mounted() { mountpoint -q "$1" 2>/dev/null || grep -q " $1 fuse" /proc/mounts; }

# unmount_one PATH: saves and unmounts; 1 if it stays.
unmount_one() {
    is_mounted "$1" || return 0
    umount "$1"
    until_true "$STOP_S" not is_mounted "$1"
}

not() { ! "$@"; }

# stop_cluster DIR: unmounts both, stops the server; nothing else is touched.
stop_cluster() {
    local dir=$1 name pid
    for name in a b; do
        unmount_one "$dir/$name" || {
            warn "$dir/$name is in use, detaching it"
            umount -l "$dir/$name" || true
        }
        # Commits made at unmount are through when the daemon has let go of its cache.
        until_true "$STOP_S" cache_is_free "$dir/cache-$name" || warn "the daemon of $dir/$name still saves"
    done
    pid=$(cat "$dir/server.pid" 2>/dev/null) || return 0
    rm -f "$dir/server.pid"
    is_our_server "$pid" "$dir" || return 0
    kill "$pid" 2>/dev/null || return 0
    until_true "$STOP_S" not alive "$pid" || kill -9 "$pid" 2>/dev/null || true
}

# A process number may have been given to somebody else since it was written down.
is_our_server() {
    tr '\0' '\n' <"/proc/$1/cmdline" 2>/dev/null | grep -qxF "$2/data"
}

cache_is_free() {
    [ -e "$1/dfs-fuse.lock" ] || return 0
    flock --nonblock "$1/dfs-fuse.lock" true
}

# show_logs DIR: the last lines of each log of a cluster.
show_logs() {
    local log
    for log in "$1"/server.log "$1"/cache-*/log/dfs-fuse.log; do
        [ -s "$log" ] || continue
        say "--- last lines of $log" >&2
        tail -n 20 "$log" >&2
    done
}
