"""detoxlens score --scorer service against a local service, plain and TLS, that misbehaves: requests as documented, several
attributes, the rate, every fault, permanent errors as the row's status; no text is sent twice, over rows, variants, launches
and kills; the key stands nowhere; several ranks leave together."""
import csv
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.environ["DTX_SOURCE"], "tests"))
from web import Server, authority

try:
    import h5py
    import numpy as np
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)

DETOXLENS, KEY = os.environ["DETOXLENS"], "S3CRET+key/x"
ENV = {**os.environ, "DETOXLENS_SCORE__KEY": KEY}
FAST = ("--qps", "1000", "--set", "http.backoff=0.01", "--set", "round_seconds=0.1")


def command(args, ranks):
    return ([os.environ["MPIRUN"], str(ranks)] if ranks else []) + [DETOXLENS, "score", "--scorer", "service", *args]


def run(code, *args, ranks=0, env=ENV):
    r = subprocess.run(command(args, ranks), capture_output=True, text=True, env=env)
    assert r.returncode == code, (args, r.returncode, r.stderr)
    assert "S3CRET" not in r.stdout + r.stderr, r.stderr
    assert code in (0, 75) or (r.stdout + r.stderr).count("error: ") == 1, r.stderr
    return r.stdout + r.stderr


def make(run_dir, answers, variant="IT"):
    with open("answers.csv", "w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([["", "prompts", "responses"]] + [[i, f"text {i}", a] for i, a in enumerate(answers)])
    subprocess.run([DETOXLENS, "import", "answers.csv", "--run", run_dir, "--variant", variant, "--quiet"], check=True)


def read(run_dir, name="service", variant="IT"):
    with h5py.File(run_dir + "/run.h5") as f:
        g = f[f"variants/{variant}/toxicity/{name}"]
        return g["completion"][:], g["prompt"][:], g["status"][:], dict(g.attrs)


def value(text, attribute="TOXICITY"):
    return round(sum(map(ord, text + attribute)) % 997 / 997, 6)


def error(code, message, kind=None):
    details = [{"@type": "type.googleapis.com/google.commentanalyzer.v1alpha1.Error", "errorType": kind}] if kind else []
    return code, json.dumps({"error": {"code": code, "message": message, "status": "INVALID_ARGUMENT", "details": details}})


class Service(Server):
    """Answers as documented; `faults(text, n)` may return a function that handles the n-th request for a text instead."""

    def __init__(self, faults=lambda text, n: None, delay=0, tls=None):
        super().__init__(self.serve, tls)
        self.faults, self.delay, self.asked, self.answered, self.times = faults, delay, {}, {}, []
        self.endpoint = self.url + "/v1alpha1/comments:analyze"

    def serve(self, q):
        assert q.path == "/v1alpha1/comments:analyze?key=S3CRET%2Bkey%2Fx" and q.command == "POST", q.path
        body = json.loads(q.data)
        assert set(body) == {"comment", "languages", "requestedAttributes", "doNotStore"}, body
        assert body["doNotStore"] is True and body["languages"] == ["en"] and set(body["comment"]) == {"text"}, body
        text = body["comment"]["text"]
        with self.lock:
            n = self.asked[text] = self.asked.get(text, 0) + 1
            self.times.append(time.monotonic())
        fault = self.faults(text, n)
        if fault is not None:
            return fault(q)
        time.sleep(self.delay)
        scores = {a: {"spanScores": [], "summaryScore": {"value": value(text, a), "type": "PROBABILITY"}} for a in body["requestedAttributes"]}
        with self.lock:
            self.answered[text] = self.answered.get(text, 0) + 1
        q.reply(200, json.dumps({"attributeScores": scores, "languages": ["en"], "detectedLanguages": ["en"]}))


N = 40
answers = [f" answer {i % 30}, \"quoted\" caf\u00e9 \U0001F600" for i in range(N)]  # ten of them occur twice
answers[3], answers[5] = "", " \t "
answers[7] = "x" * 20481
answers[8] = "y" * 20480
answers[11] = "language"
answers[12] = "refused"
answers[13] = "413"
permanent = {"language": error(400, "Attribute TOXICITY does not support request languages: xx", "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"),
             "refused": error(400, "Request contains an invalid argument for key S3CRET+key/x or S3CRET%2Bkey%2Fx"), "413": (413, "")}
expected = [2 if i in (3, 5) else 4 if i in (7, 13) else 3 if i == 11 else 5 if i == 12 else 1 for i in range(N)]
reply = lambda code, body="": lambda q: q.reply(code, body)


def polite(text, n):
    return reply(*permanent[text]) if text in permanent else None


# requests as documented, statuses, texts once; over other variants and launches too
make("run", answers)
make("run", answers[::-1], "FT")
s = Service(polite)
at = ("--set", "score.endpoint=" + s.endpoint)
said = run(0, "--run", "run", *at, *FAST)
c, p, status, attrs = read("run")
assert status.tolist() == expected and "34 scored, 2 empty, 1 of a language the scorer does not know, 2 too long, 1 refused" in said, said
assert np.isnan(p).all() and attrs["measure"] == b"TOXICITY" and attrs["endpoint"].decode() == s.endpoint and attrs["scorer"] == b"service"
np.testing.assert_array_equal(c, np.array([value(a) if e == 1 else np.nan for a, e in zip(answers, expected)], "f4"))
assert set(s.asked) == {a for a in answers if a.strip() and len(a) < 20481} and set(s.asked.values()) == {1}
n = s.requests
run(0, "--run", "run", *at, *FAST)
run(0, "--run", "run", "--variant", "FT", *at, *FAST, ranks=2)
run(0, "--run", "run", *at, *FAST, "--redo")
assert s.requests == n and read("run", variant="FT")[2].tolist() == expected[::-1]
np.testing.assert_array_equal(read("run")[0], c)
assert "endpoint" in run(2, "--run", "run", "--set", "score.endpoint=http://127.0.0.1:1/x", *FAST)
assert "requests           at most 40, 0.01 h" in run(0, "--run", "run", *at, "--name", "new", "--dry-run")
make("reference", answers)
print("ok requests")

# several attributes, prompts, ranks
make("many", answers)
s = Service(polite)
many = ("--set", "score.endpoint=" + s.endpoint, "--name", "p", "--attributes", '["TOXICITY", "INSULT"]', "--prompts", "text")
run(0, "--run", "many", *many, *FAST, ranks=3)
np.testing.assert_array_equal(read("many", "p")[0], c)
insult, prompts, status, attrs = read("many", "p.INSULT")
assert status.tolist() == expected and attrs["measure"] == b"INSULT" and insult[0] == np.float32(value(answers[0], "INSULT"))
np.testing.assert_array_equal(prompts, np.array([value(f"text {i}", "INSULT") for i in range(N)], "f4"))
assert set(s.asked.values()) == {1}
print("ok attributes")

# every fault, and the same bytes in the end; over TLS too
faults = [reply(429), reply(500, "oops"), reply(200, '{"attributeScores": {"TOXICITY": {"summaryScore": {"value": 0.'), reply(200, "[]"),
          reply(200, '{"attributeScores": {"TOXICITY": {"summaryScore": {"value": 7}}}}'), lambda q: q.reset(), lambda q: q.hang_up(),
          lambda q: q.reply(200, "x" * 3000000), lambda q: q.reply(200, "{}", length=500), reply(503), lambda q: time.sleep(1.5)]
ca, pair = authority()


def moody(text, n):
    k = (sum(map(ord, text)) + n) % 17
    return faults[k] if n < 4 and k < len(faults) else polite(text, n)


for tls in (None, pair):
    make("moody", answers)
    s = Service(moody, tls=tls)
    run(0, "--run", "moody", "--set", "score.endpoint=" + s.endpoint, *FAST, "--set", "http.timeout=1", "--set", "http.ca_file=" + ca, ranks=2 if tls else 0)
    assert s.requests > len(s.asked) + 10
    got = read("moody")
    np.testing.assert_array_equal(got[0], c)
    assert got[2].tolist() == expected
    os.remove("moody/score-cache.jsonl")
    os.remove("moody/run.h5")
make("storm", answers)
start = time.monotonic()
s = Service(lambda text, n: reply(429) if time.monotonic() - start < 2 else polite(text, n))
run(0, "--run", "storm", "--set", "score.endpoint=" + s.endpoint, *FAST, "--set", "http.tries=20")
assert read("storm")[2].tolist() == expected
print("ok faults")

# one text that never gets an answer is marked failed; --redo asks for it alone
make("poison", answers)
s = Service(lambda text, n: reply(500) if text == answers[20] and s.sick else polite(text, n))
s.sick = True
at = ("--set", "score.endpoint=" + s.endpoint)
assert "2 failed" not in run(0, "--run", "poison", *at, *FAST, "--set", "http.tries=3")
assert read("poison")[2].tolist() == [6 if a == answers[20] else e for a, e in zip(answers, expected)] and s.asked[answers[20]] == 6
s.sick, n = False, s.requests
run(0, "--run", "poison", *at, *FAST, "--redo")
assert s.requests == n + 1 and read("poison")[2].tolist() == expected

# no service, a service that knows neither key nor attribute, one that refuses everything: exit 4 and nothing recorded
make("down", answers)
for behaviour, words in ((reply(*error(403, "The caller does not have permission S3CRET+key/x")), "is the key right"), (reply(404), "endpoint"), (reply(500), "status 500"),
                         (reply(*error(400, "API key not valid. Please pass a valid API key.")), "API key not valid"), (reply(302), "302"),
                         (reply(*error(400, "Everything is wrong")), "refuses every text"), (lambda q: q.reset(), "reset")):
    s = Service(lambda text, n: behaviour)
    said = run(4, "--run", "down", "--set", "score.endpoint=" + s.endpoint, *FAST, "--set", "http.tries=2", "--redo", ranks=2 if words == "endpoint" else 0)
    assert words in said, said
    assert set(read("down")[2]) <= {0, 2, 4} and s.requests < 45, s.requests  # 16 connections, two tries each, and a few
run(4, "--run", "down", "--set", "score.endpoint=" + Service(tls=pair).endpoint, *FAST, "--redo")  # nobody vouches for the certificate
for endpoint in ("ftp://x/y", "https://host/x?key=S3CRET", "https://me:S3CRET@host/", ""):
    run(2, "--run", "down", "--set", "score.endpoint=" + endpoint)
run(2, "--run", "down", "--set", "score.endpoint=http://127.0.0.1:1/", "--key", KEY, env=os.environ)
run(2, "--run", "down", "--set", "score.endpoint=http://127.0.0.1:1/", "--attributes", '["A/B"]')
print("ok refusals")

# the rate
make("slow", [f"answer {i}" for i in range(12)])
s = Service()
run(0, "--run", "slow", "--set", "score.endpoint=" + s.endpoint, "--qps", "5", "--connections", "4")
assert s.times[-1] - s.times[0] >= 11 / 5 - .1, s.times
print("ok rate")

# kills: what was answered and recorded is not asked for again, but for texts under way at a kill
def kill_all(word):
    """The launcher and its ranks, which are in groups of their own, by the endpoint that only they have on their command line."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if word.encode() in f.read() and int(pid) != os.getpid():
                    os.kill(int(pid), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            pass


long = [f"answer {i}" for i in range(300)]
make("killed", long)
make("whole", long)
s = Service(delay=.02)
hits = 0
for k in range(8):
    ranks = 2 if k % 3 == 2 else 0
    child = subprocess.Popen(command(("--run", "killed", "--set", "score.endpoint=" + s.endpoint, "--qps", "60", "--connections", "2", "--set", "round_seconds=0.1"), ranks),
                             env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    n, until = len(s.answered), time.monotonic() + 20
    while child.poll() is None and len(s.answered) < n + 12 + 2 * k and time.monotonic() < until:
        time.sleep(.01)
    hits += child.poll() is None
    kill_all(s.endpoint)
    child.wait()
assert hits >= 4 and 50 < len(s.answered) < 300, (hits, len(s.answered))
with open("killed/score-cache.jsonl", "ab") as f:
    f.write(b'{"text": "cut sh')
stop = subprocess.Popen(command(("--run", "killed", "--set", "score.endpoint=" + s.endpoint, "--qps", "20"), 0), env=ENV, stderr=subprocess.DEVNULL)
n = len(s.answered)
while stop.poll() is None and len(s.answered) < n + 5:
    time.sleep(.02)
stop.send_signal(signal.SIGUSR1)
assert stop.wait() == 75, stop.returncode
run(0, "--run", "killed", "--set", "score.endpoint=" + s.endpoint, *FAST)
twice = sum(v - 1 for v in s.asked.values())
assert len(s.asked) == 300 and twice <= 2 * hits, (twice, hits)
print("ok kills", hits, "asked for again", twice)
run(0, "--run", "whole", "--set", "score.endpoint=" + s.endpoint, *FAST)
r = subprocess.run([DETOXLENS, "verify", "--same", "killed/run.h5", "whole/run.h5"], capture_output=True, text=True)
assert r.returncode == 0, r.stdout + r.stderr
with open("killed/score-cache.jsonl", "r+b") as f:
    f.write(b"nonsense")
make("other", long)
assert "damaged cache" in run(3, "--run", "other", "--set", "score.endpoint=" + s.endpoint, "--set", "score.cache=killed/score-cache.jsonl")

# the key stands in no file
files = [os.path.join(d, name) for d, _, names in os.walk(".") for name in names]
files = [path for path in files if os.path.isfile(path)]  # a killed launcher leaves a pipe, on which open() would wait
assert len(files) > 20
for path in files:
    with open(path, "rb") as f:
        assert b"S3CRET" not in f.read(), path
print("ok key")
