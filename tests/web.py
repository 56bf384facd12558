"""A web server for tests, plain or TLS, whose behaviour each test writes as a function of the request; and a certificate
authority made on the spot with openssl."""
import os
import socket
import ssl
import struct
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

for name in list(os.environ):  # the machine's proxy and certificates have no business here
    if name.lower().endswith("_proxy") or name in ("CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        del os.environ[name]


class Request(BaseHTTPRequestHandler):
    """`answer(request)` of the server is called with .path, .headers, .data (the body), .command."""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def any(self):
        self.data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            self.server.requests += 1
        try:
            self.server.answer(self)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    do_GET = do_POST = do_HEAD = any

    def reply(self, code, body=b"", headers=(), length=None, send=None):
        """`length`: what Content-Length says (default: the truth); `send`: bytes after which the connection is reset."""
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response(code)
        for k, v in dict(headers).items():
            self.send_header(k, v)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body if send is None else body[:send])
        if send is not None or length is not None:
            self.wfile.flush()
            self.reset() if send is not None else self.hang_up()

    def hang_up(self):
        self.close_connection = True

    def reset(self):
        """Ends the connection with RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, *args):
        pass

    def finish(self):
        try:
            super().finish()
        except (OSError, ValueError):
            pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer, tls=None, host="127.0.0.1"):
        super().__init__((host, 0), Request)
        self.answer, self.lock, self.requests, self.connections = answer, threading.Lock(), 0, 0
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if tls else 'http'}://{'localhost' if tls else host}:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass


def authority(folder="."):
    """Makes ca.pem and a certificate for localhost that it signed; returns (ca.pem, (server.pem, server.key))."""
    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, cwd=folder, stderr=subprocess.DEVNULL)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    with open(os.path.join(folder, "san"), "w") as f:
        f.write("subjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "san", "-out", "server.pem")
    path = lambda name: os.path.abspath(os.path.join(folder, name))
    return path("ca.pem"), (path("server.pem"), path("server.key"))
