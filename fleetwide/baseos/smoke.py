"""What a VM image carries for the boot test: one unit and its script, inert on every other machine.

The marker that wakes them is an SMBIOS OEM string. Firmware tables are written by whoever powers
the machine on, and nobody can add to them later, so the unit opens no door that its owner has not
got anyway; on a machine without the marker ``ExecCondition`` skips it. The tables are readable by
root alone and need no module, so the stock cloud kernels of Debian and Ubuntu have them. The user's
own commands come the same way: they are no part of the image.

Every fact goes to the serial console in a frame ``@@fleetwide:TOKEN:KEY:BASE64:SUM@@``. The token
is new for each boot, so nothing else on the console can pass for a fact, and the sum tells a frame
that the kernel wrote into. The whole report is sent twice.
"""

import base64
from collections.abc import Sequence

from fleetwide.errors import InvalidInput
from fleetwide.models.baseos import CommandTest, FileSpec, Target, UnitSpec

MARKER = "fleetwide-smoke"
COMMAND_MARKER = "fleetwide-command"
SCRIPT_PATH = "/usr/lib/fleetwide/boot-test"
END = "end"
COMMAND_SECONDS = 120
"""Longest time that one of the user's commands may take in the booted machine."""
SETTLE_SHARE = 0.6
"""Share of the boot test's time after which a machine that has not settled reports as it is."""
# All SMBIOS tables of a machine together have 64 KiB of place.
MAX_STRINGS_BYTES = 48 * 1024

_UNIT = f"""\
[Unit]
Description=Fleetwide boot test (does nothing unless the firmware asks for it)

[Service]
Type=exec
ExecCondition=/bin/grep -q {MARKER}: /sys/firmware/dmi/tables/DMI
ExecStart=/bin/sh {SCRIPT_PATH}
Environment=HOME=/root

[Install]
WantedBy=multi-user.target
"""

_SCRIPT = f"""\
#!/bin/sh
# Reports on this machine to the boot test that started it, and powers it off.
set -u
export LC_ALL=C
strings() {{
  tr -c '[:print:]' '\\n' < /sys/firmware/dmi/tables/DMI | grep -o "$1:.*"
}}
marker=$(strings {MARKER} | head -n 1)
token=$(echo "$marker" | cut -d: -f2)
settle=$(echo "$marker" | cut -d: -f3)
[ -n "$token" ] && [ -n "$settle" ] || exit 1
for tty in /dev/ttyAMA0 /dev/ttyS0; do [ -c "$tty" ] && break; done
work=$(mktemp -d)
mkdir "$work/facts"
fact() {{ head -c 4000 > "$work/facts/$1"; }}

timeout "$settle" systemctl is-system-running --wait > /dev/null 2>&1
systemctl is-system-running 2>&1 | fact state
systemctl list-jobs --no-legend --plain --no-pager 2>&1 | fact jobs
systemctl list-units --failed --no-legend --plain --no-pager | cut -d' ' -f1 | while read -r unit
do
  said=$(journalctl -b "_SYSTEMD_UNIT=$unit" -n 3 -o cat --no-pager | cut -c1-200 | tr '\\n' ' ')
  printf '%s %s\\n' "$unit" "$said"
done 2>&1 | fact failed
uname -r | fact kernel
grep ' / ' /proc/mounts | tail -n 1 | fact root
cat /etc/machine-id 2>&1 | fact machine-id
tail -n +2 /proc/net/route | cut -f1 | sort -u | fact network
if [ -x /usr/sbin/sshd ]; then
  ls /etc/ssh/ | grep '^ssh_host_.*_key$' | fact ssh
fi
if command -v cloud-init > /dev/null; then
  timeout 60 cloud-init status 2>&1 | fact cloud-init
fi
strings {COMMAND_MARKER} | while IFS=: read -r _ name code; do
  echo "$code" | base64 -d > "$work/command"
  timeout {COMMAND_SECONDS} sh "$work/command" > "$work/output" 2>&1 < /dev/null
  {{ echo $?; tail -c 2000 "$work/output"; }} | fact "command.$name"
done

frame() {{
  sum=$(printf '%s:%s' "$1" "$2" | sha256sum | cut -c1-12)
  printf '\\n@@fleetwide:%s:%s:%s:%s@@\\n' "$token" "$1" "$2" "$sum"
}}
cd "$work/facts" || exit 1
count=0
for key in *; do
  frame "$key" "$(base64 -w 0 < "$key")"
  count=$((count + 1))
done > ../report
frame {END} "$(printf '%s' "$count" | base64 -w 0)" >> ../report
# From here on the kernel keeps off the console; a login prompt that starts may still hang it up.
echo 1 > /proc/sys/kernel/printk
for turn in 1 2; do
  cat ../report > "$tty"
  sleep 1
done
systemctl poweroff --force
"""


def smoke_unit() -> UnitSpec:
    """The unit that a VM image carries."""
    return UnitSpec(name="fleetwide-boot-test.service", content=_UNIT, enabled=True)


def smoke_script() -> FileSpec:
    """The script that the unit runs."""
    return FileSpec(path=SCRIPT_PATH, content=_SCRIPT, mode="0755", targets=[Target.VM])


def oem_strings(token: str, timeout_seconds: float, commands: Sequence[CommandTest]) -> list[str]:
    """The SMBIOS OEM strings (type 11) that make a machine report; none holds a comma.

    Raises:
        InvalidInput: the commands are too long for a machine's firmware tables.
    """
    strings = [f"{MARKER}:{token}:{max(1, int(timeout_seconds * SETTLE_SHARE))}"]
    for test in commands:
        code = base64.b64encode(test.run.encode()).decode()
        strings.append(f"{COMMAND_MARKER}:{test.name}:{code}")
    size = sum(map(len, strings))
    if size > MAX_STRINGS_BYTES:
        raise InvalidInput.for_field(
            "tests.commands",
            f"the commands take {size} bytes of firmware table; {MAX_STRINGS_BYTES} are there",
            hint="put long commands into a script of the image (`files`) and call it",
        )
    return strings
