#!/usr/bin/env bash
# Skerry on an ordinary machine: Debian with systemd, unified cgroups and AppArmor, in a virtual machine.
#
#   tests/vm/run.sh                  every step, one after the other
#   tests/vm/run.sh STEP...          these steps only
#   tests/vm/run.sh --list           what steps there are
#   tests/vm/run.sh --fresh ...      makes the image anew first
#
#   SKERRY_VM_TESTS    which tests of edged the pods steps run: names, or parts of them (default: a selection where the
#                      processor is emulated, all of them otherwise)
#   SKERRY_VM_ACCEL    kvm or tcg, instead of what works here; or icount: emulated, with a clock that counts instructions, so that
#                      nothing in the machine runs out of time on a busy host; half as fast as tcg
#
# Needs root on Debian or Ubuntu with Rust; installs qemu and mmdebstrap with apt-get. The image is kept in
# ${XDG_CACHE_HOME:-~/.cache}/skerry/vm (1.4 GB); a step's machine writes to a layer of its own that goes with it. Without a
# KVM that boots a kernel the processor is emulated, which takes some twenty times as long.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/skerry/vm
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/skerry/target}
# Each: what it shows, and how many seconds it may take at full speed.
declare -A steps=(
  [pods-containerd-cgroupfs]="900 edged's tests on containerd, cgroups made by it"
  [pods-containerd-systemd]="900 edged's tests on containerd, cgroups made by systemd"
  [pods-docker-cgroupfs]="900 edged's tests on Docker, cgroups made by it"
  [pods-docker-systemd]="900 edged's tests on Docker, cgroups made by systemd"
  [quickstart]="300 deploy/quickstart.sh as a newcomer calls it, twice, and down again"
  [reboot]="600 keadm init and join on Debian's containerd; a reboot and a power failure without the cloud"
  [netem]="600 keadm init and join; a link that loses, delays and ends, by the kernel"
)
order=(quickstart reboot netem pods-containerd-cgroupfs pods-containerd-systemd pods-docker-cgroupfs pods-docker-systemd)
# What the selection holds: control groups, limits, memory, a whole life of a pod, restarts.
selection="a_pod_becomes_ready limits:: pods_may_ask a_pod_and_its_class a_fork_bomb out_of_memory evict a_restart_of_edgecore"

say() { printf '== %s (%d s)\n' "$*" "$SECONDS"; }
fail() {
  printf 'error: %s\n' "$1" >&2
  shift
  (($# == 0)) || printf '  %s\n' "$@" >&2
  exit 1
}
usage() { sed -n '2,/^set -euo/{/^set/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

list() {
  local step
  for step in "${order[@]}"; do printf '%-26s %s\n' "$step" "${steps[$step]#* }"; done
}

install_packages() {
  local missing=()
  command -v qemu-system-x86_64 > /dev/null || missing+=(qemu-system-x86)
  command -v qemu-img > /dev/null || missing+=(qemu-utils)
  command -v mmdebstrap > /dev/null || missing+=(mmdebstrap)
  command -v mke2fs > /dev/null || missing+=(e2fsprogs)
  command -v jq > /dev/null || missing+=(jq)
  ((${#missing[@]})) || return 0
  say "installing ${missing[*]}"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -q -y --no-install-recommends "${missing[@]}"; } > "$work/apt.log" 2>&1 ||
    fail "apt-get could not install ${missing[*]}" "$(grep -m 1 '^E:' "$work/apt.log" || tail -n 1 "$work/apt.log")"
}

# --------------------------------------------------------------------------------------------------------------- image

packages=(linux-image-amd64 initramfs-tools systemd systemd-sysv udev dbus apparmor kmod e2fsprogs iproute2 iptables
  nftables procps curl jq ca-certificates containerd docker.io runc containernetworking-plugins docker-registry
  busybox-static mosquitto mosquitto-clients kubernetes-client)

make_image() {
  # The image says what it was made of.
  local recipe
  recipe=$(printf '%s\n' "${packages[@]}" | cat - "$here/image.sh" | sha256sum | cut -d' ' -f1)
  [[ $(cat "$cache/recipe" 2> /dev/null) != "$recipe" || -n $fresh ]] || return 0
  say "making the image (some minutes, once)"
  mkdir -p "$cache"
  rm -rf "$cache/root" "$cache/recipe"
  local include
  include=$(IFS=,; echo "${packages[*]}")
  mmdebstrap --variant=minbase --include="$include" --customize-hook="$here/image.sh \"\$1\"" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$cache/root" > "$work/image.log" 2>&1 ||
    fail "mmdebstrap could not make the root file system" "$(tail -n 5 "$work/image.log")"
  cp --dereference "$cache/root/vmlinuz" "$cache/vmlinuz"
  cp --dereference "$cache/root/initrd.img" "$cache/initrd"
  rm -f "$cache/base.raw"
  truncate -s 12G "$cache/base.raw"
  mke2fs -q -F -t ext4 -d "$cache/root" "$cache/base.raw"
  rm -rf "$cache/root"
  echo "$recipe" > "$cache/recipe"
}

# ------------------------------------------------------------------------------------------------------------- machine

# A /dev/kvm that makes a machine need not run a kernel in it: sandboxes that nest them are known not to.
choose_accelerator() {
  accel=${SKERRY_VM_ACCEL:-}
  case $accel in
    kvm | tcg | icount) return ;;
    "") ;;
    *) fail "SKERRY_VM_ACCEL=$accel is nothing that this knows" "set it to kvm, tcg or icount, or not at all" ;;
  esac
  accel=tcg
  if [[ ! -w /dev/kvm ]]; then
    say "there is no /dev/kvm: the processor is emulated"
    return
  fi
  local log=$work/kvm.log
  timeout 15 qemu-system-x86_64 -accel kvm -cpu host,-arch-capabilities -m 512 -nographic -nic none -no-reboot \
    -kernel "$cache/vmlinuz" -append "console=ttyS0 panic=-1" < /dev/null > "$log" 2>&1 || true
  if grep -q 'Linux version' "$log"; then accel=kvm; else say "/dev/kvm boots no kernel: the processor is emulated"; fi
}

# boot: starts the machine of the step in $out; its PID is in $machine.
boot() {
  local cpu=host,-arch-capabilities options=kvm cpus=2 clock=()
  case $accel in
    tcg) cpu=max options=tcg,thread=multi,tb-size=512 ;;
    # A nanosecond each; one processor, because the clock waits for every other one to come up.
    icount) cpu=max options=tcg,thread=single,tb-size=512 cpus=1 clock=(-icount "shift=0,sleep=on") ;;
  esac
  qemu-system-x86_64 -accel "$options" "${clock[@]}" -cpu "$cpu" -smp "$cpus" -m 3072 -nographic \
    -kernel "$cache/vmlinuz" -initrd "$cache/initrd" \
    -append "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off" \
    -drive "file=$out/disk.qcow2,if=virtio,cache=unsafe" \
    -virtfs "local,path=$share,mount_tag=ro,security_model=none,readonly=on" \
    -virtfs "local,path=$out,mount_tag=rw,security_model=none" \
    -nic user,model=virtio-net-pci -monitor "unix:$out/monitor,server,nowait" < /dev/null >> "$out/console.log" 2>&1 &
  machine=$!
}

# The machine asks by a file for what only its owner can do.
power_failure() {
  kill -9 "$machine"
  wait "$machine" 2> /dev/null || true
  rm -f "$out/power-failure"
  say "$step: the power is cut; starting the machine again"
  boot
}

run_step() {
  step=$1
  local seconds=${steps[$1]%% *} slower=1 shown=0 lines
  [[ $accel == kvm ]] || slower=8
  local limit=$((SECONDS + seconds * slower))
  out=$work/$step
  mkdir -p "$out"
  qemu-img create -q -f qcow2 -F raw -b "$cache/base.raw" "$out/disk.qcow2"
  cp "$here/guest.sh" "$out/job.sh"
  printf 'step=%s\naccel=%s\ntests="%s"\n' "$step" "$accel" "$tests" > "$out/settings"
  : > "$out/job.log"
  say "$step: booting"
  boot
  while kill -0 "$machine" 2> /dev/null; do
    sleep 1
    lines=$(wc -l < "$out/job.log")
    ((lines == shown)) || sed -n "$((shown + 1)),${lines}p" "$out/job.log" | sed "s/^/   /"
    shown=$lines
    [[ ! -e $out/power-failure ]] || power_failure
    if ((SECONDS > limit)); then
      echo "   error: not done after $((seconds * slower)) s; the console ends:"
      tail -n 15 "$out/console.log" | sed 's/^/   | /'
      kill -9 "$machine" 2> /dev/null || true
    fi
  done
  wait "$machine" 2> /dev/null || true
  machine=
  sed -n "$((shown + 1)),\$p" "$out/job.log" | sed "s/^/   /"
  rm -f "$out/disk.qcow2"
  [[ $(cat "$out/result" 2> /dev/null) == 0 ]]
}

# --------------------------------------------------------------------------------------------------------------- parts

# What the machine needs of this clone, without debug information.
gather() {
  if [[ -n ${SKERRY_VM_SHARE:-} ]]; then
    share=$SKERRY_VM_SHARE
    return
  fi
  share=$work/share
  mkdir -p "$share/bin"
  say "building"
  cargo build --locked -q -p cloudcore -p edgecore -p keadm
  local pods program
  pods=$(cargo test --locked -q --no-run --message-format json-render-diagnostics -p edgecore --test edged_pods |
    jq -r 'select(.executable != null and .target.name == "edged_pods") | .executable')
  for program in cloudcore edgecore keadm; do
    strip -o "$share/bin/$program" "$CARGO_TARGET_DIR/debug/$program"
  done
  strip -o "$share/bin/edged_pods" "$pods"
  cp -r deploy "$share/"
}

# shellcheck disable=SC2317 # called by a trap
clean_up() {
  [[ -z ${machine:-} ]] || kill -9 "$machine" 2> /dev/null || true
  if [[ -n ${failed:-} ]]; then echo "logs and consoles: $work"; else rm -rf "$work"; fi
}

# In one piece: who edits this file while it runs, changes the next run.
main() {
  fresh="" wanted=()
  for argument in "$@"; do
    case $argument in
      -h | --help) usage && exit ;;
      --list) list && exit ;;
      --fresh) fresh=yes ;;
      *)
        [[ -n ${steps[$argument]:-} ]] || fail "there is no step $argument" "see: $0 --list"
        wanted+=("$argument")
        ;;
    esac
  done
  ((${#wanted[@]})) || wanted=("${order[@]}")
  [[ $(id -u) == 0 ]] || fail "this needs root" "run: sudo -E $0"
  [[ $(uname -m) == x86_64 ]] || fail "this needs an x86_64 machine" "the image is made for that one only"

  work=$(mktemp -d -t skerry-vm.XXXXXX)
  trap clean_up EXIT
  install_packages
  make_image
  choose_accelerator
  tests=${SKERRY_VM_TESTS:-}
  [[ -n $tests || $accel == kvm ]] || tests=$selection
  gather

  local passed=0 failures=() one argument
  for one in "${wanted[@]}"; do
    if run_step "$one"; then
      say "$one: passed"
      passed=$((passed + 1))
    else
      say "$one: FAILED"
      failures+=("$one")
    fi
  done
  printf '%d passed, %d failed\n' "$passed" "${#failures[@]}"
  failed=${failures[*]}
  ((${#failures[@]} == 0))
}

main "$@"; exit
