#!/usr/bin/env bash
# Packs a mapper with the libraries that it needs into an image archive, without Docker and without a base image.
#   deploy/mappers/image.sh modbus-mapper modbus-mapper.tar     # builds it first; SKERRY_BIN_DIR=... takes one that is built
#   ctr -n k8s.io images import modbus-mapper.tar               # containerd;  docker load -i modbus-mapper.tar
set -euo pipefail

usage() {
  sed -n '2,4s/^# \{0,1\}//p' "$0"
  exit "${1:-2}"
}

case ${1:-} in
  -h | --help) usage 0 ;;
  modbus-mapper | mqtt-mapper) ;;
  *) usage >&2 ;;
esac
[[ $# == 2 ]] || usage >&2
program=$1 archive=$2
home=$(cd "$(dirname "$0")/../.." && pwd)

bin=${SKERRY_BIN_DIR:-}
if [[ -z $bin ]]; then
  (cd "$home" && cargo build --release --locked -p "$program")
  bin=${CARGO_TARGET_DIR:-$home/target}/release
fi
[[ -x $bin/$program ]] || { echo "$bin/$program is not built" >&2; exit 1; }

arch=amd64
[[ $(uname -m) != aarch64 ]] || arch=arm64
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{tmp,etc}
chmod 1777 "$root/tmp"
install -D -m 755 "$bin/$program" "$root/usr/local/bin/$program"
ldd "$bin/$program" | grep -o '/[^ ]*' | sort -u | while read -r library; do
  install -D -m 755 "$library" "$root$library"
done
echo 'root:x:0:0:root:/:/' > "$root/etc/passwd"
tar --numeric-owner --owner=0 --group=0 --sort=name --mtime=@0 -C "$root" -cf "$work/layer.tar" .
layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
cat > "$work/config.json" << END
{"architecture": "$arch", "os": "linux", "config": {"Entrypoint": ["/usr/local/bin/$program"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$layer"]}}
END
cat > "$work/manifest.json" << END
[{"Config": "config.json", "RepoTags": ["skerry.local/$program:1"], "Layers": ["layer.tar"]}]
END
tar -C "$work" -cf "$archive" manifest.json config.json layer.tar
echo "$archive: skerry.local/$program:1"
