/**
 * What runs as process 1 of a guest: a shell script that mounts what is needed and then obeys the
 * control channel, a virtio serial port (`guest-control.ts` is its other end).
 *
 * Lines to the guest are `ID COMMAND`, the command in base64, or empty. Lines from it are
 * `ready SECONDS` once, then `ID out TEXT` for each line that a command prints and `ID end STATUS`.
 * Commands run beside each other.
 */

/** Name of the control channel's port. */
export const CONTROL_PORT = 'xe-vfio.control';

/** `/init`. */
export const GUEST_INIT = `#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=vt100
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t debugfs debugfs /sys/kernel/debug
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts

port=
while [ -z "$port" ]; do
  for name in /sys/class/virtio-ports/*/name; do
    [ -f "$name" ] && [ "$(cat "$name")" = ${CONTROL_PORT} ] && port=/dev/$(basename "$(dirname "$name")")
  done
  [ -n "$port" ] || sleep 0.05
done

obey() {
  echo "$2" | base64 -d >/tmp/command.$1
  { sh /tmp/command.$1 2>&1 </dev/null 3>&-; echo $? >/tmp/status.$1; } |
    awk -v id=$1 '{ print id " out " $0; fflush() }' >&3
  echo "$1 end $(cat /tmp/status.$1)" >&3
  rm -f /tmp/command.$1 /tmp/status.$1
}

control() {
  exec 3<>$port
  echo "ready $(cut -d' ' -f1 /proc/uptime)" >&3
  while :; do
    # Nothing to read is a host that is not connected, as while the guest moves.
    if read -r id command <&3; then
      [ -z "$id" ] || (obey "$id" "$command" &)
    else
      sleep 0.05
    fi
  done
}

control &
# Takes in the children that others leave behind.
while :; do sleep 60; done
`;
