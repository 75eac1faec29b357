"""A compute driver of another gRPC stack that behaves as real Kubernetes ones do (spec/drivers.md §1, §2).

Needs grpcio only: the few messages are written by hand. Arguments: socket path, seconds after which a watch ends OK,
and a file that stands for the cluster behind a real driver: what it made is there after a crash too.
"""
import json
import os
import queue
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "openshell.compute.v1.ComputeDriver"


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def put(number, value):
    """One length-delimited field; empty ones are left out."""
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data if data else b""


def fields(data):
    """The length-delimited and varint fields of a message, last one wins."""
    found, at = {}, 0

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
            found[tag >> 3] = number()
        else:
            size = number()
            found[tag >> 3] = data[at : at + size]
            at += size
    return found


def text(found, number):
    return found.get(number, b"").decode()


class Driver:
    def __init__(self, watch_secs, cluster):
        self.watch_secs = watch_secs
        self.cluster = cluster
        self.lock = threading.Lock()
        self.ids = {}
        self.sandboxes = {}
        self.watchers = []
        if cluster and os.path.exists(cluster):
            with open(cluster) as file:
                self.ids = json.load(file)
        for name, sandbox_id in self.ids.items():
            self.sandboxes[name] = self.observed(sandbox_id, name, None)
            self.provision(sandbox_id, name)

    def keep(self):
        """The file is whole or the old one, whenever the process dies. The lock is held."""
        if self.cluster:
            with open(self.cluster + ".part", "w") as file:
                json.dump(self.ids, file)
            os.replace(self.cluster + ".part", self.cluster)

    def provision(self, sandbox_id, name):
        def run():
            for ready in (False, True):
                time.sleep(0.05)
                if name in self.sandboxes:
                    self.sandboxes[name] = self.observed(sandbox_id, name, ready)
                    self.observe(self.sandboxes[name])

        threading.Thread(target=run, daemon=True).start()

    def emit(self, event):
        with self.lock:
            for watcher in self.watchers:
                watcher.put(event)

    def observe(self, sandbox):
        self.emit(put(1, put(1, sandbox)))

    @staticmethod
    def observed(sandbox_id, name, ready):
        condition = b"" if ready is None else put(5, put(1, "Ready") + put(2, "True" if ready else "False") + put(3, "DependenciesReady" if ready else "DependenciesNotReady"))
        status = b"" if ready is None else put(5, put(1, name) + condition)
        return put(1, sandbox_id) + put(2, name) + put(3, "team1") + status

    def GetCapabilities(self, request, context):
        return put(1, "foreign") + put(2, "0.1.0") + put(3, "registry.test/base:1") + b"\x20\x01"

    def ValidateSandboxCreate(self, request, context):
        return b""

    def CreateSandbox(self, request, context):
        sandbox = fields(fields(request).get(1, b""))
        sandbox_id, name = text(sandbox, 1), text(sandbox, 2)
        template = fields(fields(sandbox.get(4, b"")).get(6, b""))
        if not sandbox_id or not name or not text(template, 1):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "sandbox id, name and template image are required")
        with self.lock:
            exists = name in self.sandboxes
            if not exists:
                self.sandboxes[name] = self.observed(sandbox_id, name, None)
                self.ids[name] = sandbox_id
                self.keep()
        if exists:
            context.abort(grpc.StatusCode.INTERNAL, f'creating: sandboxes "{name}" already exists')
        self.observe(self.sandboxes[name])
        self.provision(sandbox_id, name)
        return b""

    def GetSandbox(self, request, context):
        name = text(fields(request), 2)
        if name not in self.sandboxes:
            context.abort(grpc.StatusCode.NOT_FOUND, f'sandbox "{name}" not found')
        return put(1, self.sandboxes[name])

    def ListSandboxes(self, request, context):
        return b"".join(put(1, sandbox) for sandbox in list(self.sandboxes.values()))

    def StopSandbox(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "stop is not supported")

    def DeleteSandbox(self, request, context):
        with self.lock:
            sandbox = self.sandboxes.pop(text(fields(request), 2), None)
            if sandbox is not None:
                self.ids.pop(text(fields(request), 2))
                self.keep()
        if sandbox is None:
            context.abort(grpc.StatusCode.INTERNAL, "deleting: not found")
        self.emit(put(2, put(1, text(fields(sandbox), 1))))
        return b"\x08\x01"

    def WatchSandboxes(self, request, context):
        mine, end = queue.Queue(), time.monotonic() + self.watch_secs
        with self.lock:
            self.watchers.append(mine)
            have = list(self.sandboxes.values())
        try:
            for sandbox in have:
                yield put(1, put(1, sandbox))
            while context.is_active() and time.monotonic() < end:
                try:
                    yield mine.get(timeout=0.05)
                except queue.Empty:
                    continue
        finally:
            with self.lock:
                self.watchers.remove(mine)


def main():
    path, watch_secs = sys.argv[1], float(sys.argv[2])
    driver = Driver(watch_secs, sys.argv[3] if len(sys.argv) > 3 else None)
    unary = ["GetCapabilities", "ValidateSandboxCreate", "CreateSandbox", "GetSandbox", "ListSandboxes", "StopSandbox", "DeleteSandbox"]
    handlers = {name: grpc.unary_unary_rpc_method_handler(getattr(driver, name)) for name in unary}
    handlers["WatchSandboxes"] = grpc.unary_stream_rpc_method_handler(driver.WatchSandboxes)
    options = [("grpc.http2.min_ping_interval_without_data_ms", 300_000), ("grpc.http2.max_ping_strikes", 1)]
    server = grpc.server(futures.ThreadPoolExecutor(16), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if os.path.exists(path):
        os.remove(path)
    server.add_insecure_port("unix:" + path)
    server.start()
    os.chmod(path, 0o777)
    print("ready", flush=True)
    server.wait_for_termination()


main()
