#!/bin/sh
# Called by mmdebstrap on the new root file system: a name, a network, and a service that runs what the tests hand in.
set -eu
root=$1
echo skerry-vm > "$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 skerry-vm\n' > "$root/etc/hosts"
echo 'nameserver 10.0.2.3' > "$root/etc/resolv.conf"
printf '[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n' > "$root/etc/systemd/network/10.network"
cat > "$root/usr/local/sbin/skerry-vm-job" << 'END'
#!/bin/bash
mkdir -p /host /out
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,ro ro /host
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 rw /out
/bin/bash /out/job.sh >> /out/job.log 2>&1
status=$?
# A step that goes on after the next boot asks for that.
[ $status != 75 ] || exit 0
echo $status > /out/result
sync
systemctl poweroff --no-block
END
chmod 0755 "$root/usr/local/sbin/skerry-vm-job"
cat > "$root/etc/systemd/system/skerry-vm-job.service" << 'END'
[Unit]
Description=What the tests ask for
After=network-online.target containerd.service docker.service
Wants=network-online.target
[Service]
Type=simple
ExecStart=/usr/local/sbin/skerry-vm-job
KillMode=process
Environment=HOME=/root
[Install]
WantedBy=multi-user.target
END
chroot "$root" systemctl -q enable systemd-networkd skerry-vm-job
# Their own services would share the two processors; a step starts what it needs.
chroot "$root" systemctl -q disable docker.service docker.socket mosquitto docker-registry apt-daily.timer apt-daily-upgrade.timer
