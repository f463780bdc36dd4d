"""One event loop and two: four sessions of a client that leaves most of two processors to odxd.

light_bench sends batches that it made before and drops the answers in the kernel; libiscsi as the client would use more
of two processors than odxd does, so that a second loop had nothing to run on.
"""
from frame import Server, fill, in_turn, io_bench

SHAPES = ((False, 4096, 32), (True, 4096, 32), (False, 4096, 8), (True, 4096, 8), (False, 65536, 4), (True, 65536, 4))


def run(options, report):
    servers = {}
    try:
        for threads in (1, 2):
            servers[threads] = Server(f"odxd-{threads}", [options.odxd], "--threads", threads, "memory:1G")
            fill(options, servers[threads].url)
        report.section("One and two event loops", "Four sessions of light_bench. Each cell: one loop / two.")
        table = report.table("Case", "thousand I/O per s", "server CPU per I/O, us", "processors used by the server",
                             "two : one")
        for write, size, depth in SHAPES[:1] if options.quick else SHAPES:
            words = ["--size", size, "--depth", depth, *(["--write"] if write else [])]
            figures = in_turn(options, {threads: lambda s=server: io_bench(options, s, *words, name="light_bench")
                                        for threads, server in servers.items()})

            def each(text):
                return " / ".join(text(figures[threads]) for threads in servers)

            ratio = figures[2]["iops"] / figures[1]["iops"]
            case = f"{size >> 10} KiB random {'write' if write else 'read'}, depth {depth}"
            table.row(case, each(lambda f: f"{f['iops'] / 1000:.1f}"), each(lambda f: f"{f['server_cpu_us']:.1f}"),
                      each(lambda f: f"{f['server_cpus']:.2f}"), f"{ratio:.2f}", figures=figures)
            report.goal(f"{case}, four sessions, two loops : one", ratio, at_least=1)
    finally:
        for server in servers.values():
            server.stop()
