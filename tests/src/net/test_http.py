"""src/http against a server that misbehaves: faults that are tried again and those that are not, Retry-After, the rate, reuse
of connections, time-outs, large replies, TLS, proxies, redirects, ranges; nothing says the secret."""
import json
import os
import subprocess
import sys
import time
from email.utils import formatdate

sys.path.insert(0, os.path.join(os.environ["DTX_SOURCE"], "tests"))
from web import Server, authority

TOOL = sys.argv[1]


def call(code, *args, **env):
    r = subprocess.run([TOOL, *map(str, args)], capture_output=True, text=True, env={**os.environ, **env})
    assert r.returncode == code, (args, r.returncode, r.stdout, r.stderr)
    assert "S3CRET" not in r.stdout + r.stderr, (args, r.stdout, r.stderr)
    return json.loads(r.stdout)


def script(*steps, last=lambda q: q.reply(200, "good")):
    """A server that answers with each step once, then with the last."""
    left = list(steps)

    def answer(q):
        with s.lock:
            step = left.pop(0) if left else last
        s.seen.append((time.monotonic(), q.path, dict(q.headers), q.data))
        step(q)

    s = Server(answer)
    s.seen = []
    return s


status = lambda code, **headers: lambda q: q.reply(code, "no", {k.replace("_", "-"): v for k, v in headers.items()})


def slow(q):
    time.sleep(3)
    q.reply(200, "good")


# faults, then a good reply, over one connection where the server lets it
s = script(status(500), status(503), status(429), status(408))
r = call(0, "get", s.url + "/a?key=S3CRET")
assert (r["status"], r["requests"], r["retries"], r["connections"]) == (200, 5, 4, 1), r
s = script(lambda q: q.reset(), lambda q: q.hang_up(), lambda q: q.reply(200, "good", length=50), lambda q: q.reply(200, "good" * 9, send=3))
r = call(0, "post", s.url, "text")
assert r["requests"] == 5 and all(d == b"text" for *_, d in s.seen), r
s = script(lambda q: q.reply(200, "{\"bad"), lambda q: q.reply(200, "x" * 5000), slow)
r = call(0, "check=1", "timeout=0.5", "get", s.url)
assert r["requests"] == 4, r
# the tries are used up: what it was, and where
for step, words in ((status(503), "HTTP status 503"), (lambda q: q.reply(200, "x" * 5000), "more than 4096 bytes"),
                    (lambda q: q.reply(200, "bad"), "the reply is not good")):
    s = script(last=step)
    r = call(4, "check=1", "tries=3", "get", s.url + "/v1?key=S3CRET")
    assert words in r["text"] and s.url + "/v1:" in r["text"] and "3 attempts" in r["text"] and len(s.seen) == 3, r
# what is not tried again
for code in (301, 400, 401, 403, 404, 413):
    s = script(last=status(code))
    assert call(0, "get", s.url)["status"] == code and len(s.seen) == 1
call(4, "tries=1", "timeout=1", "get", "http://nowhere.invalid/")
call(4, "tries=2", "get", "http://127.0.0.1:1/")
for url in ("ftp://127.0.0.1/x", "file:///etc/passwd", "nonsense", ""):
    call(2, "get", url)
print("ok faults")

# Retry-After, in seconds and as a date; too long a wait ends it; a pause concerns all threads
s = script(status(429, Retry_After="2"))
call(0, "get", s.url)
assert s.seen[1][0] - s.seen[0][0] >= 1.9, s.seen
s = script(status(503, Retry_After=formatdate(time.time() + 3, usegmt=True)))
call(0, "get", s.url)
assert s.seen[1][0] - s.seen[0][0] >= 1.5, s.seen
s = script(status(429, Retry_After="86400"))
r = call(4, "get", s.url)
assert "86400 s" in r["text"] and len(s.seen) == 1, r
for odd in ("-5", "nan", "soon", "1e400", "Thu, 01 Jan 1970 00:00:00 GMT"):
    s = script(status(429, Retry_After=odd))
    call(4 if odd == "1e400" else 0, "get", s.url)
s = script(status(429, Retry_After="2"))
call(0, "threads=4", "times=3", "qps=50", "get", s.url)
first = s.seen[0][0]
assert len(s.seen) == 13 and sum(t - first > 1.9 for t, *_ in s.seen) >= 12 - 3, [t - first for t, *_ in s.seen]
# back-off doubles, with jitter
s = script(*[status(500)] * 4)
call(0, "backoff=0.2", "get", s.url)
gaps = [b[0] - a[0] for a, b in zip(s.seen, s.seen[1:])]
assert all(g >= .1 * 2 ** i - .01 for i, g in enumerate(gaps)), gaps
print("ok waits")

# the rate holds over threads, repeated requests included; connections are reused
s = script(*[status(500)] * 3)
call(0, "threads=3", "times=4", "qps=20", "backoff=0.001", "get", s.url)
times = sorted(t for t, *_ in s.seen)
assert len(times) == 15 and times[-1] - times[0] >= 14 / 20 - .05 and s.connections == 3, (times[-1] - times[0], s.connections)
print("ok rate")

# TLS: verified always, the authority from the option or the environment
ca, pair = authority()
t = Server(lambda q: q.reply(200, "good"), pair)
r = call(4, "get", t.url)
assert "certificate" in r["text"] and t.requests == 0, r
assert call(0, "ca=" + ca, "get", t.url)["status"] == 200
assert call(0, "get", t.url, CURL_CA_BUNDLE=ca)["status"] == 200
assert call(0, "get", t.url, SSL_CERT_FILE=ca)["status"] == 200
assert "127.0.0.1" in call(4, "ca=" + ca, "get", t.url.replace("localhost", "127.0.0.1"))["text"]  # another name than the certificate's
assert "cannot be read" in call(4, "ca=absent.pem", "get", t.url)["text"]
print("ok TLS")

# proxy from the environment, and exceptions from it
proxy = script(last=lambda q: q.reply(200, "good by proxy"))
assert call(0, "get", "http://somewhere.invalid/x", http_proxy=proxy.url)["body"] == "good by proxy"
assert proxy.seen[0][1] == "http://somewhere.invalid/x"
s = script()
assert call(0, "get", s.url, http_proxy=proxy.url, no_proxy="127.0.0.1")["body"] == "good"
print("ok proxy")

# redirects: only where asked for; the token stays with the first host; never from https to http
other = script()
away = lambda q: q.reply(302, "", {"Location": other.url.replace("127.0.0.1", "localhost") + "/there"})
s = script(last=away)
assert call(0, "get", s.url)["status"] == 302
assert call(0, "follow=1", "header=Authorization: Bearer S3CRET", "get", s.url)["body"] == "good"
assert s.seen[-1][2]["Authorization"] == "Bearer S3CRET" and "Authorization" not in other.seen[0][2]
t = Server(away, pair)
call(4, "tries=1", "follow=1", "ca=" + ca, "get", t.url)
s = script(last=lambda q: q.reply(302, "", {"Location": q.path + "x"}))
assert "redirects" in call(4, "follow=1", "get", s.url)["text"]
print("ok redirects")

# downloads: go on after an interruption, with and without ranges; wrong places and lengths
data = os.urandom(300000)


def ranged(send=None):
    def answer(q):
        first = int(q.headers["Range"][6:-1]) if "Range" in q.headers else 0
        if first >= len(data):
            return q.reply(416)
        head = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
        q.reply(206 if first else 200, data[first:], head, send=send)
    return answer


def fetched(server, *args, code=0, start=b""):
    with open("file", "wb") as f:
        f.write(start)
    r = call(code, *args, "file", server.url, "file")
    with open("file", "rb") as f:
        got = f.read()
    assert code != 0 or got == data, (len(got), len(data))
    return r, got


fetched(script(last=ranged()))
s = script(*[ranged(40000)] * 6, last=ranged())
fetched(s, "tries=2", "expect=300000")  # more interruptions than tries, and each brought something
assert len(s.seen) == 7 and [int(h["Range"][6:-1]) for _, _, h, _ in s.seen[1:]] == [40000 * i for i in range(1, 7)]
fetched(script(lambda q: q.reply(200, data, send=100000), last=lambda q: q.reply(200, data)), "expect=300000")  # no ranges
fetched(script(last=ranged()), start=data[:1000])
fetched(script(last=ranged()), "expect=300000", start=data + b"more")  # 416
misplaced = lambda q: q.reply(206, data[5:], {"Content-Range": f"bytes 5-299999/300000"})
r, got = fetched(script(last=misplaced), "tries=2", code=4, start=data[:1000])
assert "byte 1000 was asked for" in r["text"] and got == data[:1000]
r, got = fetched(script(last=lambda q: q.reply(200, data + b"x")), "expect=300000", "tries=2", code=4)
assert "the server has 300001" in r["text"] and got == b"", r
r, got = fetched(script(last=lambda q: q.reply(200, data[:-1])), "expect=300000", "tries=2", code=4)
assert "the server has 299999" in r["text"], r


def stalled(q):
    q.send_response(200)
    q.send_header("Content-Length", "300000")
    q.end_headers()
    q.wfile.write(data[:1000])
    q.wfile.flush()
    time.sleep(6)
    q.hang_up()


fetched(script(stalled, last=ranged()), "timeout=2", "expect=300000")
assert call(0, "file", script(last=status(404)).url, "file")["status"] == 404
print("ok downloads")
