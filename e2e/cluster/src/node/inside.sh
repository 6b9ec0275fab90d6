# inside.sh DATA NODE HOST: prepares a node's fresh namespaces. Nothing here may change what the host sees.
set -eu
data=$1 node=$2 host=$3

# The kubelet hands mounts on to pods.
mount --make-rshared /
mount -t tmpfs tmpfs /run && mkdir -p /run/lock
mount -t tmpfs tmpfs /var/log
# The kubelet, CNI and the device plugin protocol insist on folders in /var/lib: they write into the run's folder instead.
mkdir -p "$data/lib/upper" "$data/lib/work" "$data/kubelet" "$data/pod-logs" "$data/plugins"
mount -t overlay -o "lowerdir=/var/lib,upperdir=$data/lib/upper,workdir=$data/lib/work" overlay /var/lib
mkdir -p /var/lib/kubelet && mount --bind "$data/kubelet" /var/lib/kubelet

hostname node-a
ip link set lo up
ip addr add "$node/24" dev realsyn-node
ip link set realsyn-node up
ip route add default via "$host"
echo 1 > /proc/sys/net/ipv4/ip_forward
# Only where the bridge module is loaded; without it bridged packets never meet iptables and none is needed.
[ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables

# The kubelet sets these for the whole machine. Inside, files stand in their place.
mkdir -p "$data/sysctl"
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  [ -e "/proc/sys/$setting" ] || continue
  copy="$data/sysctl/$(basename "$setting")"
  cat "/proc/sys/$setting" > "$copy"
  mount --bind "$copy" "/proc/sys/$setting"
done
