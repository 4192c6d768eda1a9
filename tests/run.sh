#!/usr/bin/env bash
# All checks and tests: format, lints, licences, documentation, unit tests, and black-box tests on real parts.
#
#   tests/run.sh             everything
#   tests/run.sh -p keadm    the checks, and the tests of one crate (arguments go to nextest)
#
# Needs root on Debian or Ubuntu with Rust; installs with apt-get what else is missing. Build results are kept in
# ${XDG_CACHE_HOME:-~/.cache}/skerry, or in $CARGO_TARGET_DIR.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/skerry
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
# Incremental files double the size of a cache that is only ever built from scratch or for tests.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
mkdir -p "$cache"

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

install_packages() {
  local missing=()
  command -v cc > /dev/null || missing+=(build-essential)
  command -v protoc > /dev/null || missing+=(protobuf-compiler)
  command -v containerd > /dev/null || missing+=(containerd)
  command -v dockerd > /dev/null || [[ -x /usr/sbin/dockerd ]] || missing+=(docker.io)
  command -v runc > /dev/null || missing+=(runc)
  command -v docker-registry > /dev/null || missing+=(docker-registry)
  [[ -x /usr/lib/cni/bridge || -x /opt/cni/bin/bridge ]] || missing+=(containernetworking-plugins)
  [[ -x /bin/busybox ]] || missing+=(busybox-static)
  command -v mosquitto > /dev/null || [[ -x /usr/sbin/mosquitto ]] || missing+=(mosquitto)
  command -v redis-server > /dev/null || missing+=(redis-server)
  command -v mariadbd > /dev/null || [[ -x /usr/sbin/mariadbd ]] || missing+=(mariadb-server)
  command -v mosquitto_pub > /dev/null || missing+=(mosquitto-clients)
  command -v nft > /dev/null || missing+=(nftables)
  command -v ip > /dev/null || missing+=(iproute2)
  command -v kubectl > /dev/null || missing+=(kubernetes-client)
  python3 -c 'import venv, ensurepip' 2> /dev/null || missing+=(python3-venv)
  command -v node > /dev/null || missing+=(nodejs)
  command -v npm > /dev/null || missing+=(npm)
  command -v go > /dev/null || missing+=(golang-go)
  [[ -d /usr/share/gocode/src/google.golang.org/grpc ]] || missing+=(golang-google-grpc-dev)
  command -v protoc-gen-go-grpc > /dev/null || missing+=(protoc-gen-go-grpc)
  [[ -e /usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1 ]] || missing+=(libfaketime)
  command -v shellcheck > /dev/null || missing+=(shellcheck)
  ((${#missing[@]})) || return 0
  say "installing ${missing[*]}"
  # RUNLEVEL=1 keeps the packages from starting services of their own.
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# Unpacks a package of Debian below the cache, where it neither stands in the way of another one that owns the same files (as
# kubectl's) nor starts a service (as VictoriaMetrics').
unpack() {
  local package=$1 place=$2 work
  [[ ! -e $place ]] || return 0
  say "unpacking Debian's $package"
  work=$(mktemp -d)
  if (cd "$work" && { apt-get download -q "$package" || { apt-get update -q && apt-get download -q "$package"; }; }); then
    dpkg -x "$work/$package"_*.deb "$place.new"
    mv "$place.new" "$place"
  else
    echo "Debian's $package is not to be had: the tests with it will say so" >&2
  fi
  rm -rf "$work"
}

unpack_programs() {
  unpack kubernetes-client "$cache/kubectl-1.20"
  unpack victoria-metrics "$cache/victoria-metrics"
  export SKERRY_OLD_KUBECTL=$cache/kubectl-1.20/usr/bin/kubectl
  export SKERRY_VMAGENT=$cache/victoria-metrics/usr/bin/vmagent
}

# The clients of other languages, as their users install them; anew when the versions asked for change.
install_clients() {
  local from=tests/conform/clients python=$cache/clients/python node=$cache/clients/node
  if ! cmp -s $from/python/requirements.txt "$python/requirements.txt"; then
    say "installing the Python client"
    rm -rf "$python"
    python3 -m venv "$python"
    "$python/bin/pip" install -q --disable-pip-version-check -r $from/python/requirements.txt
    cp $from/python/requirements.txt "$python/"
  fi
  if ! cmp -s $from/node/package-lock.json "$node/installed-lock.json"; then
    say "installing the JavaScript client"
    rm -rf "$node"
    mkdir -p "$node"
    cp $from/node/package.json $from/node/package-lock.json "$node/"
    (cd "$node" && npm ci --no-audit --no-fund)
    cp $from/node/package-lock.json "$node/installed-lock.json"
  fi
  build_go_mapper
  export CLIENT_PYTHON=$python/bin/python CLIENT_NODE=$node CLIENT_GO=$cache/clients/go/mapper
}

# The mapper in Go, from Debian's packages and without modules, as no proxy of modules is asked; anew when what makes it changes.
build_go_mapper() {
  local from=tests/conform/clients/go go=$cache/clients/go sources
  local package=skerry/v1beta1 any=google/protobuf/any.proto
  sources=$({ go version; declare -f build_go_mapper; cat proto/dmi/dmi.proto $from/*.go; } | sha256sum)
  [[ $(cat "$go/sources" 2> /dev/null) != "$sources" ]] || return 0
  say "building the Go mapper"
  rm -rf "$go"
  mkdir -p "$go/src/$package"
  (
    export GO111MODULE=off GOFLAGS='' GOPATH=$go:/usr/share/gocode GOCACHE=$go/build CGO_ENABLED=0
    # The generator of the library that Debian's grpc-go is made for, and not one that is newer.
    go build -o "$go/protoc-gen-go" github.com/golang/protobuf/protoc-gen-go
    local options=paths=source_relative,Mdmi.proto=$package,M$any=github.com/golang/protobuf/ptypes/any
    protoc --plugin="$go/protoc-gen-go" -I proto/dmi dmi.proto \
      --go_out="$options:$go/src/$package" --go-grpc_out="$options:$go/src/$package"
    go vet ./$from
    go build -o "$go/mapper" ./$from
  )
  rm -rf "$go/build"
  echo "$sources" > "$go/sources"
}

install_nextest() {
  cargo nextest --version > /dev/null 2>&1 || {
    say "installing cargo-nextest"
    CARGO_TARGET_DIR=$cache/tools cargo install --locked cargo-nextest || true
  }
}

# Tests know where their sources lie. What another clone has built looks fresh to cargo, but looks there.
forget_other_clone() {
  local marker=$CARGO_TARGET_DIR/.clone
  [[ $(cat "$marker" 2> /dev/null) != "$PWD" ]] || return 0
  [[ ! -e $CARGO_TARGET_DIR/debug ]] || cargo clean --workspace --locked
  mkdir -p "$CARGO_TARGET_DIR"
  echo "$PWD" > "$marker"
}

install_packages
unpack_programs
install_clients
install_nextest
forget_other_clone

say "format"
cargo fmt --all --check
unformatted=$(gofmt -l tests/conform/clients/go)
[[ -z $unformatted ]] || { printf 'these are not as gofmt -w would write them:\n%s\n' "$unformatted" >&2; exit 1; }
shellcheck .ci/run tests/run.sh tests/vm/*.sh deploy/*.sh deploy/mappers/*.sh

say "lints"
cargo clippy --workspace --locked -- -D warnings
# Helpers of tests may unwrap and panic, as tests do.
cargo clippy --workspace --all-targets --locked -- -D warnings \
  -A clippy::unwrap_used -A clippy::expect_used -A clippy::panic

if command -v cargo-deny > /dev/null; then
  say "licences, bans, advisories"
  cargo deny --offline check bans licenses sources || cargo deny check bans licenses sources
fi

say "programs"
cargo build --workspace --bins --locked
export SKERRY_BIN_DIR=$CARGO_TARGET_DIR/debug

if [[ $# == 0 ]]; then
  say "examples in the documentation"
  cargo test --workspace --doc --locked -q
  set -- --workspace
fi

say "tests"
if cargo nextest --version > /dev/null 2>&1; then
  cargo nextest run --locked --no-fail-fast "$@"
else
  cargo test --locked --no-fail-fast "$@"
fi
