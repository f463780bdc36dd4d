#!/usr/bin/env python3
"""The live page of the control interface in a real browser without a screen: what it shows, its buttons, the keyboard,
the token, its policy, wide and narrow, light and dark.

ODX_SCREENSHOTS=FOLDER keeps a picture of each.

Not tested, and why: other browsers (Debian has chromedriver for one); what a screen reader says (only names, roles and
what is announced); what the buttons ask for does (control_test.cc). Usage: page_test.py ODXD [unittest arguments].
"""
import asyncio
import http.client
import os
import re
import sys
import tempfile
import threading
import types
import unittest
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "interop")]
# pylint: disable=wrong-import-position
from odxd_process import Odxd  # noqa: E402
from offload import read16, token_of, write_using_token  # noqa: E402
from web_driver import BROWSER, DRIVER, Browser  # noqa: E402
from wire import Closed, Session  # noqa: E402

TOKEN = "a-token-for-the-control-port"
ONE = "iqn.2026-11.org.example:one"
HOST = "iqn.1991-05.com.microsoft:host"
RULE = "reads &amp; <b onclick='alert(1)'>writes</b>"  # shown as it is
CONFIG = f"""id = "lab"
[clock]
mode = "manual"
[tokens]
default_inactivity_timeout_s = 60
[copy]
latency_ms = 5000
[[target]]
name = "{ONE}"
[[target.lun]]
store = "memory:64G"
[[target.lun]]
store = "memory:64G"
read_only = false
[[rule]]
name = "{RULE}"
match = {{ command = "READ (16)" }}
action = {{ type = "nothing" }}
"""
TAB, ENTER = "\ue004", "\ue007"
EXPIRED, REVOKED, ABORTED, UNREACHABLE = (5, 0x23, 0x07), (5, 0x23, 0x06), (0x0A, 0x2F, 0x02), (5, 0x08, 0x04)


class Forward:
    """What socat and ssh do: a port of 127.0.0.1 that leads to a Unix socket."""

    def __init__(self, path):
        self.path = path
        self.started = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.serve()))

    async def serve(self):
        async def copy(reader, writer):
            while data := await reader.read(65536):
                writer.write(data)
            writer.close()

        async def join(reader, writer):
            there = await asyncio.open_unix_connection(str(self.path))
            try:
                await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))
            except (OSError, asyncio.CancelledError):  # the end, of one or of all
                writer.close()
                there[1].close()

        self.loop, self.ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(join, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.started.set()
        await self.ended.wait()
        server.close()

    def __enter__(self):
        self.thread.start()
        self.started.wait()
        return self.port

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.ended.set)
        self.thread.join()


def setUpModule():
    if not (BROWSER and DRIVER):
        if os.environ.get("CI") == "true":
            raise AssertionError("chromium and chromium-driver are not installed")
        raise unittest.SkipTest("chromium and chromium-driver are not installed")
    folder = tempfile.TemporaryDirectory(prefix="odxd-page-")
    unittest.addModuleCleanup(folder.cleanup)
    PageTest.folder = Path(folder.name)
    PageTest.browser = Browser()
    unittest.addModuleCleanup(PageTest.browser.end)


class PageTest(unittest.TestCase):
    """Each with an odxd of its own, all on one browser. An odxd's port, and so its token in the browser, is its own."""

    folder = browser = None

    def setUp(self):
        self.odxd = self.start()
        self.browser.resize(1440, 900)

    def start(self, port=0):
        config = self.folder / "array.toml"
        config.write_text(f'{CONFIG}[control]\nlisten = "127.0.0.1:{port}"\nunix = "{self.folder}/control"\n'
                          f'token = "{TOKEN}"\n')
        odxd = Odxd("--config", config, log_path=self.folder / "odxd.log")
        self.addCleanup(odxd.end, SIGKILL)
        self.url = next(line for line in odxd.lines if "http://" in line).split()[1]
        return odxd

    def session(self):
        where = types.SimpleNamespace(host=self.odxd.host, port=self.odxd.port, iqn=ONE, lun=int)
        session = Session(where, HOST)
        self.addCleanup(session.socket.close)
        return session.clear_unit_attentions(0, 1)

    def open(self, token=TOKEN):
        self.browser.open(self.url)
        if token:
            self.browser.wait_for("return document.getElementById('ask').open")
            self.browser.type("#token", token)
            self.browser.press(ENTER)
            self.browser.wait_for_text("#state", "live")
            self.browser.wait_for("return document.querySelector('#events .empty').textContent !== '…'")
            self.browser.log()  # one request without a token, which the browser remarks on
        return self.browser

    def complaints(self):
        self.assertEqual(self.browser.log(), [])

    def picture(self, name):
        folder = Path(os.environ.get("ODX_SCREENSHOTS") or self.folder)
        self.browser.screenshot(folder / f"{name}.png")
        self.assertGreater((folder / f"{name}.png").stat().st_size, 20000)

    def write(self, session, token, list_identifier=99):
        cdb, data = write_using_token(list_identifier, token, [(0, 8)])
        return session.command(cdb, data_out=data, lun=1)


class Shows(PageTest):
    def test_sessions_luns_tokens_rules_and_events_with_their_reasons(self):
        session = self.session()
        token_of(session, 0, [(0, 2048)])
        session.command(read16(0, 1), data_in=512)
        session.command(read16(10**15, 1), data_in=512)
        browser = self.open()
        for place, texts in {"#sessions": [HOST, ONE], "#luns": ["lun0", "lun1", "64 GiB", "thin"],
                             "#tokens": ["1", "lun0, 1 MiB", "point-in-time-default", HOST, "1 min 00 s"],
                             "#rules": [RULE, "command READ (16)", "2", "of 2"], "#mode": ["manual"],
                             "#events": ["refusal", "05/21/00", f"{HOST} on lun0", "exceed the capacity",
                                         "token created"]}.items():
            for text in texts:
                browser.wait_for_text(place, text)
        session.command(read16(0, 1), data_in=512)
        browser.wait_for_text("#rules", "of 3")  # by itself
        self.assertEqual(browser.run("return document.querySelectorAll('#rules b').length"), 0)
        browser.click("#explain summary")
        browser.wait_for("return document.getElementById('explanation').textContent.length > 20")
        browser.run("const kind = document.getElementById('kind'); kind.value = 'refusal';"
                    "kind.dispatchEvent(new Event('change'))")
        self.assertEqual(browser.run("return new Set([...document.querySelectorAll('#events .chip')].map("
                                     "(chip) => chip.textContent)).size"), 1)
        self.complaints()

    def test_the_life_of_tokens_is_counted_down_by_the_array_clock(self):
        token_of(self.session(), 0, [(0, 8)])
        browser = self.open()
        left = "return document.querySelector('#tokens .left')?.textContent"
        browser.wait_for_text("#tokens .left", "1 min 00 s")
        browser.run("document.getElementById('advance-by').value = 17.5")
        browser.click("#advance-form button")
        browser.wait_for_text("#tokens .left", "42.5 s")
        browser.wait_for_text("#said", "17.5 s further")
        browser.wait_for_text("#due", "42.5 s")
        browser.run("document.getElementById('clock-mode').value = 'real';"
                    "document.getElementById('clock-form').dispatchEvent(new Event('input'))")
        browser.click("#clock-form button")
        browser.wait_for_text("#mode", "real")
        os.kill(self.odxd.process.pid, SIGSTOP)  # nothing is answered: the page counts by itself
        try:
            before = browser.run(left)
            browser.wait_for(left + " !== arguments[0]", before)
        finally:
            os.kill(self.odxd.process.pid, SIGCONT)
        browser.click("#to-next")
        browser.wait_for_text("#tokens", "No token is valid now.")
        browser.wait_for_text("#events", "token 1 expired: inactivity timeout 60 s")
        browser.wait_for_text("#news", "token 1 expired")
        self.complaints()

    def test_it_fits_a_phone_and_can_be_read_in_light_and_dark(self):
        session = self.session()
        token_of(session, 0, [(0, 2048)])
        session.command(read16(10**15, 1), data_in=512)
        browser = self.open()
        browser.wait_for_text("#tokens", "lun0")
        for name, width, height, dark in [("wide", 1440, 900, False), ("wide-dark", 1440, 900, True),
                                          ("phone", 390, 844, False), ("phone-dark", 320, 700, True)]:
            with self.subTest(name):
                browser.resize(width, height, dark)
                self.assertLessEqual(browser.run("return document.documentElement.scrollWidth"), width)
                self.assertEqual(browser.run(FAINT), [])
                self.picture(name)
        self.assertEqual(browser.run("return getComputedStyle(document.querySelector('#tokens td')).display"), "grid")
        self.complaints()

    def test_an_odxd_that_goes_and_comes_is_followed(self):
        browser = self.open()
        self.session()
        browser.wait_for_text("#sessions", HOST)
        self.odxd.end(SIGKILL)
        browser.wait_for_text("#state", "no answer")
        self.odxd = self.start(self.url.rpartition(":")[2])
        browser.wait_for_text("#state", "live")
        browser.wait_for_text("#sessions", "Nobody is logged in.")
        token_of(self.session(), 0, [(0, 8)])
        browser.wait_for_text("#events", "POPULATE TOKEN")


# Text whose contrast with what lies behind it is below 4.5 (WCAG 2.2, 1.4.3): what is shown, and the two colours.
FAINT = r"""
const channel = (value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
const luminance = ([r, g, b]) => 0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const colour = getComputedStyle(node).backgroundColor;
    if (colour.startsWith('rgb(')) return colour;
  }
  return 'rgb(255, 255, 255)';
};
const faint = [];
for (const node of document.body.querySelectorAll('*')) {
  if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()) || !node.checkVisibility() ||
      node.closest('tr.fresh, dialog')) continue;
  const colours = [getComputedStyle(node).color, behind(node)];
  const [high, low] = colours.map((each) => luminance(parts(each))).sort((a, b) => b - a);
  if ((high + 0.05) / (low + 0.05) < 4.5) faint.push([node.textContent.trim(), ...colours]);
}
return faint;
"""


class Steers(PageTest):
    def test_tokens_are_expired_and_revoked_and_the_focus_is_kept(self):
        session = self.session()
        tokens = [token_of(session, 0, [(0, 8)], list_identifier=number) for number in (1, 2, 3)]
        browser = self.open()
        browser.wait_for("return document.querySelectorAll('#tokens tbody tr').length === 3")
        browser.click('button[aria-label="Expire token 1"]')
        browser.wait_for_text("#said", "token 1 is expired")
        browser.wait_for("return document.querySelectorAll('#tokens tbody tr').length === 2")
        self.assertEqual(browser.run("return document.activeElement.id"), "tokens-title")
        browser.run("document.querySelector('button[aria-label=\"Revoke token 2\"]').focus()")
        session.command(read16(10**15, 1), data_in=512)  # what makes it ask again does not take the focus away
        browser.wait_for_text("#events", "exceed the capacity")
        self.assertEqual(browser.run("return document.activeElement.ariaLabel"), "Revoke token 2")
        browser.press(ENTER)
        browser.wait_for_text("#events", "token 2 revoked: on demand")
        self.assertEqual([self.write(session, token).key for token in tokens[:2]], [EXPIRED, REVOKED])
        browser.wait_for_text("#news", "refusal: token 2 revoked")
        self.complaints()

    def test_copies_are_seen_and_aborted(self):
        session = self.session()
        token = token_of(session, 0, [(0, 8)])
        browser = self.open()
        answers = []
        writer = threading.Thread(target=lambda: answers.append(self.write(session, token)))
        writer.start()  # answered when its 5 seconds of array time are over, which nobody lets go by
        browser.wait_for_text("#copies", "WRITE USING TOKEN")
        browser.wait_for_text("#tokens .left", "in use")
        browser.click('button[aria-label="Abort copy 2"], #copies button')
        writer.join()
        self.assertEqual(answers[0].key, ABORTED)
        browser.wait_for_text("#copies", "Nothing is being copied.")

    def test_links_are_cut_and_mended_with_the_keyboard_alone(self):
        session = self.session()
        token = token_of(session, 0, [(0, 8)])
        browser = self.open()
        browser.wait_for("return document.getElementById('cut-b').value === 'lun1'")
        self.focus_by_tab("Cut")
        browser.press(ENTER)
        browser.wait_for_text("#links", "lun0 and lun1")
        self.assertEqual(self.write(session, token, 7).key, UNREACHABLE)
        self.focus_by_tab("Mend lun0 and lun1")
        browser.press(ENTER)
        browser.wait_for_text("#links", "Data moves between all LUNs.")
        self.assertEqual(browser.run("return document.activeElement.id"), "links-title")
        self.complaints()

    def focus_by_tab(self, name):
        """Presses Tab until what has that name has the focus; each that has it on the way shows that."""
        seen = []
        for _ in range(60):
            self.browser.press(TAB)
            focus = self.browser.run("const at = document.activeElement; return [at.ariaLabel ?? at.textContent.trim(),"
                                     "at === document.body || getComputedStyle(at).outlineStyle !== 'none']")
            seen.append(focus[0][:40])
            self.assertTrue(focus[1], f"{focus[0]} does not show that it has the focus")
            if focus[0] == name:
                return
        self.fail(f"{name} cannot be reached with Tab: {seen}")

    def test_rules_are_added_refused_in_words_and_removed(self):
        browser = self.open()
        browser.click("#rules ~ details summary")
        browser.type("#rule-text", "{")
        browser.click("#rule-form button")
        browser.wait_for_text("#rule-refused", "This is no JSON")
        browser.type("#rule-text", '{"action": {"type": "no such"}}')
        browser.click("#rule-form button")
        browser.wait_for_text("#rule-refused", 'action.type is "no such"')
        browser.log()  # the browser remarks on a 422
        browser.type("#rule-text", '{"name": "mine", "match": {"nth": 2}, "action": {"type": "delay", "ms": 5}}')
        browser.click("#rule-form button")
        browser.wait_for_text("#rules", "2: mine")
        browser.wait_for_text("#rules", "nth 2 → delay ms 5")
        browser.click('button[aria-label="Remove rule 2"]')
        browser.wait_for("return !document.getElementById('rules').innerText.includes('mine')")
        self.complaints()

    def test_a_session_is_dropped(self):
        session = self.session()
        browser = self.open()
        browser.wait_for_text("#sessions", HOST)
        browser.click("#sessions button.danger")
        browser.wait_for_text("#sessions", "Nobody is logged in.")
        with self.assertRaises(Closed):
            while True:
                session.receive_pdu()

    def test_events_are_held_still_on_demand(self):
        session = self.session()
        browser = self.open()
        browser.click("#pause")
        session.command(read16(10**15, 1), data_in=512)
        browser.wait_for_text("#pause", "Go on (2 new)")  # a rule is hit, too
        self.assertNotIn("exceed", browser.text("#events"))
        browser.click("#pause")
        browser.wait_for_text("#events", "exceed the capacity")

    def test_everything_that_can_be_used_has_a_name(self):
        session = self.session()
        token_of(session, 0, [(0, 8)])
        browser = self.open()
        browser.wait_for_text("#tokens", "lun0")
        nodes = browser.devtools("Accessibility.getFullAXTree")["nodes"]
        roles = {"button", "textbox", "combobox", "spinbutton", "table", "region", "DisclosureTriangle", "heading"}
        named = {}
        for node in nodes:
            role, name = node.get("role", {}).get("value"), node.get("name", {}).get("value", "")
            if role in roles and not node["ignored"]:
                self.assertTrue(name, node)
                named.setdefault(role, []).append(name)
        self.assertIn("Expire token 1", named["button"])
        self.assertIn("Valid tokens", named["table"])
        self.assertIn("Advance by", named["spinbutton"])
        buttons = [name for name in named["button"]]
        self.assertEqual(len(buttons), len(set(buttons)), buttons)


class Guards(PageTest):
    def test_the_token_is_asked_for_once_and_is_never_in_a_url(self):
        browser = self.browser
        browser.open(self.url)
        browser.wait_for("return document.getElementById('ask').open")
        browser.type("#token", "wröng")
        browser.click("#ask button")
        browser.wait_for_text("#ask-refused", "not the one")
        browser.press("\ue00c")  # Escape: there is nothing behind it
        browser.press("\ue00c")
        browser.wait_for("return document.getElementById('ask').open")
        browser.type("#token", TOKEN)
        browser.click("#ask button")
        browser.wait_for_text("#state", "live")
        self.assertFalse(browser.run("return document.getElementById('ask').open"))
        browser.open(self.url)
        browser.wait_for_text("#state", "live")
        visited = browser.run("return [location.href, ...performance.getEntriesByType('resource').map((e) => e.name)]")
        self.assertFalse([url for url in visited if TOKEN in url or not url.startswith(self.url)], visited)
        self.assertNotIn(TOKEN, browser.run("return document.documentElement.outerHTML + document.cookie"))
        browser.click("#forget")
        browser.wait_for("return document.getElementById('ask').open")
        self.assertEqual(browser.run("return sessionStorage.length + localStorage.length"), 0)

    def test_its_policy_lets_nothing_else_in(self):
        browser = self.open()
        violated = browser.run("""
            const violated = [];
            document.addEventListener('securitypolicyviolation', (event) => violated.push(event.effectiveDirective));
            try { document.body.innerHTML = '<b>'; } catch { violated.push('innerHTML'); }
            const script = document.createElement('script');
            try { script.text = 'window.ran = true'; } catch { violated.push('text'); }
            script.append('window.ran = true');
            document.head.append(script);
            document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.2:1/'}));
            const style = document.createElement('style');
            style.textContent = 'body { display: none }';
            document.head.append(style);
            return fetch('http://127.0.0.2:1/').catch(() => new Promise((resolve) => setTimeout(resolve, 50)))
              .then(() => [...violated, window.ran ?? 'did not run']);""")
        for expected in ("innerHTML", "text", "img-src", "style-src-elem", "connect-src", "did not run"):
            self.assertIn(expected, violated)

    def test_a_forwarded_unix_socket_needs_no_token_and_serves_no_other_site(self):
        with Forward(self.folder / "control") as port:
            self.browser.open(f"http://localhost:{port}/")
            self.browser.wait_for_text("#state", "live")
            self.browser.run("document.getElementById('advance-by').value = 2.5")
            self.browser.click("#advance-form button")  # its own Origin
            self.browser.wait_for_text("#now", "0:00:02.5")
            self.complaints()
            for headers, expected in [({"Origin": f"http://127.0.0.1:{port}"}, 204),
                                      ({"Origin": "http://elsewhere.example"}, 403), ({"Origin": "null"}, 403),
                                      ({"Host": f"rebound.example:{port}"}, 403)]:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                connection.request("DELETE", "/v1/events", headers=headers)
                self.assertEqual(connection.getresponse().status, expected, headers)
                connection.close()
            self.browser.open("about:blank")

    def test_what_is_served_is_typed_and_not_kept(self):
        host, port = re.fullmatch(r"http://(.+):(\d+)", self.url).groups()
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        for path, kind in {"/": "text/html", "/page/page.css": "text/css", "/page/page.js": "text/javascript",
                           "/page/icon.svg": "image/svg+xml"}.items():
            connection.request("GET", path)
            answer = connection.getresponse()
            self.assertTrue(len(answer.read()) > 300 and answer.headers["Content-Type"].startswith(kind))
            self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(answer.headers["Cache-Control"], "no-store")
            policy = answer.headers["Content-Security-Policy"]
            self.assertIn("default-src 'none'", policy)
            self.assertNotIn("unsafe", policy)
            self.assertNotIn("http:", policy)
        connection.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
