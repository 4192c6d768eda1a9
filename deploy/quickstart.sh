#!/usr/bin/env bash
# One command: a Deployment on an edge node and a sensor's reading in the cloud, on this machine.
#
#   deploy/quickstart.sh          set everything up, or finish what is missing
#   deploy/quickstart.sh --down   take everything down again
#
# Needs root on Debian 12 or Ubuntu, git and Rust; installs with apt-get what else is missing. The cloud side uses the
# default ports, the node is called edge1. The containers run in a containerd of their own, below $SKERRY_DEMO_DIR;
# the host's own containerd or Docker is not touched.
#
#   SKERRY_BIN_DIR   use the cloudcore, edgecore and keadm in this folder instead of building them
#   SKERRY_DEMO_DIR  where the demo keeps its files (default /var/lib/skerry-demo)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(dirname "$here")
demo=${SKERRY_DEMO_DIR:-/var/lib/skerry-demo}
node=edge1
bridge=skerry0
lock=/run/skerry-demo.lock
subnet=10.88.77.0/24
socket=$demo/containerd.sock
kubeconfig=/etc/kubeedge/admin.conf
# A laptop's disk may be fuller than that of a machine which is to run pods for years.
enough='{memory.available:50Mi,nodefs.available:1%,nodefs.inodesFree:1%,imagefs.available:1%,imagefs.inodesFree:1%}'
begun=$EPOCHREALTIME

say() {
  local micros=$((${EPOCHREALTIME/./} - ${begun/./}))
  printf '[%3d.%ds] %s\n' $((micros / 1000000)) $((micros / 100000 % 10)) "$*"
}

fail() {
  printf 'error: %s\n' "$1" >&2
  shift
  local line
  for line in "$@"; do printf '  %s\n' "$line" >&2; done
  exit 1
}

k() { kubectl --kubeconfig "$kubeconfig" "$@"; }
keadm() { "$demo/bin/keadm" "$@"; }
supervise() { keadm supervise "$1" --name containerd --run-dir "$demo/run" --log-dir "$demo/log" "${@:2}"; }
ctr() { command ctr --address "$socket" --namespace k8s.io "$@"; }

# until_ok SECONDS WHAT COMMAND...: repeats the command until it succeeds.
until_ok() {
  local limit=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" > "$demo/last-output" 2>&1; do
    if ((SECONDS >= limit)); then
      fail "still waiting: $what" "last answer: $(tail -n 3 "$demo/last-output" | tr '\n' ' ')" \
        "look at /var/log/kubeedge/*.log and $demo/log/containerd.log" "then run $0 again: what works is kept"
    fi
    sleep 0.1
  done
}

# ---------------------------------------------------------------------------------------------------------- packages

install_packages() {
  local missing=()
  command -v containerd > /dev/null || missing+=(containerd)
  command -v runc > /dev/null || missing+=(runc)
  [[ -x /usr/lib/cni/bridge || -x /opt/cni/bin/bridge ]] || missing+=(containernetworking-plugins)
  [[ -x /bin/busybox ]] && ! ldd /bin/busybox > /dev/null 2>&1 || missing+=(busybox-static)
  command -v mosquitto_pub > /dev/null || missing+=(mosquitto-clients)
  command -v kubectl > /dev/null || missing+=(kubernetes-client)
  command -v ip > /dev/null || missing+=(iproute2)
  if [[ -z ${SKERRY_BIN_DIR:-} ]]; then
    command -v cc > /dev/null || missing+=(build-essential)
    command -v protoc > /dev/null || missing+=(protobuf-compiler)
  fi
  ((${#missing[@]})) || return 0
  command -v apt-get > /dev/null || fail "these are missing: ${missing[*]}" "install them, then run $0 again"
  say "installing ${missing[*]}"
  # RUNLEVEL=1 keeps the packages from starting services of their own.
  local log=$demo/apt.log
  if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -q -y --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
    local hint="see $log"
    [[ " ${missing[*]} " != *" kubernetes-client "* ]] || hint="if your distribution has no kubernetes-client, install kubectl from kubernetes.io; see $log"
    fail "apt-get could not install ${missing[*]}: $(grep -m 1 '^E:' "$log" || true)" "$hint"
  fi
}

# ------------------------------------------------------------------------------------------------------------- build

find_cargo() {
  local home
  for home in "${CARGO_HOME:-}" "$HOME/.cargo" "$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)/.cargo"; do
    if [[ -n $home && -x $home/bin/cargo ]]; then
      PATH=$home/bin:$PATH
      return
    fi
  done
}

build() {
  if [[ -n ${SKERRY_BIN_DIR:-} ]]; then
    bin=$SKERRY_BIN_DIR
  else
    command -v cargo > /dev/null || find_cargo
    command -v cargo > /dev/null || fail "cargo is missing" "install Rust: https://rustup.rs, then run $0 again"
    say "building cloudcore, edgecore and keadm (a few minutes the first time)"
    (cd "$repo" && cargo build --release --locked -p cloudcore -p edgecore -p keadm)
    bin=${CARGO_TARGET_DIR:-$repo/target}/release
  fi
  local program
  for program in cloudcore edgecore keadm; do
    [[ -x $bin/$program ]] || fail "$bin/$program is missing" "build it: cargo build --release --locked -p $program"
  done
  # --down must work even when the build is gone.
  mkdir -p "$demo/bin"
  cmp -s "$bin/keadm" "$demo/bin/keadm" || install -m 0755 "$bin/keadm" "$demo/bin/keadm.new"
  [[ ! -e $demo/bin/keadm.new ]] || mv "$demo/bin/keadm.new" "$demo/bin/keadm"
  PATH=$bin:$PATH
}

# -------------------------------------------------------------------------------------------------------- containerd

# What was there before us, so that --down removes the rest only.
remember_host() {
  [[ ! -e $demo/before ]] || return 0
  mkdir -p "$demo"
  {
    local dir
    for dir in /run/containerd /run/containerd/s /run/containerd/fifo /var/lib/cni /var/lib/cni/results /var/lib/cni/networks; do
      [[ -e $dir ]] || echo "dir $dir"
    done
    echo "forward $(cat /proc/sys/net/ipv4/ip_forward)"
    if command -v nft > /dev/null; then
      local family
      for family in ip ip6; do
        nft list table "$family" nat > /dev/null 2>&1 || echo "table $family nat"
        nft list table "$family" filter > /dev/null 2>&1 || echo "table $family filter"
      done
    fi
  } > "$demo/before.new"
  mv "$demo/before.new" "$demo/before"
}

write_containerd_config() {
  local plugins=/usr/lib/cni
  [[ -x $plugins/bridge ]] || plugins=/opt/cni/bin
  mkdir -p "$demo/cni"
  cat > "$demo/containerd.toml" << END
version = 2
root = "$demo/root"
state = "$demo/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing", "io.containerd.internal.v1.opt"]
[grpc]
address = "$socket"
[debug]
level = "warn"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "skerry.local/pause:1"
# Lowering oom_score_adj needs CAP_SYS_RESOURCE, which containers and build machines often lack.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$plugins"
conf_dir = "$demo/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
END
  cat > "$demo/cni/10-skerry.conflist" << END
{"cniVersion": "0.4.0", "name": "$bridge", "plugins": [
  {"type": "bridge", "bridge": "$bridge", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$demo/cni-leases", "ranges": [[{"subnet": "$subnet"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
}

# Two busybox images of one layer, made here: nothing is downloaded.
make_images() {
  local work=$demo/image arch=amd64 layer name
  [[ $(uname -m) != aarch64 ]] || arch=arm64
  rm -rf "$work"
  mkdir -p "$work/rootfs"/{bin,etc,proc,sys,dev,tmp,www,root}
  cp /bin/busybox "$work/rootfs/bin/busybox"
  chroot "$work/rootfs" /bin/busybox --install -s /bin
  echo 'root:x:0:0:root:/root:/bin/sh' > "$work/rootfs/etc/passwd"
  tar --numeric-owner --owner=0 --group=0 -C "$work/rootfs" -cf "$work/layer.tar" .
  layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
  for name in pause demo; do
    cat > "$work/$name.json" << END
{"architecture": "$arch", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "2147483647"],
 "Labels": {"skerry": "$name"}}, "rootfs": {"type": "layers", "diff_ids": ["sha256:$layer"]}}
END
  done
  cat > "$work/manifest.json" << END
[{"Config": "pause.json", "RepoTags": ["skerry.local/pause:1"], "Layers": ["layer.tar"]},
 {"Config": "demo.json", "RepoTags": ["skerry.local/demo:1"], "Layers": ["layer.tar"]}]
END
  tar -C "$work" -cf "$work/image.tar" manifest.json pause.json demo.json layer.tar
  ctr images import "$work/image.tar" > /dev/null
  rm -rf "$work"
}

start_containerd() {
  mkdir -p "$demo/run" "$demo/log"
  if supervise status > /dev/null 2>&1 && ctr version > /dev/null 2>&1; then
    say "containerd runs already"
  else
    say "starting a containerd of its own ($socket)"
    write_containerd_config
    supervise stop
    supervise start -- "$(command -v containerd)" --config "$demo/containerd.toml"
    until_ok 20 "containerd answers at $socket" ctr version
  fi
  local images
  images=$(ctr images list -q)
  if [[ $images != *skerry.local/pause:1* || $images != *skerry.local/demo:1* ]]; then
    say "making the images pause and demo from busybox"
    make_images
  fi
}

# ---------------------------------------------------------------------------------------------------- cloud and edge

start_cloud() {
  if k get --raw /readyz > /dev/null 2>&1; then
    say "cloudcore runs already"
    return
  fi
  say "keadm init"
  # --force: a cloudcore that runs but does not answer is started again, with its data.
  keadm init --force --timeout 30 > "$demo/init.txt"
}

node_ready() {
  [[ $(k get node "$node" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2> /dev/null) == True ]]
}

edgecore_runs() {
  if [[ -d /run/systemd/system ]]; then
    systemctl is-active --quiet edgecore
  else
    keadm supervise status --name edgecore --run-dir /run/kubeedge --log-dir /var/log/kubeedge > /dev/null 2>&1
  fi
}

# within SECONDS COMMAND...: whether the command succeeds in that time.
within() {
  local limit=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < limit)) || return 1
    sleep 0.1
  done
}

# A supervised edgecore that has just ended is on its way back.
edgecore_settled() { edgecore_runs || [[ ! -e /run/kubeedge/edgecore.json ]]; }

join_args() {
  printf '%s\n' --cloudcore-ipport=127.0.0.1:10000 --edgenode-name="$node" \
    --remote-runtime-endpoint="unix://$socket" --timeout 30 \
    --set "modules.edged.rootDirectory=$demo/kubelet" \
    --set "modules.edged.tailoredKubeletConfig.podLogsDir=$demo/pod-logs" \
    --set "modules.edged.tailoredKubeletConfig.staticPodPath=$demo/manifests" \
    --set "modules.edged.tailoredKubeletConfig.evictionHard=$enough" \
    --set "modules.edged.tailoredKubeletConfig.cgroupRoot=/skerry-demo"
}

start_edge() {
  within 5 edgecore_settled || true
  if edgecore_runs && within 15 node_ready; then
    say "edgecore runs already, $node is Ready"
    return
  fi
  local args
  mapfile -t args < <(join_args)
  if ! edgecore_runs && [[ -e /etc/kubeedge/certs/server.crt && -e /etc/kubeedge/config/edgecore.yaml ]] &&
    k get node "$node" > /dev/null 2>&1; then
    say "keadm join (again, with the certificate that is there)"
    keadm join "${args[@]}" > "$demo/join.txt"
  else
    keadm reset edge --force > "$demo/reset.txt" 2>&1 || cat "$demo/reset.txt" >&2
    k delete node "$node" --ignore-not-found > /dev/null
    say "keadm join"
    keadm join "${args[@]}" --token="$(keadm gettoken)" > "$demo/join.txt"
  fi
  until_ok 20 "node $node is Ready" node_ready
}

# ------------------------------------------------------------------------------------------------------ pod, sensor

apply_demo() {
  say "applying deploy/demo"
  k apply -f "$here/demo" > "$demo/apply.txt"
}

publish() {
  local payload
  payload="{\"event_id\":\"\",\"timestamp\":$(date +%s%3N),\"twin\":{\"temperature\":{\"actual\":{\"value\":\"$1\"},\"metadata\":{\"type\":\"float\"}}}}"
  # shellcheck disable=SC2016 # $hw is the literal topic
  mosquitto_pub -h 127.0.0.1 -p 1883 -q 1 -t '$hw/events/device/default/thermometer/twin/update' -m "$payload"
}

reading() {
  k get devicestatus thermometer -o 'jsonpath={.status.twins[?(@.propertyName=="temperature")].reported.value}' 2> /dev/null
}

publish_and_see() {
  publish "$1" && sleep 0.2 && [[ $(reading) == "$1" ]]
}

show_sensor() {
  say "publishing readings as a sensor would"
  local value
  for value in 21.3 21.7 22.1; do
    until_ok 20 "reading $value is in the cloud" publish_and_see "$value"
  done
}

sensor_healthy() { [[ $(k get device thermometer -o 'jsonpath={.status.health}' 2> /dev/null) == Healthy ]]; }

deployment_ready() { k rollout status deployment/hello --watch=false | grep -q 'successfully rolled out'; }

show() {
  printf '\n$ %s\n' "$*"
  "$@"
}

up() {
  mkdir -p "$demo"
  chmod 0700 "$demo"
  install_packages
  build
  begun=$EPOCHREALTIME
  remember_host
  start_containerd
  start_cloud
  start_edge
  apply_demo
  show_sensor
  until_ok 20 "the sensor is found healthy" sensor_healthy
  until_ok 30 "both pods of deployment hello are Ready" deployment_ready
  say "everything runs"
  export KUBECONFIG=$kubeconfig
  show kubectl get nodes -o wide
  show kubectl get deployments
  show kubectl get pods -o wide
  show kubectl get devices,devicestatuses
  cat << END

Try:
  export KUBECONFIG=$kubeconfig
  curl http://$(k get pods -l app=hello -o 'jsonpath={.items[0].status.podIP}'):8080
  kubectl get devicestatus thermometer -o yaml
  mosquitto_pub -t '\$hw/events/device/default/thermometer/twin/update' \\
    -m '{"twin":{"temperature":{"actual":{"value":"19.5"}}}}'
  kubectl get devicestatuses -w
  kubectl describe device thermometer    # whether it works, and what to do if not
  kubectl scale deployment hello --replicas=3
  kubectl delete pods -l app=hello; kubectl get pods
  less /var/log/kubeedge/edgecore.log
  $0 --down
END
}

# -------------------------------------------------------------------------------------------------------------- down

# PIDs of shims that belong to our containerd.
shims() {
  local dir line
  for dir in /proc/[0-9]*; do
    line=$({ tr '\0' ' ' < "$dir/cmdline"; } 2> /dev/null) || continue
    [[ $line != *containerd-shim*"$socket"* ]] || echo "${dir#/proc/}"
  done
}

end_shims() {
  local pid child children
  for pid in $(shims); do
    read -ra children < "/proc/$pid/task/$pid/children" || true
    for child in "${children[@]}" "$pid"; do kill -9 "$child" 2> /dev/null || true; done
  done
}

unmount_below() {
  local point
  awk -v dir="$1/" 'index($5 "/", dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r point; do
    umount -l "$point" || true
  done
}

# The port mapping plugin leaves its empty chains behind.
clean_firewall() {
  command -v iptables > /dev/null || return 0
  local rule chain
  iptables -t nat -S 2> /dev/null | grep -E '^-A [A-Z]+ .*-j CNI-HOSTPORT-' | sed 's/^-A/-D/' | while read -r rule; do
    xargs iptables -t nat <<< "$rule" 2> /dev/null || true
  done || true
  for chain in CNI-HOSTPORT-DNAT CNI-HOSTPORT-MASQ CNI-HOSTPORT-SETMARK; do
    iptables -t nat -F "$chain" 2> /dev/null || continue
    iptables -t nat -X "$chain" 2> /dev/null || true
  done
}

remove_cgroups() {
  local root
  for root in /sys/fs/cgroup/skerry-demo /sys/fs/cgroup/*/skerry-demo; do
    [[ ! -d $root ]] || find "$root" -depth -type d -exec rmdir {} + 2> /dev/null || true
  done
}

restore_host() {
  [[ -e $demo/before ]] || return 0
  local kind what name left
  while read -r kind what name; do
    case $kind in
      forward) echo "$what" > /proc/sys/net/ipv4/ip_forward || true ;;
      table)
        # Only when nothing but empty chains is left in it.
        left=$(nft list table "$what" "$name" 2> /dev/null | grep -cvE '^(table .*|}|)$|^[[:space:]]*(chain .*|type .*|})$') || true
        [[ $left != 0 ]] || nft delete table "$what" "$name" 2> /dev/null || true
        ;;
    esac
  done < "$demo/before"
  # Inner directories first.
  sed -n 's/^dir //p' "$demo/before" | sort -r | while read -r what; do rmdir "$what" 2> /dev/null || true; done
}

down() {
  if [[ ! -e $demo ]]; then
    say "there is nothing to take down"
    return
  fi
  if [[ -x $demo/bin/keadm ]]; then
    say "keadm reset (edge and cloud)"
    keadm reset --force --remote-runtime-endpoint "unix://$socket" > "$demo/reset.txt" 2>&1 || cat "$demo/reset.txt" >&2
    say "stopping containerd"
    supervise stop
  fi
  end_shims
  unmount_below "$demo"
  ip link delete "$bridge" 2> /dev/null || true
  clean_firewall
  remove_cgroups
  restore_host
  say "removing $demo"
  rm -rf --one-file-system "$demo"
  say "everything is gone (packages that were installed stay)"
}

# -------------------------------------------------------------------------------------------------------------- main

usage() { sed -n '2,/^set -euo/{/^set/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

case ${1:-} in
  -h | --help) usage ;;
  "" | --down)
    [[ $(id -u) == 0 ]] || fail "this needs root" "run: sudo -E $0 ${1:-}"
    [[ $(uname -s) == Linux ]] || fail "this needs Linux"
    # One at a time; what is started must not inherit the lock.
    if [[ ${SKERRY_DEMO_LOCKED:-} == "" ]]; then
      status=0
      SKERRY_DEMO_LOCKED=yes flock --nonblock --close --conflict-exit-code 75 "$lock" bash "${BASH_SOURCE[0]}" "$@" || status=$?
      ((status != 75)) || fail "another $(basename "$0") is at work" "wait until it has ended"
      [[ ${1:-} != --down ]] || rm -f "$lock"
      exit "$status"
    fi
    if [[ ${1:-} == --down ]]; then down; else up; fi
    ;;
  *) fail "unknown argument: $1" "try: $0 --help" ;;
esac
