"""A browser without a screen, driven through chromedriver by the W3C WebDriver protocol. Standard library only."""
import base64
import http.client
import json
import re
import shutil
import subprocess
import tempfile
import time

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver, 12.3: the key of a web element reference
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
LIMIT_S = 60
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
         "--disable-extensions", "--hide-scrollbars", "--force-device-scale-factor=1"]


class DriverError(Exception):
    pass


class Browser:
    """One window. Ended with end()."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="odxd-browser-")
        self.process = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        text=True)
        self.session = None
        try:
            port = next(int(found[1]) for found in
                        (re.search(r"successfully on port (\d+)", line) for line in self.process.stdout) if found)
            self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
            options = {"binary": BROWSER, "args": [*FLAGS, f"--user-data-dir={self.folder}"]}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            self.session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        except BaseException:
            self.end()
            raise

    def end(self):
        try:
            if self.session:
                self.call("DELETE", f"/session/{self.session}")
        finally:
            self.process.terminate()
            self.process.wait(LIMIT_S)
            self.process.stdout.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method, path, body=None):
        text = json.dumps(body if body is not None else {}) if method == "POST" else None
        self.connection.request(method, path, text, {"Content-Type": "application/json"})
        value = json.loads(self.connection.getresponse().read())["value"]
        if isinstance(value, dict) and "error" in value:
            raise DriverError(f"{value['error']}: {value['message']}")
        return value

    def of_session(self, method, path, body=None):
        return self.call(method, f"/session/{self.session}{path}", body)

    def open(self, url):
        self.of_session("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """The value that a script returns; `arguments` are its arguments[0]..."""
        return self.of_session("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def devtools(self, command, **parameters):
        """A command of the Chrome DevTools protocol."""
        return self.of_session("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def find(self, selector):
        found = self.of_session("POST", "/element", {"using": "css selector", "value": selector})
        return found[ELEMENT]

    def click(self, selector):
        """As a mouse does it: scrolls there, and fails when something lies above."""
        self.of_session("POST", f"/element/{self.find(selector)}/click")

    def type(self, selector, text):
        element = self.find(selector)
        self.of_session("POST", f"/element/{element}/clear")
        self.of_session("POST", f"/element/{element}/value", {"text": text})

    def press(self, *keys):
        """Keys at what has the focus: "\\ue004" is Tab (WebDriver, 17.4.2)."""
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.of_session("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": steps}]})

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def wait_for(self, script, *arguments, within_s=None):
        """Until a script returns something true; that."""
        deadline = time.monotonic() + (within_s or LIMIT_S)
        while not (value := self.run(script, *arguments)):
            if time.monotonic() > deadline:
                seen = " ".join(self.text(arguments[0] if arguments else "body").split())
                raise AssertionError(f"never true: {script} {arguments}: {seen[:800]}")
            time.sleep(0.02)
        return value

    def wait_for_text(self, selector, text):
        return self.wait_for("return document.querySelector(arguments[0])?.innerText.includes(arguments[1])", selector,
                             text)

    def log(self):
        """What the browser complained of since the last call: errors, violations of the policy."""
        return [each["message"] for each in self.of_session("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.of_session("GET", "/screenshot")))

    def resize(self, width, height, dark=False):
        """The size of the page itself; a phone's is narrower than a window can be."""
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                      mobile=width < 600)
        self.devtools("Emulation.setEmulatedMedia",
                      features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
