# Run by `cargo xtask deb --check` as root in a small Debian: the life of the package.

say() { echo "    $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
must() { "$@" >/tmp/out 2>&1 || { cat /tmp/out >&2; fail "$*"; }; }
has() { grep -q -- "$2" "$1" || { cat "$1" >&2; fail "$1 does not say: $2"; }; }
owner() { stat -c %U "$1"; }
echo "127.0.0.1 localhost fos-package" >/etc/hosts

must dpkg -i /tmp/first.deb
has /tmp/out "fos-server setup"
must dpkg --verify fos-server
getent passwd fos >/dev/null || fail "there is no user fos"
[ "$(owner /var/lib/fos-server)" = fos ] || fail "the data directory is not the service's"
[ "$(stat -c %a /var/lib/fos-server)" = 700 ] || fail "the data directory is open"
for file in /usr/share/man/man1/fos-server.1.gz /usr/share/man/man1/fos-server-doctor.1.gz \
    /usr/share/bash-completion/completions/fos-server /usr/share/doc/fos-server/copyright \
    /usr/share/doc/fos-server/examples/config.toml /usr/lib/systemd/system/fos-server.service; do
    [ -s "$file" ] || fail "$file is missing"
done
must fos-server config --check /usr/share/doc/fos-server/examples/config.toml
say "installed"

# What FOG has, as its installer leaves it.
mkdir -p /etc/systemd/system /opt/fog/log
echo "[Service]" >/etc/systemd/system/FOGMulticastManager.service
must fos-server setup --yes --interface eth0 --take-over-fog
cp /tmp/out /tmp/setup
has /tmp/setup "http://10.77.0.1/"
has /tmp/setup "dhcp-boot=tag:ipxe,default.ipxe,,10.77.0.1"
has /etc/fos-server/config.toml '^interface = "eth0"'
has /etc/fos-server/config.toml '^log = "/opt/fog/log"'
[ "$(readlink /etc/systemd/system/FOGMulticastManager.service)" = /usr/lib/systemd/system/fos-server.service ] ||
    fail "FOG's name does not lead to the service"
[ -s /var/lib/fos-server/boot/bzImage ] || fail "there is no kernel"
xz -t /var/lib/fos-server/boot/init.xz || fail "there is no initramfs"
xz -dc /var/lib/fos-server/boot/init.xz | busybox cpio -i --to-stdout init >/tmp/init 2>/dev/null
cmp -s /tmp/init /usr/lib/fos-server/fos-agent || fail "the initramfs has another agent"
rm /tmp/init
say "set up, with boot files of the installed kernel"

# As the unit does: as the service's user, with the right to port 80 alone.
start() {
    setpriv --reuid fos --regid fos --init-groups --inh-caps=-all,+net_bind_service \
        --ambient-caps=-all,+net_bind_service --bounding-set=-all,+net_bind_service --no-new-privs \
        fos-server serve >/tmp/serve 2>&1 &
    server=$!
    tries=0
    until curl -sf http://10.77.0.1/fog/service/ipxe/boot.php?mac0=02:00:00:00:00:09 >/tmp/boot 2>/dev/null; do
        kill -0 $server 2>/dev/null || { cat /tmp/serve >&2; fail "the server has ended"; }
        tries=$((tries + 1))
        [ $tries -lt 600 ] || { cat /tmp/serve >&2; fail "the server does not answer"; }
        sleep 0.1
    done
}
stop() {
    kill $server
    wait $server || { cat /tmp/serve >&2; fail "the server did not end in order"; }
}
start
has /tmp/boot '#!ipxe'
must fos-server host add LAB-01 02:00:00:00:00:09
must fos-server status
[ -s /opt/fog/log/multicast.log ] || fail "there is no log where FOG's Log Viewer reads"
[ "$(stat -c %a /opt/fog/log)" = 755 ] || fail "the directory of FOG's logs was closed"
fos-server doctor --no-dhcp >/tmp/doctor 2>&1 || { cat /tmp/doctor >&2; fail "doctor names causes"; }
say "started as user fos; doctor finds nothing"
stop

must dpkg -i /tmp/next.deb
start
must fos-server host list
has /tmp/out LAB-01
has /etc/fos-server/config.toml '^interface = "eth0"'
say "upgraded; hosts and configuration are there"
stop

mkdir -p /var/lib/fos-server/images/win11
must dpkg -r fos-server
[ ! -e /usr/bin/fos-server ] || fail "the program is still there"
[ -e /etc/fos-server/config.toml ] || fail "removing took the configuration"
[ "$(cat /etc/systemd/system/FOGMulticastManager.service)" = "[Service]" ] || fail "FOG did not get its name back"
say "removed; FOG has its name back"

must dpkg -P fos-server
[ ! -e /etc/fos-server ] || fail "the configuration is still there"
[ -d /var/lib/fos-server/images/win11 ] || fail "purging took images"
[ "$(ls -A /var/lib/fos-server)" = images ] || fail "left behind: $(ls -A /var/lib/fos-server)"
say "purged; images are still there"
