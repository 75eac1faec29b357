"""A supervisor of another gRPC stack, with an SSH daemon that is not ours behind it (spec/relay.md §11).

Needs grpcio, and asyncssh for the mode `asyncssh`: the few messages are written by hand. Arguments: host:port of the
gateway, sandbox id, `asyncssh` or `command`, and with `command` the words of a daemon that speaks SSH on its standard
input and output, as inetd would start it. OPENSHELL_SSH_HANDSHAKE_SECRET is shown as the real one shows it.
"""
import asyncio
import os
import queue
import socket
import subprocess
import sys
import threading

import grpc

SERVICE = "/openshell.v1.OpenShell/"
GATEWAY, SANDBOX, MODE, *DAEMON = sys.argv[1:]
SECRET = (("x-sandbox-secret", os.environ["OPENSHELL_SSH_HANDSHAKE_SECRET"]),)
PIECE = 16384


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def put(number, data):
    """One length-delimited field."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(data):
    """Number and value of each field."""
    at = 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            yield tag >> 3, number()
        else:
            size = number()
            yield tag >> 3, data[at : at + size]
            at += size


def same(data):
    return data


def sent(items):
    """What is put into a queue, until None."""
    while (item := items.get()) is not None:
        yield item


def start_asyncssh():
    """An asyncssh daemon on a loopback port: any name, no proof, /bin/bash -lc."""
    import asyncssh

    class Anyone(asyncssh.SSHServer):
        def begin_auth(self, username):
            return False

    async def run(process):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        child = subprocess.Popen(["/bin/bash", "-lc", process.command], **pipes)
        await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        await process.stdout.drain()
        await process.stderr.drain()
        process.exit(await asyncio.to_thread(child.wait))

    port = queue.Queue()

    async def main():
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Anyone, server_host_keys=[key], process_factory=run, encoding=None
        )
        port.put(server.get_port())
        await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
    return port.get()


PORT = start_asyncssh() if MODE == "asyncssh" else None


def connect():
    """Bytes to and from the daemon."""
    if PORT is not None:
        end = socket.create_connection(("127.0.0.1", PORT))
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return end
    ours, theirs = socket.socketpair()
    subprocess.Popen(DAEMON, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)
    theirs.close()
    return ours


def relay(channel, channel_id):
    out = queue.Queue(4)
    out.put(put(1, put(1, channel_id)))
    call = channel.stream_stream(SERVICE + "RelayStream", same, same)(sent(out), metadata=SECRET)
    call.initial_metadata()
    end = connect()

    def up():
        try:
            while data := end.recv(PIECE):
                out.put(put(2, data))
        except OSError:
            pass
        out.put(None)

    threading.Thread(target=up, daemon=True).start()
    try:
        for frame in call:
            for number, value in fields(frame):
                if number == 2:
                    end.sendall(value)
        end.shutdown(socket.SHUT_WR)
    except (grpc.RpcError, OSError):
        end.close()


def main():
    channel = grpc.insecure_channel(GATEWAY)
    out = queue.Queue()
    out.put(put(1, put(1, SANDBOX.encode()) + put(2, b"foreign")))
    control = channel.stream_stream(SERVICE + "ConnectSupervisor", same, same)(sent(out), metadata=SECRET)
    for message in control:
        for number, value in fields(message):
            if number == 1:
                print("ready", flush=True)
            elif number == 3:
                out.put(put(2, b""))
            elif number == 4:
                threading.Thread(target=relay, args=(channel, dict(fields(value))[1]), daemon=True).start()


main()
