"""A headless Chromium without a network, spoken to in its DevTools protocol."""

import asyncio
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from tornado.websocket import WebSocketClientConnection, websocket_connect

PATIENCE = 120  # s for any one answer, on a machine that may be busy
FLAGS = (
    "--headless",
    "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no host has an address
    "--no-sandbox",  # which root and containers cannot have, and our own pages do not need
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL by the processor
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def chromium() -> str | None:
    """Path of an installed Chromium or Chrome; None if there is none."""
    mac = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"  # which is on no PATH
    names = ("chromium", "chromium-browser", "google-chrome", mac)
    return next(filter(None, map(shutil.which, names)), None)


class Tab:
    """One page after another in a browser, and what they complain of."""

    def __init__(self, socket: WebSocketClientConnection, session: str):
        self._socket, self._session, self._numbers, self._events = socket, session, itertools.count(1), []

    async def call(self, method: str, **parameters) -> dict:
        """Give a command of the protocol; returns its result."""
        number = next(self._numbers)
        command = {"id": number, "sessionId": self._session, "method": method, "params": parameters}
        await self._socket.write_message(json.dumps(command))
        while (message := await self._message()).get("id") != number:
            self._events.append(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        return message["result"]

    async def open(self, address: str, width: int) -> None:
        """Load another page in a window of so many pixels; what was complained of before is forgotten."""
        await self.resize(width)
        self._events.clear()
        await self.call("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(await self._message())

    async def resize(self, width: int) -> None:
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **size)

    async def run(self, function: str):
        """What a JavaScript function without arguments returns, a promise awaited."""
        how = {"awaitPromise": True, "returnByValue": True}
        answer = await self.call("Runtime.evaluate", expression=f"({function})()", **how)
        if "exceptionDetails" in answer:
            raise RuntimeError(_text(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """Console errors, uncaught exceptions and requests that would leave this machine, since the page was opened."""
        found = []
        for event in self._events:
            match event["method"], event["params"]:
                case "Runtime.exceptionThrown", {"exceptionDetails": details}:
                    found.append(_text(details))
                case "Runtime.consoleAPICalled", {"type": "error", "args": words}:
                    found.append("console: " + " ".join(str(w.get("value", w.get("description"))) for w in words))
                case "Log.entryAdded", {"entry": {"level": "error"} as entry}:
                    found.append(f"{entry['text']} {entry.get('url', '')}")
                case "Network.requestWillBeSent", {"request": {"url": url}}:
                    if not url.startswith(("file:", "data:", "blob:", "about:")):
                        found.append(f"asks a network for {url}")
        return found

    async def _message(self) -> dict:
        text = await asyncio.wait_for(self._socket.read_message(), PATIENCE)
        if text is None:
            raise RuntimeError("Chromium ended")
        return json.loads(text)


@contextlib.asynccontextmanager
async def tab(program: str) -> AsyncIterator[Tab]:
    """Start a Chromium for as long as the block lasts, with a profile of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *FLAGS, f"--user-data-dir={profile}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port, path = await _address(Path(profile, "DevToolsActivePort"))
            # A screenshot or a page's source is larger than what is allowed by default.
            socket = await websocket_connect(f"ws://127.0.0.1:{port}{path}", max_message_size=2**28)
            browser = Tab(socket, "")
            target = (await browser.call("Target.createTarget", url="about:blank"))["targetId"]
            session = (await browser.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
            page = Tab(socket, session)
            for domain in ("Page", "Runtime", "Log", "Network"):
                await page.call(f"{domain}.enable")
            await page.call("Emulation.setScrollbarsHidden", hidden=True)  # which take no room on a phone
            yield page
            socket.close()
            while await socket.read_message() is not None:  # until it is closed
                pass
        finally:
            process.terminate()
            process.wait()


async def _address(file: Path) -> tuple[str, str]:
    """Port and path, which Chromium writes to a file of its profile once it listens."""
    async with asyncio.timeout(PATIENCE):
        while not (file.exists() and len(lines := file.read_text().splitlines()) == 2):
            await asyncio.sleep(0.1)
    return lines[0], lines[1]


def _text(details: dict) -> str:
    return details.get("exception", {}).get("description", details["text"])
