"""The page in a headless Chromium, against a stub of the gateway and under its strict Content-Security-Policy."""

import base64
import fcntl
import hashlib
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mpdd.annotate.writers import available
from mpdd.serving.converting import converted
from mpdd.serving.schema import Convert

PAGE = Path(__file__).resolve().parents[2] / "src" / "mpdd" / "serving" / "web" / "index.html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
# A test in a real browser is end-to-end; all of them run in one process and share one Chromium.
IN_CHROMIUM = [pytest.mark.e2e, needs_chromium]

TOKEN = "right-token"
NOTE = "😀 Took aspirin for acute renal\nfailure, then e\u0301lan. <b>Headache</b> after aspirin."
TASKS: list[dict[str, Any]] = [
    {"name": "drugs", "type": "ner", "labels": ["Chemical", "Disease", "Sign"], "fields": [], "takes_choices": False},
    {"name": "effects", "type": "re", "labels": ["Adverse effect"], "fields": [], "takes_choices": False},
    {"name": "ask", "type": "qa", "form": "extractive", "fields": ["Question"], "instruction": "Answer."},
    {"name": "pick", "type": "qa", "form": "choice", "fields": ["Question"], "takes_choices": True, "instruction": "Pick."},
    {"name": "free", "type": "qa", "form": "free", "instruction": "Answer."},
    {"name": "lost", "type": "qa", "form": "extractive", "instruction": "Answer."},
    {"name": "infer", "type": "nli", "form": "", "labels": ["yes", "no"], "instruction": "Infer."},
    {"name": "urgency", "type": "classification", "form": "single", "labels": ["urgent", "routine"], "instruction": "Sort."},
    {"name": "sort", "type": "classification", "form": "multiple", "labels": ["a", "b", "c"], "instruction": "Sort."},
    {"name": "sum", "type": "summarization", "form": "", "instruction": "Shorten."},
]
TASKS = [{"form": "", "labels": [], "fields": [], "takes_choices": False, **task} for task in TASKS]


def span(text: str, which: int = 0) -> dict[str, Any]:
    """Where `text` stands in NOTE, counted by Python: in code points."""
    start = [match.start() for match in re.finditer(re.escape(text), NOTE)][which]
    return {"start": start, "end": start + len(text), "text": text}


RESULTS: dict[str, dict[str, Any]] = {
    "drugs": {
        "type": "ner",
        "confidence": 0.834,
        "ungrounded": 2,
        "entities": [
            {"label": "Chemical", **span("aspirin"), "confidence": 0.9},
            {"label": "Disease", **span("acute renal\nfailure")},
            {"label": "Sign", **span("renal\nfailure, then")},
            {"label": "Sign", **span("e\u0301lan")},
            {"label": "Chemical", **span("aspirin", 1)},
        ],
    },
    "effects": {"type": "re", "relations": [{"label": "Adverse effect", "head": span("aspirin", 1), "tail": span("Headache")}]},
    "ask": {"type": "qa", "confidence": 0.5, "cut_characters": 12, "answer": span("acute")},
    "free": {"type": "qa", "answer": "A headache."},
    "lost": {"type": "qa", "answer": {"start": None, "end": None, "text": "elsewhere"}},
    "pick": {"type": "qa", "abstained": True, "answer": None},
    "infer": {"type": "nli", "answer": "yes"},
    "urgency": {"type": "classification", "answer": "urgent", "confidence": 0.3},
    "sort": {"type": "classification", "labels": ["b"]},
    "sum": {"type": "summarization", "unparseable": True, "summary": ""},
}


def answer(tasks: list[str]) -> str:
    plain = {"unparseable": False, "ungrounded": 0, "cut_characters": 0, "confidence": None, "abstained": False}
    return json.dumps({"id": "1", "results": [{"task": name, **plain, **RESULTS[name]} for name in tasks]})


def policy(html: str) -> str:
    def digest(tag: str) -> str:
        (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        return base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()

    return (
        f"default-src 'none'; style-src 'sha256-{digest('style')}'; script-src 'sha256-{digest('script')}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class Stub(ThreadingHTTPServer):
    """The gateway's interface with fixed answers. `refusal` (status, message, headers) is given in their place."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.tasks, self.formats = TASKS, list(available())
        self.refusal: tuple[int, str, dict[str, str]] | None = None
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    server: Stub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def reply(self, status: int, body: str | bytes, **headers: str) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def refused(self) -> bool:
        refusal = self.server.refusal
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            refusal = 401, "The access token is not known.", {}
        if refusal:
            self.reply(refusal[0], json.dumps({"error": {"message": refusal[1]}}), **refusal[2])
        return refusal is not None

    def do_GET(self) -> None:  # noqa: N802
        self.server.paths.append(self.path)
        if self.path == "/":
            html = PAGE.read_text(encoding="utf-8")
            self.reply(200, html, Content_Type="text/html; charset=utf-8", Content_Security_Policy=policy(html))
        elif self.path != "/v1/tasks":
            self.reply(404, "{}")
        elif not self.refused():
            self.reply(200, json.dumps({"tasks": self.server.tasks, "formats": self.server.formats}))

    def do_POST(self) -> None:  # noqa: N802
        self.server.paths.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        if self.path == "/v1/convert":  # as the gateway does it
            response = converted(Convert.model_validate(body))
            self.reply(200, bytes(response.body), Content_Disposition=response.headers["content-disposition"])
        else:
            self.server.asked.append(body)
            self.reply(200, answer(body["tasks"]))


class Browser:
    """A Chromium that takes DevTools commands from file descriptor 3 and answers on 4: no websocket is needed."""

    def __init__(self, folder: Path) -> None:
        self.number, self.buffer = 0, b""
        (read, self.write), (self.read, write) = os.pipe(), os.pipe()
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (read, write)]  # clear of 3 and 4, which they become
        code = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
        flags += ["--no-first-run", "--no-proxy-server", "--remote-debugging-pipe", f"--user-data-dir={folder}"]
        launch = [sys.executable, "-S", "-c", code, *map(str, theirs), str(CHROMIUM), *flags, "about:blank"]
        with (folder / "stderr").open("wb") as errors:
            self.process = subprocess.Popen(launch, pass_fds=theirs, stdout=errors, stderr=errors)
        for end in (read, write, *theirs):
            os.close(end)

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.buffer:
                assert select.select([self.read], [], [], 60)[0], f"no answer to {method}"
                read = os.read(self.read, 1 << 20)
                assert read, "chromium ended"
                self.buffer += read
            line, _, self.buffer = self.buffer.partition(b"\0")
            reply = json.loads(line)
            if reply.get("id") == self.number:
                assert "error" not in reply, reply
                return reply["result"]

    def close(self) -> None:
        os.close(self.write)
        os.close(self.read)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# Runs before the page's own script: what breaks the policy or throws, and what is copied.
WATCH = """
window.problems = []; window.copied = []; window.confirmed = [];
window.confirm = (message) => { confirmed.push(message); return false; };
document.addEventListener("securitypolicyviolation", (event) => problems.push(event.violatedDirective + " " + event.blockedURI));
window.addEventListener("error", (event) => problems.push(event.message));
window.addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
navigator.clipboard.writeText = async (text) => { copied.push(text); };
window.$ = (id) => document.getElementById(id);
window.all = (selector) => [...document.querySelectorAll(selector)];
"""


class Tab:
    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.ask("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        self.ask("Page.enable")
        self.ask("Emulation.setFocusEmulationEnabled", enabled=True)
        self.ask("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        self.open(url)

    def ask(self, method: str, **parameters: Any) -> Any:
        return self.browser.ask(method, self.session, **parameters)

    def open(self, url: str) -> None:
        self.ask("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def run(self, code: str) -> Any:
        reply = self.ask("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def wait(self, condition: str) -> None:
        end = time.monotonic() + 20
        while not self.run(condition):
            assert time.monotonic() < end, f"never true: {condition}; status: {self.run('$(`status`).textContent')}"
            time.sleep(0.02)

    def type(self, element: str, text: str) -> None:
        self.run(f"$({json.dumps(element)}).focus()")
        self.ask("Input.insertText", text=text)

    def press(self, key: str, modifiers: int = 0) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=13, modifiers=modifiers)

    def sign_in(self, token: str = TOKEN) -> None:
        self.type("token", token)
        self.run("document.querySelector('#asking button').click()")
        self.wait("$('granted').hidden === false || $('status').className === 'error'")

    def choose(self, *names: str) -> None:
        for name in names:
            self.run(f"document.querySelector('#tasks [value={name}]').click()")

    def annotate(self, *tasks: str) -> None:
        self.sign_in()
        self.type("note", NOTE)
        self.choose(*tasks)
        self.run("$('go').click()")
        self.wait("!$('results').hidden")

    def button(self, words: str, name: str) -> str:
        """The script expression for a control of the list entry with these words: go, label, accept or reject."""
        row = f"all('.list li').find((row) => row.querySelector('.go').firstChild.data === {json.dumps(words)})"
        return f"{row}.querySelector('[data-key$={name}]')"

    def decide(self, words: str, verdict: str) -> None:
        self.run(f"{{ const button = {self.button(words, verdict)}; button.focus(); button.click(); }}")

    def relabel(self, words: str, label: str) -> None:
        control = self.button(words, "label")
        self.run(f"{{ const c = {control}; c.focus(); c.value = {json.dumps(label)}; c.dispatchEvent(new Event('change')); }}")

    def select(self, start: int, end: int) -> None:
        """Select a part of the shown note, given in UTF-16 units, as a mouse does."""
        self.run(f"""{{ const range = document.createRange(), ends = [];
            const walker = document.createTreeWalker($('text'), NodeFilter.SHOW_TEXT);
            for (let node, at = 0; (node = walker.nextNode()); at += node.length)
                for (const [i, edge] of [{start}, {end}].entries())
                    if (at <= edge && edge <= at + node.length) ends[i] = [node, edge - at];
            range.setStart(...ends[0]); range.setEnd(...ends[1]);
            getSelection().removeAllRanges(); getSelection().addRange(range); }}""")
        self.wait("$('words').value !== ''")

    def add(self, label: str) -> None:
        self.run(f"$('label').selectedIndex = [...$('label').options].findIndex((o) => o.label === {json.dumps(label)})")
        self.run("document.querySelector('#adding button').click()")

    def download(self, folder: Path, option: str) -> Path:
        """Download the corrected notes into a new folder, in the format whose option has this value."""
        folder = Path(tempfile.mkdtemp(dir=folder))
        self.browser.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.run(f"$('format').value = {json.dumps(option)}, $('download').click()")
        self.wait("$('status').textContent.startsWith('Downloaded')")
        end = time.monotonic() + 20
        while not (files := [p for p in folder.iterdir() if p.suffix not in (".crdownload", ".tmp") and p.stat().st_size]):
            assert time.monotonic() < end, "nothing was downloaded"
            time.sleep(0.05)
        return files[0]

    def status(self) -> str:
        return str(self.run("$('status').textContent"))


def in_chromium(test: Callable[..., None]) -> Callable[..., None]:
    """Give a test the marks of tests in a browser."""
    for mark in IN_CHROMIUM:
        test = mark(test)
    return test


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield stub
    stub.shutdown()
    stub.server_close()


@pytest.fixture
def tab(browser: Browser, stub: Stub) -> Iterator[Tab]:
    tab = Tab(browser, stub.url)
    yield tab
    problems = tab.run("problems")
    browser.ask("Target.closeTarget", targetId=tab.target)
    assert problems == []
    assert {path for path in stub.paths if path != "/favicon.ico"} <= {"/", "/v1/tasks", "/v1/annotate", "/v1/convert"}


def test_the_page_is_whole_in_itself() -> None:
    html = PAGE.read_text(encoding="utf-8")
    assert policy(html).count("sha256-") == 2  # one inline style, one inline script
    markup = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.S)
    assert not re.search(
        r"\s(on\w+|style|src|href|action|name=\"(?!viewport|color-scheme|referrer))", re.sub(r">[^<]*<", "><", markup)
    )
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|localStorage|://", html)


@in_chromium
def test_entities_are_marked_where_the_server_counts_them(tab: Tab, stub: Stub) -> None:
    tab.annotate("drugs")
    assert stub.asked == [{"text": NOTE, "tasks": ["drugs"]}]
    assert tab.run("$('text').textContent") == NOTE
    assert tab.run("$('text').querySelector('b')") is None
    # Each piece of the note with the labels over it, from the outermost.
    pieces = """[...$('text').childNodes].map((node) => {
        const labels = [];
        for (let inner = node; inner.nodeType === 1; inner = inner.firstChild) labels.push(inner.dataset.label);
        return [node.textContent, labels.join('+')];
    }).filter(([, labels]) => labels)"""
    assert tab.run(pieces) == [
        ["aspirin", "Chemical"],
        ["acute ", "Disease"],
        ["renal\nfailure", "Sign+Disease"],
        [", then", "Sign"],
        ["e\u0301lan", "Sign"],
        ["aspirin", "Chemical"],
    ]
    shown = "getComputedStyle(document.querySelector('mark'), '::after').content"
    assert tab.run(shown) == '"Chemical 90\u202f%"'
    assert tab.run("all('.legend button').map((button) => button.textContent)") == ["Chemical 2", "Disease 1", "Sign 2"]
    tab.run("document.querySelector('.legend button').click()")
    assert tab.run(shown) == "none"
    assert tab.run("all('mark.off').length") == 2
    assert tab.run("document.activeElement.id") == "results"


@in_chromium
def test_placeholders_of_de_identification_are_marked_whole(tab: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    note = "Seen [**2151-7-16**] or <DATE>, ___ by XXXX."
    forms = ["[**2151-7-16**]", "<DATE>", "___", "XXXX"]
    ends = [(note.index(form), note.index(form) + len(form)) for form in forms]
    entities = [{"label": "Sign", "start": start, "end": end, "text": note[start:end]} for start, end in ends]
    monkeypatch.setitem(RESULTS, "drugs", {"type": "ner", "confidence": 0.9, "entities": entities})
    monkeypatch.setattr(sys.modules[__name__], "NOTE", note)
    tab.annotate("drugs")
    assert tab.run("$('text').textContent") == note
    assert tab.run("all('#text mark').map((mark) => mark.textContent)") == forms
    tab.select(*ends[0])
    assert tab.run("$('words').value") == "[**2151-7-16**]"


@in_chromium
def test_a_relation_lights_both_its_spans(tab: Tab) -> None:
    tab.annotate("drugs", "effects")
    assert tab.run("all('.cards .list .go').at(-1).textContent") == "aspirin → Headache Adverse effect"
    tab.run("all('.cards .list .go').at(-1).focus()")
    assert tab.run("all('.lit').map((node) => node.textContent)") == ["Headache", "aspirin"]
    tab.run("document.activeElement.blur()")
    assert tab.run("all('.lit').length") == 0


@in_chromium
def test_what_is_copied(tab: Tab) -> None:
    tab.annotate("drugs", "effects")
    tab.run("$('copy-json').click(), $('copy-brat').click()")
    tab.wait("copied.length === 2")
    as_json, as_brat = tab.run("copied")
    assert as_json == answer(["drugs", "effects"])
    assert as_brat == (
        "T1\tChemical 7 14\taspirin\n"
        "T2\tDisease 19 30;31 38\tacute renal failure\n"
        "T3\tSign 25 30;31 44\trenal failure, then\n"
        "T4\tSign 45 50\te\u0301lan\n"
        "T5\tChemical 74 81\taspirin\n"
        "T6\tArgument 55 63\tHeadache\n"
        "R1\tAdverse_effect Arg1:T5 Arg2:T6\n"
    )
    for line in as_brat.splitlines()[:6]:
        pieces = [piece.split() for piece in line.split("\t")[1].split(" ", 1)[1].split(";")]
        assert " ".join(NOTE[int(start) : int(end)] for start, end in pieces) == line.split("\t")[2]


@in_chromium
def test_copying_over_plain_http(tab: Tab) -> None:
    tab.annotate("drugs")
    tab.run("document.addEventListener('copy', () => copied.push(document.activeElement.value))")
    tab.run("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    tab.run("$('copy-json').click()")
    tab.wait("copied.length === 1")
    assert tab.run("copied[0]") == answer(["drugs"])


@in_chromium
def test_further_inputs_and_how_sure_an_answer_is(tab: Tab, stub: Stub) -> None:
    tab.sign_in()
    tab.type("note", NOTE)
    tab.choose("ask", "free", "lost", "pick", "infer", "sort", "sum")
    assert tab.run("all('.fields label').map((label) => label.textContent)") == ["Question", "Options, one a line"]
    tab.press("Enter", modifiers=2)
    assert tab.status() == "Fill in “Question”."
    tab.ask("Input.insertText", text="Which?")  # it has the focus
    tab.run("all('.fields textarea')[1].focus()")
    tab.ask("Input.insertText", text="one\n\n two ")
    tab.press("Enter", modifiers=2)
    tab.wait("!$('results').hidden")
    (asked,) = stub.asked
    assert sorted(asked.pop("tasks")) == ["ask", "free", "infer", "lost", "pick", "sort", "sum"]
    assert asked == {"text": NOTE, "fields": {"Question": "Which?"}, "choices": ["one", "two"]}
    shown = """all('.card').map((card) => [...card.children].slice(0, -1).map((part) => part.innerText.trim())
        .concat([...card.querySelectorAll('select, textarea, input:checked')].map((control) => control.value === 'on'
            ? control.parentElement.innerText.trim() : control.value)))"""
    assert sorted(tab.run(shown)) == [
        ["ask", "Questions · 50\u202f% confidence", "12 characters cut", "acute"],
        ["free", "Questions", "A headache."],
        ["infer", "Inference", "yes"],
        ["lost", "Questions", "elsewhere"],
        ["pick", "Questions", "abstained", ""],
        ["sort", "Classification", "b"],
        ["sum", "Summaries", "could not be read", ""],
    ]
    assert tab.run("all('mark').map((mark) => [mark.textContent, mark.dataset.label])") == [["acute", "Answer"]]
    assert tab.run("$('copy-brat').disabled")
    tab.choose("ask", "pick")
    assert tab.run("all('.fields label').length") == 0


@in_chromium
def test_a_wrong_token_is_asked_for_again(tab: Tab, stub: Stub) -> None:
    tab.sign_in("wrong")
    assert tab.status() == "The access token is not known: enter the access token again."
    assert tab.run("document.activeElement.id") == "token"
    assert tab.run("all('#tasks input').length") == 0
    tab.run("$('token').value = ''")
    tab.sign_in()
    assert tab.run("all('#tasks input').length") == len(TASKS)
    tab.type("note", NOTE)
    tab.choose("drugs")
    stub.refusal = 401, "The access token has expired.", {}
    tab.run("$('go').click()")
    tab.wait("$('status').textContent === 'The access token has expired: enter the access token again.'")
    assert tab.run("[$('asking').hidden, $('token').value, document.activeElement.id]") == [False, "", "token"]


@in_chromium
def test_refusals_are_one_sentence(tab: Tab, stub: Stub) -> None:
    tab.sign_in()
    tab.type("note", NOTE)
    tab.choose("drugs")
    for refusal, sentence in [
        ((429, "Too many requests.", {"Retry-After": "7"}), "Too many requests: try again in 7 s."),
        ((503, "The queue is full.", {}), "The queue is full."),
        ((422, "The note is too long.", {}), "The note is too long."),
    ]:
        stub.refusal = refusal
        tab.run("$('go').click()")
        tab.wait(f"$('status').textContent === {json.dumps(sentence)}")
        assert tab.run("$('status').className") == "error"
    stub.refusal = None
    tab.ask("Network.enable")
    tab.ask("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    tab.run("$('go').click()")
    tab.wait("$('status').textContent === 'The server could not be reached: check the network and try again.'")
    assert tab.run("$('results').hidden")


@in_chromium
def test_the_token_is_kept_only_on_request(tab: Tab, stub: Stub) -> None:
    tab.sign_in()
    assert tab.run("sessionStorage.length + localStorage.length + document.cookie.length") == 0
    tab.open(stub.url)
    assert tab.run("$('granted').hidden")
    tab.run("$('keep').click()")
    tab.sign_in()
    tab.open(stub.url)
    tab.wait("!$('granted').hidden")
    tab.run("$('forget').click()")
    assert tab.run("sessionStorage.length") == 0


@in_chromium
def test_a_file_is_sent_as_it_is(tab: Tab, stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "note.txt"
    file.write_bytes("one\r\n😀 two\r\n".encode())
    tab.sign_in()
    tab.choose("sum")
    document = tab.ask("DOM.getDocument")["root"]["nodeId"]
    control = tab.ask("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
    tab.ask("DOM.setFileInputFiles", nodeId=control, files=[str(file)])
    tab.wait("$('note').value === 'one\\n😀 two\\n' && $('opened').textContent === 'note.txt'")
    tab.run("$('go').click()")
    tab.wait("!$('results').hidden")
    assert stub.asked[-1]["text"] == "one\r\n😀 two\r\n"
    tab.run("$('clear').click()")
    assert tab.run("[$('note').value, $('text').textContent, $('results').hidden]") == ["", "", True]
    tab.run("""{ const data = new DataTransfer();
        data.items.add(new File([new Uint8Array([77, 252, 100, 101])], 'old.txt'));
        for (const name of ['dragover', 'drop']) {
            $('tasks').dispatchEvent(new DragEvent(name, { dataTransfer: data, bubbles: true, cancelable: true }));
        } }""")
    tab.wait("$('note').value === 'Müde'")
    assert tab.status() == "Opened old.txt (read as Windows-1252)."
