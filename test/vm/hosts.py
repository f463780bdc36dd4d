"""What several initiators or several paths do: persistent reservations, and dm-multipath over two portals."""
import open_iscsi
from harness import expect
from initiator import GROUP, OTHER, PATHS, PORTAL
from loads import fio, fio_verified
from open_iscsi import SECOND

FIRST_KEY, SECOND_KEY = "abc1", "abc2"
WRITE_EXCLUSIVE, WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 1, 5
PORTALS = (PORTAL, "127.0.0.2:3260")
CONFLICT = 24  # sg3_utils' exit status for RESERVATION CONFLICT

# Only the one disk; %s is its name.
MULTIPATH = """
defaults {
  user_friendly_names no
  find_multipaths no
  polling_interval 1
  path_grouping_policy group_by_prio
  prio alua
  path_checker tur
  failback immediate
  no_path_retry 30
}
blacklist {
  wwid ".*"
}
blacklist_exceptions {
  wwid "%s"
}
"""


def second_host(world):
    """Logs in to a target once more, with another initiator's name; the generic nodes of both."""
    open_iscsi.second_initiator(world.machine, OTHER, PORTAL)
    world.node(OTHER, "-I second --login")
    world.machine.wait_for(f"[ $(disk-of -g {OTHER} 0 | wc -l) = 2 ]")
    return world.run(f"disk-of -g {OTHER} 0").split()


@GROUP.smoke
def sg_persist_between_two_initiators(world):
    """register, reserve, a conflict for the other, preempt, release, clear: as two hosts of a cluster do"""
    first, second = second_host(world)
    for generic in (first, second, first, second):
        world.run(f"sg_turs {generic}", status=None)  # what happened before is told first
    write = "sg_write_same --16 --in=/dev/zero --xferlen=512 --lba=0 --num=1"

    def persist(device, arguments, **options):
        return world.run(f"sg_persist {arguments} {device}", **options)

    try:
        expect(persist(first, "--in --report-capabilities"), "Write Exclusive, all registrants: 1")
        persist(first, f"--out --register --param-sark={FIRST_KEY}")
        persist(first, f"--out --reserve --param-rk={FIRST_KEY} --prout-type={WRITE_EXCLUSIVE_REGISTRANTS_ONLY}")
        reservation = persist(second, "--in --read-reservation")
        expect(reservation, f"Key=0x{FIRST_KEY}(.|\\n)*Write Exclusive, registrants only")
        world.run(f"{write} {first}")
        world.run(f"{write} {second}", status=CONFLICT)
        persist(second, f"--out --register --param-sark={SECOND_KEY}")
        world.run(f"{write} {second}")
        expect(persist(first, "--in --read-full-status"), SECOND)
        persist(second, f"--out --preempt --param-rk={SECOND_KEY} --param-sark={FIRST_KEY} "
                f"--prout-type={WRITE_EXCLUSIVE}")
        world.run(f"{write} {first} || {write} {first}", status=CONFLICT)  # the first tells that it was preempted
        persist(second, f"--out --release --param-rk={SECOND_KEY} --prout-type={WRITE_EXCLUSIVE}")
        world.run(f"{write} {first}")
        persist(second, f"--out --clear --param-rk={SECOND_KEY}")
        expect(persist(first, "--in --read-keys"), "there are NO registered reservation keys")
    finally:
        world.node(OTHER, "-I second --logout", status=None)


def multipath_disk(world):
    """Logs in through both portals and starts what dm-multipath needs; the name of the disk that both paths lead to."""
    world.machine.modprobe("dm_multipath", "dm_service_time", "scsi_dh_alua")
    world.run("mkdir -p /etc/multipath && systemd-udevd --daemon && udevadm trigger --action=add && udevadm settle")
    for portal in PORTALS:
        world.node(PATHS, "--login", portal=portal)
    world.machine.wait_for(f"[ $(disk-of {PATHS} 0 | wc -l) = 2 ]")
    names = {world.run(f"scsi_id --whitelisted --device={disk}").strip()
             for disk in world.run(f"disk-of {PATHS} 0").split()}
    assert len(names) == 1, f"one disk of two names: {names}"
    wwid = names.pop()
    world.machine.write("/etc/multipath.conf", MULTIPATH % wwid)
    world.machine.spawn("multipathd -d -s", "/var/log/multipathd")
    world.machine.wait_for(f"[ -e /dev/mapper/{wwid} ]")
    return wwid


def paths_are_ready(topology, count):
    return f"{topology} | grep -c 'active ready running' | grep -qx {count}"


@GROUP.check
def multipath_over_two_portals(world):
    """dm-multipath sees one disk by two paths with ALUA; fio verifies on it while paths come, go and change state"""
    wwid = multipath_disk(world)
    topology = f"multipathd show map {wwid} topology"
    world.machine.wait_for(paths_are_ready(topology, 2))
    expect(world.machine.wait_for(f"{topology} | grep -q prio=50 && {topology}"),
           r"hwhandler='1 alua'(.|\n)*prio=50 status=(.|\n)*prio=10 status=")
    world.machine.spawn(fio(f"/dev/mapper/{wwid}", "--loops=15"), "/tmp/fio.log")
    world.machine.wait_for("pidof fio")
    for portal in PORTALS:
        world.node(PATHS, "--logout", portal=portal)
        world.machine.wait_for(paths_are_ready(topology, 1))
        world.node(PATHS, "--login", portal=portal)
        world.machine.wait_for(paths_are_ready(topology, 2))
    assert world.run("pidof fio", status=None), "fio ended before the access states changed"
    world.ctl(f"luns set {PATHS} 0 --access 1=standby --access 2=active/optimized")
    world.machine.wait_for(f"{topology} | grep -q 'prio=1 status='; {topology} | grep -q 'prio=50 status=active'")
    world.machine.wait_for("! pidof fio")
    fio_verified(world)
    world.run("killall multipathd; killall systemd-udevd", status=None)
