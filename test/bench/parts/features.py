"""What may be switched on costs a session nothing it does not use: CHAP, journal, control interface, rules, digests.

Servers with one thing on each are measured in turn against a plain one, everything on one CPU. Digests of data, which
libiscsi does not have, are measured with light_bench: odxd has CPU 0 for itself and the client CPU 1.
"""
import tempfile
from pathlib import Path

from frame import ONE_CPU, Asked, Server, fill, in_turn, io_bench, ratio

PLAIN = "nothing else"
ALL = "journal, control interface and a rule"
SECRET = "fourteen-bytes"
CHAP = f'[target.chap]\nname = "bench"\nsecret = "{SECRET}"\n'
JOURNAL = '[journal]\nevents = 4096\nfile = "{folder}/journal-{number}"\n'
CONTROL = '[control]\nunix = "{folder}/control-{number}"\n'
# Of the LUN that is measured, but for a command that nobody sends.
RULE = '[[rule]]\nmatch = {{ lun = 0, command = "WRITE USING TOKEN" }}\naction = {{ type = "delay", ms = 1 }}\n'
VARIANTS = {PLAIN: "", "CHAP": "", "a journal": JOURNAL, "the control interface": CONTROL, "a rule": RULE,
            ALL: JOURNAL + CONTROL + RULE}


def config_of(name, folder):
    """The TOML of a variant, and a function that gives a LUN's URL as a client of it says it."""
    number = list(VARIANTS).index(name)
    top = 'log_level = "warning"\n' + ("" if "journal" in name else "[journal]\nevents = 0\n")
    target = '[[target]]\n' + (CHAP if name == "CHAP" else "") + '[[target.lun]]\nstore = "memory:1G"\n'
    config = (top + '[[portal]]\nlisten = "127.0.0.1:0"\n' + target
              + VARIANTS[name].format(folder=folder, number=number))
    if name != "CHAP":
        return config, lambda url: url
    return config, lambda url: url.replace("iscsi://", f"iscsi://bench%{SECRET}@")


def on_one_cpu(options, report):
    report.section("Switched on and not used",
                   "libiscsi, 4 KiB, depth 32, client and server on one CPU; the journal and the control interface are "
                   "idle, the rule is for another command. What is held is counted in instructions (part cost): these "
                   "rates differ by more from one run to the next.")
    names = [PLAIN, ALL] if options.quick else list(VARIANTS)
    table = report.table("odxd with", "reads, thousand per s", "writes, thousand per s", "read : plain",
                         "write : plain")
    with tempfile.TemporaryDirectory(prefix="odx-features-") as folder:
        servers, urls = {}, {}
        try:
            for name in names:
                config, url_of = config_of(name, Path(folder))
                servers[name] = Server(f"with-{names.index(name)}", [options.odxd], prefix=ONE_CPU, config=config)
                urls[name] = url_of(servers[name].url)
                fill(options, urls[name])
            figures = {}
            for what, more in (("read", []), ("write", ["--write"])):
                figures[what] = in_turn(options, {
                    name: lambda n=name, m=more: io_bench(options, servers[n], "--depth", 32, *m, prefix=ONE_CPU,
                                                          url=urls[n]) for name in names})
        finally:
            for server in servers.values():
                server.stop()
    for name in names:
        rates = [figures[what][name]["iops"] for what in ("read", "write")]
        ratios = [figures[what][name]["iops"] / figures[what][PLAIN]["iops"] for what in ("read", "write")]
        table.row(name, *(f"{rate / 1000:.1f}" for rate in rates), *(f"{ratio:.3f}" for ratio in ratios),
                  read=figures["read"][name], write=figures["write"][name])


def digests(options, report):
    report.section("Digests", "light_bench, one session; header and data digests against none. odxd has a CPU for "
                   "itself. What is held is what its processor could do: the client limits some of the rates.")
    table = report.table("Case", "without, thousand per s", "with, thousand per s", "server CPU without, us",
                         "server CPU with, us", "with : without", "the same, of server CPU")
    with Server("digests", [options.odxd], "--threads", 1, "memory:1G", prefix=ONE_CPU) as server:
        fill(options, server.url)
        for size, depth in ((65536, 8),) if options.quick else ((4096, 32), (65536, 8), (262144, 4)):
            for write in (False, True):
                case = Asked(write, size, depth)
                figures = in_turn(options, {with_digests: lambda d=with_digests, w=case.words(): io_bench(
                    options, server, "--sessions", 1, *w, *(["--digests"] if d else []), prefix=("taskset", "-c", "1"),
                    name="light_bench") for with_digests in (False, True)})
                cpu = ratio(figures[False], figures[True], "server_cpu_us")
                table.row(case, *(f"{figures[which]['iops'] / 1000:.1f}" for which in (False, True)),
                          *(f"{figures[which]['server_cpu_us']:.2f}" for which in (False, True)),
                          ratio(figures[True], figures[False]), cpu, without=figures[False], digests=figures[True])
                if size == 65536:
                    report.goal(f"{case}, with digests : without, by server CPU", cpu, at_least=0.9)


def run(options, report):
    on_one_cpu(options, report)
    digests(options, report)
