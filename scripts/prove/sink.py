"""Takes what Alertmanager sends, by each of its ways: `sink.py DIR`.

Webhook, Slack and PagerDuty come by HTTP, mail by SMTP. Each message becomes a line of DIR/told, as
{"at", "way", "message"}; DIR/ports has both ports once they are open.
"""

import http.server
import json
import pathlib
import socketserver
import sys
import threading
import time

folder = pathlib.Path(sys.argv[1])
writing = threading.Lock()


def tell(way, message):
    with writing, open(folder / "told", "a", encoding="utf-8") as file:
        file.write(json.dumps({"at": time.time(), "way": way, "message": message}) + "\n")


class Posts(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        way = self.path.strip("/")
        tell(way, json.loads(body))
        self.send_response(202 if way == "pagerduty" else 200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Mails(socketserver.StreamRequestHandler):
    def handle(self):
        self.say("220 sink")
        while line := self.rfile.readline().decode("utf-8", "replace").strip():
            verb = line.split()[0].upper()
            if verb == "DATA":
                self.say("354 go on")
                lines = iter(lambda: self.rfile.readline().decode("utf-8", "replace").rstrip("\r\n"), ".")
                tell("email", "\n".join(lines))
            self.say("221 bye" if verb == "QUIT" else "250 ok")
            if verb == "QUIT":
                return

    def say(self, line):
        self.wfile.write(f"{line}\r\n".encode())


posts = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Posts)
mails = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mails)
mails.daemon_threads = True
(folder / "told").touch()
(folder / "ports.part").write_text(f"{posts.server_port} {mails.server_address[1]}\n")
(folder / "ports.part").rename(folder / "ports")
threading.Thread(target=mails.serve_forever, daemon=True).start()
posts.serve_forever()
