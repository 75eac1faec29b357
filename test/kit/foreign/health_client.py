"""Calls Health with another gRPC stack. Arguments: target, CA file, and a client certificate and its key, or nothing.

Prints the status code's name and, when it is OK, the answer's octets in hexadecimal.
"""
import sys

import grpc


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main():
    target, ca = sys.argv[1:3]
    pair = [read(path) for path in sys.argv[3:5]]
    chain, key = pair if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(read(ca), key, chain)
    with grpc.secure_channel(target, credentials) as channel:
        health = channel.unary_unary("/openshell.v1.OpenShell/Health")
        try:
            print("OK", health(b"", timeout=5).hex())
        except grpc.RpcError as error:
            print(error.code().name)


main()
