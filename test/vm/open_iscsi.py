"""The kernel's iSCSI initiator in the VM: iscsid, and what iscsiadm is told."""

FIRST = "iqn.2026-11.org.example:first"
SECOND = "iqn.2026-11.org.example:second"

ISCSID = """
iscsid.startup = /bin/false
node.startup = manual
node.leading_login = No
node.session.timeo.replacement_timeout = 60
node.conn[0].timeo.login_timeout = 15
node.conn[0].timeo.logout_timeout = 15
node.conn[0].timeo.noop_out_interval = 5
node.conn[0].timeo.noop_out_timeout = 30
node.session.err_timeo.abort_timeout = 15
node.session.err_timeo.lu_reset_timeout = 30
node.session.err_timeo.tgt_reset_timeout = 30
node.session.initial_login_retry_max = 8
node.session.iscsi.FastAbort = Yes
node.session.scan = auto
"""


def start(machine, portal):
    """iscsid as the initiator FIRST, which has asked a portal for its targets."""
    machine.modprobe("iscsi_tcp", "crc32c_generic")
    machine.write("/etc/iscsi/iscsid.conf", ISCSID)
    machine.write("/etc/iscsi/initiatorname.iscsi", f"InitiatorName={FIRST}\n")
    machine.spawn("iscsid -f", "/var/log/iscsid")
    machine.wait_for(f"iscsiadm -m discovery -t sendtargets -p {portal}")


def node(machine, target, portal, arguments, **options):
    return machine.run(f"iscsiadm -m node -T {target} -p {portal} {arguments}", **options)


def update(machine, target, portal, **settings):
    """node.session.auth.username is said as auth__username, node.conn[0].iscsi.DataDigest as conn__DataDigest."""
    for name, value in settings.items():
        kind, _, key = name.partition("__")
        full = {"auth": "node.session.auth.", "conn": "node.conn[0].iscsi."}[kind] + key
        node(machine, target, portal, f"-o update -n '{full}' -v '{value}'")


def second_initiator(machine, target, portal):
    """`-I second` stands for the initiator SECOND from now on."""
    for command in ("-o new", f"-o update -n iface.initiatorname -v {SECOND}"):
        machine.run(f"iscsiadm -m iface -I second {command}")
    node(machine, target, portal, "-I second -o new")
