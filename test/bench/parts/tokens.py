"""A million tokens alive: making them, memory, look-up, commands beside them, REPORT ALL ROD TOKENS, and their end.

They are made through iSCSI, each for 4 KiB of data of its own, with the array clock standing, so that all of them end
at one microsecond. Their end is measured twice: in POST /v1/clock/advance, and with the clock running, when they come
due all at once. Takes 7 GiB of memory.
"""
import itertools
import statistics
import tempfile
from pathlib import Path

from beside import OTHER_CPU, PLACES, Beside, Control, lasting
from frame import MEBIBYTE, ONE_CPU, Failed, Server, client, fill, memory_mib

CONFIG = """\
log_level = "error"
[clock]
mode = "manual"
[control]
unix = "{socket}"
[tokens]
maximum_tokens = {most}
[[portal]]
listen = "127.0.0.1:0"
[[target]]
name = "iqn.2026-01.example.odx:tokens"
[[target.lun]]
store = "memory:16G"
[[target.lun]]
store = "memory:16G"
"""
MILLION, FEW = 1_000_000, 10
MOST_BYTES, MOST_LOOKUP_US = 1024, 2
INACTIVITY_S = 60
TOKEN_BYTES = 4096  # token_bench's 8 blocks


def make(options, server, count):
    return client(options, "token_bench", server.url, "--count", count, "--inactivity", INACTIVITY_S, "--server-pid",
                  server.pid, prefix=OTHER_CPU)


def commands(options, server):
    """Medians of each command, microseconds."""
    return client(options, "copy_bench", *server.urls[:2], "--bytes", MEBIBYTE, "--extents", 0, "--in-place",
                  "--no-read", "--runs", 20 if options.quick else 500, prefix=OTHER_CPU)


def report_all(options, server, length):
    return client(options, "token_bench", server.url, "--report", length, "--runs", options.runs, prefix=OTHER_CPU)


def lookups(options, report, most):
    table = report.table("Tokens alive", "look-up by identifier, us", "judged and used, us", "made, us", "ended, us")
    for count in (1, 1000, most):
        figures = client(options, "token_lookup", "--tokens", count, "--runs", options.runs, prefix=ONE_CPU)
        table.row(f"{count:,}", *(f"{figures[key]:.2f}" for key in ("find_us", "use_us", "create_us", "end_us")),
                  figures=figures)
        if count == most:
            report.goal(f"look-up of one of {count:,} tokens", figures["find_us"], at_most=MOST_LOOKUP_US, unit="us")


def alive(options, report, server, most):
    """The tables of what they cost while they live."""
    make(options, server, FEW)
    few = commands(options, server)
    reports = {FEW: [report_all(options, server, length) for length in (4096, 128 * most)]}
    before = memory_mib(server.pid)
    made = make(options, server, most)
    each = (memory_mib(server.pid) - before) * MEBIBYTE / most
    many = commands(options, server)
    reports[most] = [report_all(options, server, length) for length in (4096, 128 * most)]
    table = report.table("Made", "tokens/s", "odxd CPU each, us", "resident bytes each")
    table.row(f"{most:,}", f"{made['tokens_s']:.0f}", f"{made['server_cpu_us']:.1f}", f"{each:.0f}", made=made,
              each=each)
    if not options.quick:
        report.goal("resident memory of a token", each, at_most=MOST_BYTES, unit="bytes")
    table = report.table("Tokens alive", "POPULATE TOKEN, us", "RECEIVE ROD TOKEN INFORMATION, us",
                         "WRITE USING TOKEN, us", "REPORT ALL ROD TOKENS of 4 KiB, us", "of all, ms", "bytes came")
    for count, figures in ((FEW, few), (most, many)):
        small, large = reports[count]
        table.row(f"{count:,}", *(f"{figures[key]:.0f}" for key in ("populate_us", "information_us", "write_us")),
                  f"{small['us']:.0f}", f"{large['us'] / 1000:.2f}", large["bytes"], figures=figures, small=small,
                  large=large)


def by_advance(control):
    answer = control.ask("POST", "/v1/clock/advance", {"duration_s": INACTIVITY_S})
    if answer["clock"]["next_in_s"] <= 0:
        raise Failed(f"the answer came while tokens were due: {answer}")


def by_time(control):
    """A minute passes within a millisecond, and all of them are due."""
    due = control.ask("GET", "/v1/clock")["now_s"] + INACTIVITY_S
    control.ask("PUT", "/v1/clock", {"mode": "scaled", "factor": 100_000})
    while control.ask("GET", "/v1/clock")["now_s"] < due:
        pass
    control.ask("PUT", "/v1/clock", {"mode": "real"})


def ends(options, report, server, control, most):
    report.section(f"The end of {most:,} tokens beside a session",
                   "The session's 4 KiB reads while all of them end at once. How long: until the last had ended, with "
                   f"the session reading for the first {options.seconds:g} s of it.")
    table = report.table("They end by", "how long, s", *Beside.COLUMNS)
    made = True  # those that the commands above made
    for (name, begin), place in itertools.product(
            (("POST /v1/clock/advance", by_advance), ("time", by_time)), PLACES):
        beside, took = Beside(place), []
        for _ in range(min(options.runs, 3)):
            control.ask("PUT", "/v1/clock", {"mode": "manual"})
            if not made:
                make(options, server, most)
            made = False

            def go(seen, begin=begin, took=took):
                took.append(lasting(lambda: begin(control),
                                    lambda: control.ask("GET", "/v1/clock")["next_in_s"] <= 0, seen))
                return took[-1]

            beside.measure(options, server.urls[1], server.pid, go)
        table.row(name, f"{statistics.median(took):.2f}", *beside.cells(), beside=vars(beside))
        beside.judge(options, report, f"while {most:,} tokens end by {name}")


def run(options, report):
    most = 5000 if options.quick else MILLION
    report.section(f"{most:,} tokens alive", __doc__.split("\n\n", 1)[1].strip().replace("\n", " "))
    lookups(options, report, most)
    with tempfile.TemporaryDirectory(prefix="odx-tokens-") as folder:
        socket = Path(folder) / "control"
        config = CONFIG.format(socket=socket, most=most + 2000)
        with Server("tokens", [options.odxd], prefix=ONE_CPU, config=config) as server:
            fill(options, server.urls[0], most * TOKEN_BYTES)
            fill(options, server.urls[1])
            alive(options, report, server, most)
            ends(options, report, server, Control(socket), most)
