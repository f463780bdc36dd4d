#!/usr/bin/env python3
"""The control interface of a running odxd: HTTP and its limits, every route against the served OpenAPI document, bad
input, authorisation, sessions, the Unix socket, `odx ctl`, and loads that go on meanwhile.

Not tested, and why: what each route makes of its input in full (control_test.cc); what hosts make of what is done to
them (online_changes_test.py, test/scsi). Usage: control_test.py ODXD ODX [unittest arguments].
"""
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import stat
import sys
import tempfile
import threading
import types
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
ODX = sys.argv.pop(2) if len(sys.argv) > 2 and not sys.argv[2].startswith("-") else "odx"
from odxd_process import Odxd, odxd_ends, tool  # noqa: E402
from offload import read16, token_of, write16, write_using_token  # noqa: E402
from wire import ASYNC, GOOD, Closed, Session  # noqa: E402

try:
    import jsonschema
except ImportError:
    jsonschema = None

TOKEN = "a-token-for-the-control-port"
ONE = "iqn.2026-11.org.example:one"
POWER_ON, UNKNOWN_TOKEN = (6, 0x29, 0x00), (5, 0x23, 0x04)
BLOCK = 512
CONFIG = f'id = "lab"\n[[target]]\nname = "{ONE}"\n' + '[[target.lun]]\nstore = "memory:64M"\n' * 2


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("odxd", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(connection, method, path, body=None, headers=None, **more):
    """Status, document (or text), headers."""
    headers = dict(headers or {})
    if body is not None and not isinstance(body, (bytes, str)):
        body = json.dumps(body)
        headers.setdefault("Content-Type", "application/json")
    connection.request(method, path, body, headers, **more)
    answer = connection.getresponse()
    text = answer.read()
    kind = answer.getheader("Content-Type") or ""
    return answer.status, json.loads(text) if text and "json" in kind else text.decode(), answer.headers


class ControlTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="odxd-control-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.socket = self.folder / "control"

    def odxd(self, *arguments, text=CONFIG, control=None):
        config = self.folder / "array.toml"
        config.write_text(text + (control if control is not None else f'[control]\nunix = "{self.socket}"\n'))
        return Odxd("--config", config, *arguments, log_path=self.folder / "odxd.log")

    def unix(self, path=None):
        connection = UnixConnection(str(path or self.socket))
        self.addCleanup(connection.close)
        return connection

    def once(self, *request):
        """Over the Unix socket, on a connection of its own."""
        connection = UnixConnection(str(self.socket))
        try:
            return ask(connection, *request)
        finally:
            connection.close()

    def do(self, method, path, body=None, status=200):
        got, document, _ = self.once(method, path, body)
        self.assertEqual(got, status, document)
        return document

    def session(self, odxd, host="host", luns=(0, 1)):
        where = types.SimpleNamespace(host=odxd.host, port=odxd.port, iqn=ONE, lun=int)
        session = Session(where, f"iqn.2026-11.org.example:{host}")
        self.addCleanup(session.socket.close)
        return session.clear_unit_attentions(*luns)

    def odx(self, *arguments, env=None):
        return tool(ODX, "ctl", *arguments, env={"ODX_CONTROL": f"unix:{self.socket}", **(env or {})})


class Http(ControlTest):
    def test_one_connection_carries_many_requests(self):
        with self.odxd():
            connection = self.unix()
            connection.connect()
            kept = connection.sock
            for _ in range(50):
                self.assertEqual(ask(connection, "GET", "/healthz")[:2], (200, {"status": "ok"}))
            self.assertIs(connection.sock, kept)
            self.assertEqual(ask(connection, "GET", "/readyz")[0], 200)
            self.assertEqual(ask(connection, "HEAD", "/v1/luns")[:2], (200, ""))
            self.assertEqual(ask(connection, "HEAD", "/v1/events/stream")[:2], (200, ""))
            self.assertEqual(ask(connection, "GET", "/v1/luns")[0], 200)

    def test_what_is_no_request_is_refused_and_the_next_one_served(self):
        with self.odxd():
            for sent, expected in [(b"\x16\x03\x01\x02\x00 not HTTP\r\n\r\n", 400), (b"GET\r\n\r\n", 400),
                                   (b"GET / HTTP/9.9\r\n\r\n", 400),
                                   (b"GET /healthz HTTP/1.1\r\nA: " + b"a" * 20000 + b"\r\n\r\n", 431),
                                   (b"POST /v1/snapshots HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n", 413),
                                   (b"POST /v1/snapshots HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
                                   (b"POST /v1/snapshots HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
                                   (b"POST /v1/snapshots HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;" +
                                    b"a" * 500_000, 400)]:  # a chunk's extension that goes on for ever
                self.assertEqual(self.raw(sent), expected, sent[:40])
            self.do("GET", "/healthz")

    def raw(self, data):
        """The status that bytes get; the connection is closed by odxd afterwards."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.socket))
            client.sendall(data)
            text = b""
            while piece := client.recv(65536):
                text += piece
        head, _, body = text.partition(b"\r\n\r\n")
        self.assertEqual(json.loads(body)["status"], int(head.split()[1]))
        return int(head.split()[1])

    def test_a_body_that_is_too_large_is_told_so_while_it_is_still_being_sent(self):
        with self.odxd():
            connection = self.unix()
            status, problem, _ = ask(connection, "POST", "/v1/snapshots", b"x" * (3 << 20),
                                     {"Content-Type": "application/json"})
            self.assertEqual((status, problem["name"]), (413, "the body"))

    def test_a_body_is_invited(self):
        with self.odxd(), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.socket))
            body = b'{"name":"a"}'
            client.sendall(b"POST /v1/snapshots HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Type: "
                           b"application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
            self.assertTrue(client.recv(1000).startswith(b"HTTP/1.1 100 "))
            client.sendall(body)
            self.assertTrue(client.recv(1000).startswith(b"HTTP/1.1 201 "))

    def test_clients_that_stall_or_go_hurt_nobody(self):
        with self.odxd() as odxd:
            stalled = []
            for count in range(64):
                client = socket.socket(socket.AF_UNIX)
                self.addCleanup(client.close)
                client.connect(str(self.socket))
                client.sendall(b"GET /healthz HTTP/1.1\r\n"[:count % 20])
                stalled.append(client)
            answered = [self.first_line() for _ in range(3)]  # all are taken before the next is
            self.assertEqual(set(answered), {b"HTTP/1.1 503 Service Unavailable"})
            self.assertEqual(self.session(odxd).command(read16(0, 1), data_in=BLOCK).status, GOOD)
            for client in stalled[:32]:
                client.close()
            while self.first_line(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n") != b"HTTP/1.1 200 OK":
                pass

    def test_clients_that_wait_for_events_and_go_are_let_go_of_at_once(self):
        with self.odxd():
            for path in ("/v1/events?kind=clock&wait_s=600", "/v1/events/stream?kind=clock"):
                for half in (False, True):
                    with self.subTest(path, half=half):
                        self.leave(f"GET {path} HTTP/1.1\r\nHost: odxd\r\n\r\n".encode(), half)

    def leave(self, request, half):
        """As many as there can be send it and go, or say that they send nothing more."""
        clients = []
        for _ in range(64):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.settimeout(20)
            client.connect(str(self.socket))
            client.sendall(request)
            clients.append(client)
        self.assertEqual(self.first_line(), b"HTTP/1.1 503 Service Unavailable")  # all are taken
        for client in clients:
            if half:
                client.shutdown(socket.SHUT_WR)
                while client.recv(1000):
                    pass
            client.close()
        while self.first_line(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n") != b"HTTP/1.1 200 OK":
            pass

    def test_a_request_may_follow_one_that_waits(self):
        with self.odxd():
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(20)
                client.connect(str(self.socket))
                client.sendall(b"GET /v1/events?kind=clock&wait_s=600 HTTP/1.1\r\nHost: odxd\r\n\r\n"
                               b"GET /healthz HTTP/1.1\r\nHost: odxd\r\nConnection: close\r\n\r\n")
                self.do("POST", "/v1/clock/advance", {"duration_s": 1})
                received = b""
                while piece := client.recv(1000):
                    received += piece
            self.assertEqual(received.count(b"HTTP/1.1 200 OK"), 2)
            self.assertIn(b'"kind":"clock"', received)

    def first_line(self, request=b""):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.socket))
            try:
                if request:  # to send nothing fails, too, where the other end is closed
                    client.sendall(request)
                return client.recv(1000).split(b"\r\n")[0]
            except (BrokenPipeError, ConnectionResetError):
                return b""


class Sockets(ControlTest):
    def test_the_unix_socket_is_its_owners_and_goes_with_odxd(self):
        with self.odxd() as odxd:
            self.assertEqual(stat.S_IMODE(self.socket.stat().st_mode), 0o600)
            self.assertIn(f"control unix:{self.socket}", odxd.lines)
        self.assertFalse(self.socket.exists())

    def test_one_that_lives_is_left_alone_and_one_that_is_gone_replaced(self):
        with self.odxd() as odxd:
            status, _, text = odxd_ends("--portal", "127.0.0.1:0", "--control", f"unix:{self.socket}", "memory:1M")
            self.assertEqual(status, 1)
            self.assertIn("another process listens there", text)
            self.do("GET", "/healthz")
            odxd.end(signal.SIGKILL)
            self.assertTrue(self.socket.exists())
            odxd.end = lambda *_: 0
        with self.odxd():
            self.do("GET", "/healthz")
        self.socket.write_text("precious")
        status, _, text = odxd_ends("--portal", "127.0.0.1:0", "--control", f"unix:{self.socket}", "memory:1M")
        self.assertEqual(status, 1)
        self.assertIn("no socket", text)
        self.assertEqual(self.socket.read_text(), "precious")

    def test_another_file_that_took_the_name_is_not_removed(self):
        with self.odxd():
            self.socket.unlink()
            self.socket.write_text("another")
        self.assertEqual(self.socket.read_text(), "another")

    def test_tcp_asks_for_the_token(self):
        control = f'[control]\nlisten = "127.0.0.1:0"\ntoken = "{TOKEN}"\n'
        with self.odxd("--json", control=control) as odxd:
            url = next(each["url"] for each in odxd.objects if each["event"] == "control")
            port = int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)", url)[1])

            def status(path, method="GET", **headers):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                got, document, answer_headers = ask(connection, method, path, headers=headers)
                connection.close()
                return got, document, answer_headers

            self.assertEqual(status("/healthz")[0], 200)
            self.assertEqual(status("/readyz")[0], 200)
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"},
                            {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Bearer {TOKEN[:-1]}"}):
                for path in ("/v1/luns", "/metrics", "/v1/nothing"):
                    got, problem, answer_headers = status(path, **headers)
                    self.assertEqual((got, problem["name"]), (401, "Authorization"))
                    self.assertTrue(answer_headers["WWW-Authenticate"].startswith("Bearer"))
                    self.assertNotIn(TOKEN, json.dumps(problem))
            self.assertEqual(status("/v1/reset", "POST")[0], 401)
            self.assertEqual(status("/v1/luns", Authorization=f"Bearer {TOKEN}")[0], 200)
            env = {"ODX_CONTROL": url, "ODX_CONTROL_TOKEN": TOKEN}
            self.assertEqual(tool(ODX, "ctl", "luns", "ls", env=env)[0], 0)
            self.assertEqual(tool(ODX, "ctl", "luns", "ls", env={**env, "ODX_CONTROL_TOKEN": "x"})[0], 1)
            (self.folder / "token").write_text(TOKEN + "\n")
            self.assertEqual(tool(ODX, "ctl", "--token-file", self.folder / "token", "luns", "ls",
                                  env={"ODX_CONTROL": url})[0], 0)
        self.assertNotIn(TOKEN, (self.folder / "odxd.log").read_text())

    def test_tcp_without_a_token_is_no_configuration(self):
        config = self.folder / "bad.toml"
        for text, rule in [('listen = "127.0.0.1:0"\n', "control.token is missing"),
                           ('listen = "127.0.0.1:0"\ntoken = "short"\n', "16 to 255"),
                           (f'unix = "{"x" * 200}"\n', "control.unix"), ('port = 1\n', "not a key here")]:
            config.write_text(CONFIG + "[control]\n" + text)
            status, _, complaint = odxd_ends("--config", config, "--check")
            self.assertEqual(status, 2)
            self.assertIn(rule, complaint)
        status, _, complaint = odxd_ends("--control", "127.0.0.1:0", "--check", "memory:1M")
        self.assertEqual(status, 2)
        self.assertIn("ODX_CONTROL_TOKEN", complaint)


class Contract(ControlTest):
    """Every route, against the document that odxd serves."""

    def setUp(self):
        super().setUp()
        if not jsonschema and os.environ.get("CI") != "true":
            self.skipTest("python3-jsonschema is not installed")

    def test_every_route_answers_as_the_document_says(self):
        with self.odxd() as odxd:
            document = self.do("GET", "/openapi.json")
            session = self.session(odxd)
            token_of(session, 0, [(0, 8)])
            self.do("POST", "/v1/snapshots", {"name": "there"}, status=201)
            self.do("POST", "/v1/reachability/cut", {"a": "lun0", "b": "lun1"})
            fill = {"{array}": "lab", "{profile}": "instant", "{target}": ONE, "{number}": "0", "{snapshot}": "there",
                    "{tsih}": str(self.do("GET", "/v1/sessions")["sessions"][0]["tsih"])}
            tested = set()
            for method, path, body in self.requests():
                fill["{id}"] = self.some_id(session, path)
                concrete = re.sub(r"\{\w+\}", lambda match: fill[match[0]], path)
                self.judge(document, method, path, concrete, body)
                tested.add((method, path.partition("?")[0]))
            tested.add(("GET", "/v1/events/stream"))  # has no end: Journal
            served = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
            self.assertEqual(served - tested, set())

    @staticmethod
    def requests():
        """Each route once, those that take something away last."""
        get = ["/", "/page/icon.svg", "/page/page.css", "/page/page.js", "/page/service.js", "/page/table.js",
               "/page/words.js", "/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/status", "/v1/memory",
               "/v1/memory/usage", "/v1/arrays", "/v1/arrays/{array}", "/v1/arrays/{array}/profile", "/v1/profiles",
               "/v1/profiles/{profile}", "/v1/targets", "/v1/targets/{target}", "/v1/luns",
               "/v1/targets/{target}/luns", "/v1/targets/{target}/luns/{number}", "/v1/sessions",
               "/v1/sessions/{tsih}", "/v1/tokens", "/v1/tokens/{id}", "/v1/operations", "/v1/operations/{id}",
               "/v1/reachability", "/v1/snapshots", "/v1/snapshots/{snapshot}", "/v1/clock", "/v1/events",
               "/v1/rules", "/v1/rules/{id}",
               "/v1/events?since=0&limit=3&kind=command,token_created", "/v1/explain", "/v1/explain?logical_unit=lun0"]
        yield from (("GET", path, None) for path in get)
        yield from (("POST", f"/v1/tokens/{{id}}/{end}", None) for end in ("expire", "revoke", "cancel", "delete"))
        yield from [
            ("POST", "/v1/targets", {"name": "iqn.2026-11.org.example:new", "luns": [{"store": "memory:1M"}]}),
            ("PATCH", "/v1/targets/{target}", {"alias": "disks"}),
            ("POST", "/v1/targets/{target}/luns", {"store": "memory:1M", "number": 9}),
            ("PATCH", "/v1/targets/{target}/luns/{number}", {"read_only": True}),
            ("PUT", "/v1/reachability", {"unreachable": [{"a": "lun0", "b": "lun1",
                                                          "refusal": "unreachable-copy-target"}]}),
            ("POST", "/v1/reachability/cut", {"a": "lun0", "b": "lun0"}),
            ("POST", "/v1/reachability/mend", {"a": "lun0", "b": "lun0"}),
            ("POST", "/v1/snapshots", {"name": "new"}),
            ("PUT", "/v1/clock", {"mode": "manual"}),
            ("POST", "/v1/clock/advance", {"duration_s": 1.5}),
            ("DELETE", "/v1/events", None),
            ("POST", "/v1/rules", {"name": "a", "match": {"command": "READ", "nth": 9}, "action": {"type": "nothing"}}),
            ("PUT", "/v1/rules/state", {"state": "late"}),
            ("POST", "/v1/rules/start-over", None),
            ("DELETE", "/v1/rules/{id}", None),
            ("DELETE", "/v1/rules", None),
            ("POST", "/v1/snapshots/{snapshot}/restore", None),
            ("DELETE", "/v1/snapshots/{snapshot}", None),
            ("POST", "/v1/operations/{id}/abort", None),
            ("POST", "/v1/reset", None),
            ("POST", "/v1/sessions/{tsih}/logout", {"within_s": 60}),
            ("DELETE", "/v1/sessions/{tsih}", None),
            ("DELETE", "/v1/targets/{target}/luns/{number}", None),
            ("DELETE", "/v1/targets/{target}", None),
        ]

    def some_id(self, session, path):
        if "/rules/" in path:
            return str(self.do("POST", "/v1/rules", {"action": {"type": "nothing"}}, status=201)["id"])
        if "/tokens/" not in path:
            return "1"  # an operation that there is not: 404 is judged by the document, too
        token_of(session, 0, [(0, 8)], list_identifier=random.getrandbits(31))
        return self.do("GET", "/v1/tokens")["tokens"][-1]["id"]

    def judge(self, document, method, path, concrete, body):
        operation = document["paths"][path.partition("?")[0]][method.lower()]
        status, answer, headers = self.once(method, concrete, body)
        expected = operation["responses"].get(str(status))
        if expected is None:
            self.assertIn(status, (404, 409), f"{method} {concrete}: {answer}")
            self.assertIn("/operations/", concrete)
            expected = operation["responses"]["default"]
        if status == 204:
            self.assertEqual(answer, "")
            return
        kind, media = next(iter(expected["content"].items()))
        self.assertTrue(headers["Content-Type"].startswith(kind), f"{method} {concrete}: {headers['Content-Type']}")
        schema = {**media["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer)
        if body is not None:
            asked = operation["requestBody"]["content"]["application/json"]["schema"]
            jsonschema.Draft202012Validator({**asked, "components": document["components"]}).validate(body)

    def test_what_the_document_does_not_allow_is_refused(self):
        """For each route with a body: keys of the wrong kind, unknown ones, none, and what is no object."""
        with self.odxd():
            document = self.do("GET", "/openapi.json")
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    if "requestBody" in operation:
                        self.refuses_all(document, method.upper(), path, operation)
            self.assertEqual(len(self.do("GET", "/v1/luns")["luns"]), 2)
            self.assertEqual(self.do("GET", "/v1/snapshots")["snapshots"], [])

    def refuses_all(self, document, method, path, operation):
        concrete = path.replace("{target}", ONE).replace("{number}", "0").replace("{tsih}", "1")
        media = operation["requestBody"]["content"]["application/json"]
        shape = document["components"]["schemas"][media["schema"]["$ref"].rsplit("/", 1)[1]]
        bodies = [[], 5, "text", None, {"no such key": 1}, {key: {"a": []} for key in shape["properties"]}]
        bodies += [{key: None} for key in shape["properties"]]
        if shape.get("required"):
            bodies.append({})
        for body in bodies:
            status, problem, headers = self.once(method, concrete, json.dumps(body),
                                                 {"Content-Type": "application/json"})
            self.assertEqual(status, 422, f"{method} {path} {body}: {problem}")
            self.assertEqual(headers["Content-Type"], "application/problem+json")
            self.assertTrue(problem["name"] and problem["rule"] and problem["detail"], problem)
        for text, content_type, expected in [("{", "application/json", 400), ("", "application/json", 400),
                                             ("{}", "text/plain", 415), ("\xff", "application/json", 400),
                                             ("[" * 500, "application/json", 400)]:
            if text == "" and not operation["requestBody"]["required"]:
                continue
            status, problem, _ = self.once(method, concrete, text.encode("latin-1"), {"Content-Type": content_type})
            self.assertEqual(status, expected, f"{method} {path} {text!r}: {problem}")


class Steering(ControlTest):
    def test_sessions_are_told_and_dropped(self):
        with self.odxd() as odxd:
            session, other = self.session(odxd), self.session(odxd, "other")
            listed = {each["initiator"]: each for each in self.do("GET", "/v1/sessions")["sessions"]}
            mine = listed["iqn.2026-11.org.example:host"]
            self.assertEqual((mine["target"], len(mine["peers"])), (ONE, 1))
            self.do("POST", f"/v1/sessions/{mine['tsih']}/logout", {"within_s": 60}, status=204)
            self.assertEqual(session.receive_pdu().opcode, ASYNC)
            self.do("DELETE", f"/v1/sessions/{mine['tsih']}", status=204)
            with self.assertRaises(Closed):
                while True:
                    session.receive_pdu()
            self.assertEqual(other.command(read16(0, 1), data_in=BLOCK).status, GOOD)
            self.do("DELETE", "/v1/sessions/9999", status=404)

    def test_the_clock_tells_who_waits_for_it(self):
        with self.odxd("--clock", "manual") as odxd:
            session = self.session(odxd)
            for command, clock in (("READ", "array"), ("WRITE", "wire")):
                self.do("POST", "/v1/rules", {"match": {"command": command},
                                              "action": {"type": "delay", "ms": 3600000, "clock": clock}}, status=201)
            session.send(session.command_pdu(read16(0, 1), data_in=BLOCK))
            session.send(session.command_pdu(write16(0, 1), bytes(BLOCK), immediate=BLOCK))
            session.send(session.command_pdu(bytes(6)))  # overtakes them
            session.answer()
            told = self.do("GET", "/v1/clock")
            self.assertEqual((told["commands"], told["waiting_for_clock"], told["next_in_s"]), (2, 1, 3600))
            listed = self.do("GET", "/v1/sessions")["sessions"][0]
            self.assertEqual((listed["commands"], listed["waiting_for_clock"]), (2, 1))
            self.assertIn("waiting for clock  1", self.odx("clock", "show")[1])
            self.do("POST", "/v1/clock/advance", {"to": "next"})
            told = self.do("GET", "/v1/clock")
            self.assertEqual((told["commands"], told["waiting_for_clock"]), (1, 0))

    def test_commands_are_counted_by_operation_code_and_status(self):
        def counted():
            """What was counted since the last time, by command and status."""
            nonlocal seen
            past, seen = seen, {}
            for line in self.do("GET", "/metrics").splitlines():
                if line.startswith("odx_commands_total{"):
                    labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
                    self.assertEqual(labels["target"], ONE)
                    seen[labels["command"], labels["opcode"], labels["status"]] = int(line.rpartition(" ")[2])
            return {key[1:]: value - past.get(key, 0) for key, value in seen.items() if value != past.get(key, 0)}

        with self.odxd() as odxd:
            session = self.session(odxd)
            seen = {}
            counted()
            token = token_of(session, 0, [(0, 8)])
            for number, (lba, expected) in enumerate([(0, GOOD), (2**40, 2)]):
                cdb, data = write_using_token(50 + number, token, [(lba, 8)])
                self.assertEqual(session.command(cdb, data_out=data, lun=1).status, expected)
            self.assertEqual(counted(), {("83h/10h", "GOOD"): 1, ("84h/07h", "GOOD"): 1, ("83h/11h", "GOOD"): 1,
                                         ("83h/11h", "CHECK CONDITION"): 1})  # and so no READ, no WRITE
            session.command(read16(0, 1), data_in=BLOCK)
            self.assertEqual(counted(), {("88h", "GOOD"): 1})

    def test_a_token_that_is_ended_is_refused_with_the_sense_of_its_end(self):
        ends = {"expire": 0x07, "revoke": 0x06, "cancel": 0x08, "delete": 0x09}
        with self.odxd() as odxd:
            session = self.session(odxd)
            for number, (end, qualifier) in enumerate(ends.items()):
                token = token_of(session, 0, [(0, 8)], list_identifier=100 + number)
                self.do("POST", f"/v1/tokens/{token[8:16].hex()}/{end}")
                cdb, data = write_using_token(200 + number, token, [(0, 8)])
                self.assertEqual(session.command(cdb, data_out=data, lun=1).key, (5, 0x23, qualifier))

    def test_going_back_is_a_loss_of_power_for_hosts(self):
        with self.odxd() as odxd:
            session = self.session(odxd)
            before, after = os.urandom(BLOCK), os.urandom(BLOCK)
            session.command(write16(7, 1), data_out=before)
            self.do("POST", "/v1/snapshots", {"name": "clean"}, status=201)
            session.command(write16(7, 1), data_out=after)
            token = token_of(session, 0, [(0, 8)])
            self.do("POST", "/v1/snapshots/clean/restore")
            self.assertEqual(session.command(read16(7, 1), data_in=BLOCK).key, POWER_ON)
            self.assertEqual(session.command(read16(7, 1), data_in=BLOCK).data, before)
            session.clear_unit_attentions(1)
            cdb, data = write_using_token(5, token, [(0, 8)])
            self.assertEqual(session.command(cdb, data_out=data, lun=1).key, UNKNOWN_TOKEN)
            register, keys = bytes.fromhex("5F00 0000 0000 0000 1800"), bytes.fromhex("5E00 0000 0000 0000 4000")
            self.assertEqual(session.command(register, data_out=bytes(8) + b"registra" + bytes(8)).status, GOOD)
            self.assertEqual(session.command(keys, data_in=64).data, bytes.fromhex("00000001 00000008") + b"registra")
            self.do("POST", "/v1/reset")
            self.assertEqual(session.command(read16(7, 1), data_in=BLOCK).key, POWER_ON)
            self.assertEqual(session.command(read16(7, 1), data_in=BLOCK).data, bytes(BLOCK))
            self.assertEqual(session.command(keys, data_in=64).data, bytes(8))  # PRGENERATION, too
            self.assertEqual(session.command(register, data_out=bytes(8) + b"registra" + bytes(8)).status, GOOD)

    def test_registrations_that_persist_outlive_a_loss_of_power(self):
        with self.odxd(text=f'state_dir = "{self.folder}"\n' + CONFIG) as odxd:
            session = self.session(odxd)
            register, keys = bytes.fromhex("5F00 0000 0000 0000 1800"), bytes.fromhex("5E00 0000 0000 0000 4000")
            aptpl = bytes(8) + b"registra" + bytes(4) + b"\1" + bytes(3)
            self.assertEqual(session.command(register, data_out=aptpl).status, GOOD)
            self.do("POST", "/v1/reset")
            session.clear_unit_attentions(0)
            self.assertEqual(session.command(keys, data_in=64).data, bytes.fromhex("00000000 00000008") + b"registra")

    def test_files_stay_as_they_are(self):
        text = f'[[target]]\nname = "{ONE}"\n[[target.lun]]\nstore = "file:{self.folder}/disk,size=1M"\n'
        with self.odxd(text=text) as odxd:
            session = self.session(odxd, luns=[0])
            data = os.urandom(BLOCK)
            session.command(write16(7, 1), data_out=data)
            taken = self.do("POST", "/v1/snapshots", {"name": "a"}, status=201)
            self.assertFalse(taken["luns"][0]["captured"])
            self.assertIn("file system", taken["luns"][0]["why_not"])
            self.do("POST", "/v1/snapshots/a/restore")
            self.do("POST", "/v1/reset")
            session.clear_unit_attentions(0)
            self.assertEqual(session.command(read16(7, 1), data_in=BLOCK).data, data)

    def test_a_copy_in_progress_is_seen_and_stopped(self):
        text = 'id = "lab"\n[copy]\nlatency_ms = 600000\n' + CONFIG.partition("\n")[2]
        with self.odxd(text=text) as odxd:
            session = self.session(odxd)
            token = token_of(session, 0, [(0, 8)])
            cdb, data = write_using_token(5, token, [(0, 8)])
            session.send(session.command_pdu(cdb, data, lun=1))
            while not (copies := self.do("GET", "/v1/operations")["operations"]):
                pass
            self.assertEqual((copies[0]["command"], copies[0]["lun"], copies[0]["list_identifier"], copies[0]["bytes"]),
                             ("WRITE USING TOKEN", "lun1", 5, 0))
            self.do("POST", f"/v1/operations/{copies[0]['id']}/abort", status=204)
            self.assertEqual(session.answer().key, (0xA, 0x2F, 0x02))
            self.assertEqual(self.do("GET", "/v1/operations")["operations"], [])

    def test_loads_go_on_while_everything_is_asked_and_changed(self):
        with self.odxd() as odxd:
            stop, failures, rounds = threading.Event(), [], []
            session = self.session(odxd)

            def command(*arguments, **data):
                """LUNs that come and go are told as unit attention conditions."""
                while (answer := session.command(*arguments, **data)).status != GOOD and answer.key[0] == 6:
                    pass
                return answer

            def verify(seed):
                chance = random.Random(seed)
                model = {}
                while not stop.is_set():
                    lba = chance.randrange(1000)
                    if chance.random() < 0.5:
                        model[lba] = chance.randbytes(BLOCK)
                        if command(write16(lba, 1), data_out=model[lba]).status != GOOD:
                            failures.append("write")
                    elif command(read16(lba, 1), data_in=BLOCK).data != model.get(lba, bytes(BLOCK)):
                        failures.append(f"read {lba}, seed {seed}")
                    rounds.append(1)

            def poll(path):
                connection = UnixConnection(str(self.socket))
                for _ in range(100):
                    if ask(connection, "GET", path)[0] != 200:
                        failures.append(path)
                connection.close()

            load = threading.Thread(target=verify, args=[random.getrandbits(32)])
            paths = ["/v1/luns", "/metrics", "/v1/tokens", "/v1/sessions", "/v1/memory/usage", "/openapi.json"]
            others = [threading.Thread(target=poll, args=[path]) for path in paths]
            for thread in (load, *others):
                thread.start()
            for number in range(30):
                self.do("POST", f"/v1/targets/{ONE}/luns", {"store": "memory:1M", "number": 50 + number}, status=201)
                self.do("POST", "/v1/snapshots", {"name": f"s{number}"}, status=201)
                self.do("PATCH", f"/v1/targets/{ONE}/luns/1", {"size": f"{1 + number}M"})
                self.do("DELETE", f"/v1/targets/{ONE}/luns/{50 + number}", status=204)
            for thread in others:
                thread.join()
            stop.set()
            load.join()
            self.assertEqual(failures, [])
            self.assertGreater(len(rounds), 100)


class Journal(ControlTest):
    """Events as they come, over the time of a host's copies."""

    def stream(self, path="/v1/events/stream", headers=None):
        connection = self.unix()
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.getheader("Content-Type")), (200, "text/event-stream"))
        return answer

    @staticmethod
    def next_event(answer):
        """Its number, kind and document; comments that keep the connection alive are none."""
        fields = {}
        while "data" not in fields:
            while line := answer.readline().decode().rstrip("\n"):
                key, _, value = line.partition(": ")
                fields[key] = value
        return fields.get("id"), fields.get("event"), json.loads(fields["data"])

    def test_a_stream_says_what_the_list_says_and_goes_on_where_it_was_left(self):
        with self.odxd() as odxd:
            streams = [self.stream("/v1/events/stream?kind=token_created,token_ended"), self.stream()]
            session = self.session(odxd)
            token = token_of(session, 0, [(0, 8)])
            self.do("POST", f"/v1/tokens/{token[8:16].hex()}/revoke")
            first, second = self.next_event(streams[0]), self.next_event(streams[0])
            self.assertEqual((first[1], second[1]), ("token_created", "token_ended"))
            self.assertIn("revoked", second[2]["reason"])
            listed = self.do("GET", "/v1/events?kind=token_created,token_ended")["events"]
            self.assertEqual([first[2], second[2]], listed)
            again = self.stream("/v1/events/stream?kind=token_created,token_ended", {"Last-Event-ID": first[0]})
            self.assertEqual(self.next_event(again), second)
            self.assertEqual(self.next_event(streams[1])[1], "login")
            waiting = threading.Thread(target=lambda: found.append(
                self.do("GET", "/v1/events?kind=reachability&wait_s=60")["events"]))
            found = []
            waiting.start()
            while waiting.is_alive():
                self.do("POST", "/v1/reachability/cut", {"a": "lun0", "b": "lun1"})
                self.do("POST", "/v1/reachability/mend", {"a": "lun0", "b": "lun1"})
            self.assertEqual(found[0][0]["kind"], "reachability")

    def test_a_stream_that_nobody_reads_costs_nothing_and_says_what_it_lost(self):
        with self.odxd(text=CONFIG + "[journal]\nevents = 16\n") as odxd:
            stalled = self.stream()
            self.session(odxd)
            for _ in range(1000):
                self.do("POST", "/v1/reachability/cut", {"a": "lun0", "b": "lun1"})
                self.do("POST", "/v1/reachability/mend", {"a": "lun0", "b": "lun1"})
            last = self.do("GET", "/v1/events")["last"]
            numbers, lost = [], 0
            while not numbers or numbers[-1] < last:
                number, kind, document = self.next_event(stalled)
                if kind == "lost":
                    lost += document["lost"]
                else:
                    numbers.append(int(number))
            self.assertEqual(len(numbers) + lost, last)
            self.assertEqual(numbers, sorted(set(numbers)))

    def test_the_clock_is_moved_and_tokens_end(self):
        with self.odxd("--clock", "manual") as odxd:
            session = self.session(odxd)
            since = self.do("GET", "/v1/events")["last"]  # unit attention conditions, reported as the session began
            token = token_of(session, 0, [(0, 8)])
            self.assertEqual(self.odx("clock", "advance", "--to", "next")[0], 0)
            cdb, data = write_using_token(5, token, [(0, 8)])
            self.assertEqual(session.command(cdb, data_out=data, lun=1).key, (5, 0x23, 0x07))
            status, text = self.odx("explain")
            self.assertEqual(status, 0)
            self.assertIn("inactivity timeout", text)
            self.assertEqual(self.odx("clock", "set", "scaled", "--factor", "2.5")[0], 0)
            self.assertEqual(json.loads(self.odx("clock", "show", "--json")[1])["factor"], 2.5)
            status, text = self.odx("events", "--kind", "refusal", "--since", since)
            self.assertEqual((status, len(text.splitlines())), (0, 2), text)
            both = ["token_created", "refusal"]
            status, text = self.odx("events", "--follow", "--since", since, "--limit", 2, "--kind", ",".join(both))
            self.assertEqual((status, [line.split()[2] for line in text.splitlines()]), (0, both))
            status, text = self.odx("events", "--follow", "--since", "0", "--limit", 1, "--json")
            self.assertEqual((status, json.loads(text)["sequence"]), (0, 1))
            self.assertEqual(self.odx("events", "clear"), (0, ""))
            self.assertEqual(self.odx("events"), (0, ""))


class Rules(ControlTest):
    def test_a_rule_that_is_sent_acts_on_the_next_command_and_is_counted(self):
        with self.odxd() as odxd:
            session = self.session(odxd)
            status, text = self.odx("rules", "add", json.dumps(
                {"name": "one bad read", "match": {"lun": "lun0", "command": "READ", "nth": 2},
                 "action": {"type": "sense", "sense": "03/11/00"}}))
            self.assertEqual(status, 0, text)
            keys = [session.command(read16(0, 1), data_in=BLOCK).key for _ in range(3)]
            self.assertEqual(keys, [None, (3, 0x11, 0x00), None])
            rule = self.do("GET", "/v1/rules")["rules"][0]
            self.assertEqual((rule["name"], rule["hits"]), ("one bad read", 1))
            hits = self.do("GET", "/v1/events?kind=rule_hit")["events"]
            self.assertEqual(len(hits), 1)
            self.assertEqual(self.odx("rules", "rm", rule["id"]), (0, ""))
            self.assertEqual(self.do("GET", "/v1/rules")["rules"], [])
            (self.folder / "rule.json").write_text('{"action": {"type": "nothing"}}')
            self.assertEqual(self.odx("rules", "add", f"@{self.folder}/rule.json")[0], 0)
            self.assertEqual(self.odx("rules", "add", "{")[0], 2)
            self.assertEqual(self.odx("rules", "clear"), (0, ""))


class Ctl(ControlTest):
    def test_tables_documents_and_exit_codes(self):
        with self.odxd() as odxd:
            self.session(odxd)
            status, text = self.odx("luns", "ls")
            self.assertEqual(status, 0)
            lines = text.splitlines()
            self.assertEqual(lines[0].split(), ["target", "number", "name", "size", "bytes", "read", "only", "store"])
            self.assertEqual([line.split()[2] for line in lines[1:]], ["lun0", "lun1"])
            status, text = self.odx("luns", "ls", "--json")
            self.assertEqual([lun["number"] for lun in json.loads(text)["luns"]], [0, 1])
            self.assertEqual(self.odx("luns", "add", ONE, "memory:1M", "--number", 5, "--read-only", "true")[0], 0)
            status, text = self.odx("luns", "set", ONE, 5, "--size", "2M", "--read-only", "false")
            self.assertEqual((status, text), self.odx("luns", "show", ONE, 5))
            self.assertRegex(text, r"size bytes +2097152 \(2 MiB\)")
            self.assertEqual(self.odx("luns", "rm", ONE, 5), (0, ""))
            status, text = self.odx("luns", "rm", ONE, 5)
            self.assertEqual((status, text), (1, f"odx ctl: there is no LUN 5 of {ONE}\n"))
            self.assertEqual(self.odx("luns", "set", ONE, 0, "--read-only", "perhaps")[0], 2)
            self.assertEqual(self.odx("reachability", "set", "--unreachable", "lun0=lun1")[0], 0)
            self.assertEqual(len(self.do("GET", "/v1/reachability")["unreachable"]), 1)
            self.assertEqual(self.odx("reachability", "set"), (0, ""))
            self.assertEqual(self.odx("targets", "set", ONE, "--allowed-initiators", "iqn.2026-11.org.example:a",
                                      "--allowed-initiators", "iqn.2026-11.org.example:b")[0], 0)
            self.assertEqual(len(self.do("GET", f"/v1/targets/{ONE}")["allowed_initiators"]), 2)
            self.assertIn("odx_sessions 1", self.odx("metrics")[1])
        self.assertEqual(self.odx("status")[0], 3)
        self.assertEqual(tool(ODX, "ctl", "status", env={"ODX_CONTROL": ""})[0], 2)
        self.assertEqual(self.odx("status", "--url", "ftp://x")[0], 2)

    def test_all_tokens_are_listed_however_many_pages_they_take(self):
        with self.odxd() as odxd:
            session = self.session(odxd)
            all_tokens = [token_of(session, number % 2, [(0, 8)], list_identifier=number)[8:16].hex()
                          for number in range(1050)]
            page = self.do("GET", "/v1/tokens")
            self.assertEqual([token["id"] for token in page["tokens"]], all_tokens[:1000])
            self.assertEqual((page["total"], page["next"]), (1050, all_tokens[999]))
            self.do("POST", f"/v1/tokens/{page['next']}/revoke")
            page = self.do("GET", f"/v1/tokens?after={page['next']}")
            self.assertEqual(([token["id"] for token in page["tokens"]], page["next"]), (all_tokens[1000:], None))
            problem = self.do("GET", "/v1/tokens?limit=1001", status=400)
            self.assertEqual(problem["detail"], 'limit is "1001"; expected a whole number from 1 to 1000')
            left = all_tokens[:999] + all_tokens[1000:]
            for words, wanted, following in [
                    ([], left, None), (["--source", "lun1"], all_tokens[1:999:2] + all_tokens[1001::2], None),
                    (["--limit", "1020", "--after", all_tokens[9]], left[10:1030], left[1029])]:
                page = json.loads(self.odx("tokens", "ls", "--json", *words)[1])
                self.assertEqual(([token["id"] for token in page["tokens"]], page["next"]), (wanted, following))
            self.assertEqual([line.split()[0] for line in self.odx("tokens", "ls")[1].splitlines()[1:]], left)

    def test_every_route_has_its_command(self):
        with self.odxd():
            served = {(method.upper(), path) for path, methods in self.do("GET", "/openapi.json")["paths"].items()
                      for method in methods if path != "/" and not path.startswith("/page/")}
        source = (Path(__file__).resolve().parents[2] / "cli" / "ctl_command.cc").read_text()
        commands = set(re.findall(r'"(GET|POST|PUT|PATCH|DELETE)",\s*"([^"]+)"', source))
        self.assertEqual(served - {("GET", "/v1/events/stream")}, commands)  # events --follow

    def test_bash_completes(self):
        script = self.folder / "odx.bash"
        script.write_text(tool(ODX, "completion")[1])
        for words, expected in [(["odx", "ctl", "tok"], ["tokens"]),
                                (["odx", "ctl", "tokens", "ex"], ["expire"]),
                                (["odx", "ctl", "--json", "luns", "se"], ["set"]),
                                (["odx", "ctl", "luns", "set", ONE, "0", "--si"], ["--size"])]:
            quoted = " ".join(f"'{word}'" for word in words)
            status, text = tool("bash", "-c", f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; "
                                "_odx; echo ${COMPREPLY[@]}")
            self.assertEqual((status, text.split()), (0, expected))


if __name__ == "__main__":
    unittest.main(verbosity=2)
