#!/bin/bash
# A step, inside the machine: run at each boot until it ends with something other than 75. What it prints, the host shows.
# shellcheck disable=SC2016 # $hw in topics is literal
set -uo pipefail
step="" accel="" tests=""
# shellcheck source=/dev/null
source /out/settings
state=/var/lib/skerry-vm
mkdir -p $state
boot=$(($(cat $state/boots 2> /dev/null || echo 0) + 1))
echo $boot > $state/boots
slower=1
[[ $accel == kvm ]] || slower=8
export PATH=/root/bin:$PATH
cp -ru /host/bin /root/ && chmod -R 0755 /root/bin

say() { printf '[%5.1f] %s\n' "$(cut -d' ' -f1 /proc/uptime)" "$*"; }
fail() {
  say "FAILED: $*"
  exit 1
}

# within SECONDS WHAT COMMAND...: repeats the command until it succeeds.
within() {
  local end=$((SECONDS + $1 * slower)) what=$2 begun=$SECONDS
  shift 2
  until "$@" > $state/answer 2>&1; do
    if ((SECONDS >= end)); then
      tail -n 5 $state/answer
      systemctl --no-pager --full status edgecore 2> /dev/null | tail -n 25
      fail "$what: not after $((SECONDS - begun)) s"
    fi
    sleep 0.5
  done
  say "$what (after $((SECONDS - begun)) s)"
}

facts() {
  say "Linux $(uname -r), PID 1 is $(cat /proc/1/comm), $(systemctl --version | head -n 1), cgroups $(stat -fc %T /sys/fs/cgroup)," \
    "AppArmor $(cat /sys/module/apparmor/parameters/enabled), $(containerd --version | cut -d' ' -f3), runc $(runc --version | sed -n '1s/.* //p')," \
    "$(docker --version 2> /dev/null)"
  [[ $(cat /proc/1/comm) == systemd && $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]] || fail "this is not the machine that is meant"
}

# ----------------------------------------------------------------------------------------------------- edged's own tests

# pods RUNTIME DRIVER
pods() {
  export SKERRY_BIN_DIR=/root/bin SKERRY_CGROUP_DRIVER=$2 RUST_BACKTRACE=0
  local every=() name wrong=0 pattern=${tests// /|} begun
  mapfile -t every < <(edged_pods --list 2> /dev/null | sed -n "s/: test$//p" | grep -E "(^|::)$1::" | grep -E "${pattern:-.}")
  ((${#every[@]})) || fail "no test is called so: $tests"
  for name in "${every[@]}"; do
    begun=$SECONDS
    if timeout $((120 * slower)) edged_pods --exact "$name" --nocapture > $state/test.log 2>&1; then
      say "ok      $name ($((SECONDS - begun)) s)"
    else
      say "FAILED  $name ($((SECONDS - begun)) s)"
      { grep -A 12 'panicked at' $state/test.log; tail -n 40 $state/test.log; } | cut -c1-600
      wrong=$((wrong + 1))
    fi
  done
  say "$((${#every[@]} - wrong)) of ${#every[@]} tests passed"
  ((wrong == 0))
}

# ------------------------------------------------------------------------------------------------------------ quickstart

quickstart() {
  export SKERRY_BIN_DIR=/root/bin
  # systemd's own processes must not be taken for what is left.
  local mounts
  mounts=$(findmnt -rno TARGET | sort)
  local time
  for time in first second; do
    bash /host/deploy/quickstart.sh > $state/quickstart 2>&1 || { tail -n 30 $state/quickstart; fail "the $time quickstart"; }
    grep -E '^\[ *[0-9]' $state/quickstart
  done
  systemctl is-enabled cloudcore edgecore > /dev/null || fail "the services are not enabled at boot"
  say "confinement of a pod's process: $(tr '\0' '\n' < "/proc/$(pgrep -f 'httpd|nc -l' | head -n 1)/attr/current" | head -n 1)"
  bash /host/deploy/quickstart.sh --down > $state/quickstart 2>&1 || { cat $state/quickstart; fail "--down"; }
  [[ ! -e /etc/kubeedge && ! -e /var/lib/skerry-demo ]] || fail "--down left $(ls -d /etc/kubeedge /var/lib/skerry-demo 2> /dev/null)"
  [[ $(findmnt -rno TARGET | sort) == "$mounts" ]] || fail "--down left mounts: $(findmnt -rno TARGET)"
  systemctl list-unit-files | grep -E 'cloudcore|edgecore' && fail "--down left units"
  say "up, up again, and down: nothing is left"
}

# ---------------------------------------------------------------------------------------------------------------- reboot

# Debian's containerd as its users set it up for Kubernetes, with images that need no network.
set_up_containerd() {
  mkdir -p /etc/containerd /etc/cni/net.d
  containerd config default | sed -e 's/SystemdCgroup = false/SystemdCgroup = true/' \
    -e 's,sandbox_image = .*,sandbox_image = "skerry.local/pause:1",' \
    -e 's,bin_dir = .*,bin_dir = "/usr/lib/cni",' > /etc/containerd/config.toml
  cat > /etc/cni/net.d/10-bridge.conflist << 'END'
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
  # Enabled, as it is where Debian's package was installed by hand.
  systemctl -q enable containerd
  systemctl restart containerd || fail "containerd does not start"
  # The images, as the quickstart makes them.
  (
    # shellcheck disable=SC2034,SC2317 # used by make_images
    demo=$state socket=/run/containerd/containerd.sock
    # shellcheck disable=SC2317
    ctr() { command ctr --address "$socket" --namespace k8s.io "$@"; }
    # shellcheck disable=SC1090
    source <(sed -n '/^make_images() {/,/^}/p' /host/deploy/quickstart.sh)
    make_images
  ) || fail "the images"
}

k() { kubectl --kubeconfig /etc/kubeedge/admin.conf "$@"; }
node_ready() { k get node edge1 | grep -qw Ready; }
deployed() { k rollout status deployment/hello --watch=false | grep -q 'successfully rolled out'; }
publish() {
  mosquitto_pub -h 127.0.0.1 -p 1883 -q 1 -t '$hw/events/device/default/thermometer/twin/update' \
    -m "{\"twin\":{\"temperature\":{\"actual\":{\"value\":\"$1\"},\"metadata\":{\"type\":\"float\"}}}}"
}
in_the_cloud() {
  [[ $(k get devicestatus thermometer -o 'jsonpath={.status.twins[?(@.propertyName=="temperature")].reported.value}') == "$1" ]]
}
published() { publish "$1" && sleep 1 && in_the_cloud "$1"; }
# What the edge itself knows of the device, asked as a local program would.
known_here() {
  timeout 20 mosquitto_rr -h 127.0.0.1 -p 1883 -q 1 -t '$hw/events/device/default/thermometer/twin/get' \
    -e '$hw/events/device/default/thermometer/twin/get/result' -m '{}' -W 15 | grep -F "\"$1\""
}
# As many containers as the demo's pods have run, and all of them since this boot.
two_run() { [[ $(ctr -n k8s.io tasks ls | grep -c RUNNING) -ge 4 ]]; }
answers() {
  local pod
  pod=$(crictl_ips | head -n 1)
  [[ -n $pod ]] && curl -fsS --max-time 10 "http://$pod:8080" > /dev/null
}
crictl_ips() { find /var/lib/cni/networks/pods -name '10.99.*' -printf '%f\n' 2> /dev/null; }

last_words() { journalctl -b -u edgecore -o short-monotonic | tail -n 40 | cut -c1-300; }

came_back() {
  [[ $(systemctl is-active cloudcore) != active ]] || fail "the cloud runs: this shows nothing"
  within 30 "edgecore is active by itself" systemctl -q is-active edgecore
  within 30 "both pods run again without the cloud" two_run
  within 20 "a pod answers on its port" answers
  within 20 "the edge still knows the reading $1" known_here "$1"
  say "edgecore: $(systemctl show edgecore -p NRestarts), pods after $(cut -d. -f1 /proc/uptime) s of uptime"
  say "records of networks that were empty: $(journalctl -b -u edgecore | grep -c 'what CNI kept')"
  say "pods' groups: $(find /sys/fs/cgroup/kubepods.slice -name '*-pod*.slice' -printf '%f ' )"
}

# A cloud and a node named edge1 on this machine, both by keadm, with the demo on it and a reading in the cloud.
set_up() {
  set_up_containerd
  keadm init --timeout $((60 * slower)) > $state/init 2>&1 || { cat $state/init; fail "keadm init"; }
  keadm join --cloudcore-ipport=127.0.0.1:10000 --edgenode-name=edge1 --token="$(keadm gettoken)" \
    --cgroupdriver=systemd --timeout $((60 * slower)) > $state/join 2>&1 || { cat $state/join; fail "keadm join"; }
  say "keadm init and keadm join are done"
  within 30 "the node is Ready" node_ready
  k apply -f /host/deploy/demo > /dev/null || fail "kubectl apply"
  within 60 "both pods are Ready" deployed
  within 60 "a reading is in the cloud" published 21.5
}

reboot_step() {
  case $boot in
    1)
      set_up
      systemctl -q disable --now cloudcore || fail "systemctl disable --now cloudcore"
      publish 22.5 || fail "edgecore did not take a reading without the cloud"
      say "the cloud is off, reading 22.5 is acknowledged: rebooting"
      systemctl reboot --no-block
      return 75
      ;;
    2)
      came_back 22.5
      publish 23.5 || fail "edgecore did not take a reading without the cloud"
      say "reading 23.5 is acknowledged: the power fails"
      touch /out/power-failure
      return 75
      ;;
    3)
      came_back 23.5
      systemctl -q enable --now cloudcore
      within 60 "the reading from before the power failure is in the cloud" in_the_cloud 23.5
      within 60 "the node is Ready again" node_ready
      within 60 "both pods are Ready in the cloud" deployed
      k get nodes -o wide
      k get pods -o wide
      keadm reset --force > $state/reset 2>&1 || { cat $state/reset; last_words; fail "keadm reset"; }
      last_words | sed -n '/edgecore stops/,$p'
      # systemd would say that it killed it.
      journalctl -b -u edgecore | grep -F 'SIGKILL' && { last_words; fail "edgecore did not end when it was told to"; }
      [[ ! -e /etc/systemd/system/edgecore.service ]] || fail "keadm reset left edgecore.service"
      local left
      left=$(find /sys/fs/cgroup -name '*-pod*.slice' -printf '%f ')
      say "after keadm reset: groups '$left'"
      ;;
    *) fail "booted $boot times" ;;
  esac
}

# ----------------------------------------------------------------------------------------------------------------- netem

# Only the link between edgecore and cloudcore is bad; `bad_link QUALITY...` as netem(8) has it.
bad_link() {
  tc qdisc del dev lo root 2> /dev/null
  (($#)) || return 0
  tc qdisc add dev lo root handle 1: prio bands 4 || fail "tc prio"
  tc qdisc add dev lo parent 1:4 handle 40: netem "$@" || fail "tc netem $*"
  local end
  for end in sport dport; do
    tc filter add dev lo parent 1: protocol ip prio 1 u32 match ip $end 10000 0xffff flowid 1:4 || fail "tc filter"
  done
}

node_unknown() { k get node edge1 | grep -qw NotReady; }
replaced() { deployed && ! k get pods -o name | grep -qF "$1"; }

netem() {
  set_up
  local value pod kept
  bad_link delay 150ms 50ms loss 20%
  for value in 1 2 3 4 5 6 7 8 9; do publish 3$value.5 || fail "reading 3$value.5 is not taken"; done
  within 60 "20 % loss, 150 ms: the last of nine readings is in the cloud" in_the_cloud 39.5
  pod=$(k get pods -o name | head -n 1)
  kept=$(ctr -n k8s.io tasks ls -q | sort)
  k delete --wait=false "$pod" > /dev/null
  within 120 "20 % loss: a deleted pod is replaced" replaced "$pod"
  bad_link loss 100%
  publish 40.5 || fail "a reading is not taken while the link is down"
  within 120 "nothing comes through: the node is not Ready for the cloud" node_unknown
  bad_link
  within 60 "the link is good again: the reading of meanwhile is in the cloud" in_the_cloud 40.5
  within 60 "the node is Ready again" node_ready
  [[ $(ctr -n k8s.io tasks ls -q | sort | comm -12 - <(echo "$kept") | wc -l) -ge 2 ]] || fail "the other pod's containers are others now"
  say "the other pod's containers are the same; edgecore: $(systemctl show edgecore -p NRestarts)"
  [[ $(systemctl show edgecore -p NRestarts) == NRestarts=0 ]] || fail "edgecore was restarted"
}

[[ $boot != 1 ]] || facts
case $step in
  pods-*)
    IFS=- read -r _ runtime driver <<< "$step"
    pods "$runtime" "$driver"
    ;;
  quickstart) quickstart ;;
  reboot) reboot_step ;;
  netem) netem ;;
  *) fail "there is no step $step" ;;
esac
