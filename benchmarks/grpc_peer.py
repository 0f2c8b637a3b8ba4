"""grpc.aio's ping: server and client, with real protobuf messages. Runs in the peers' environment; never imported by irer.

The messages are described at run time, which makes the same classes that generated code would.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

sys.path.insert(0, str(Path(__file__).parent))
from measure import Measured, summary

SERVICE = "bench.System"
METHOD = f"/{SERVICE}/Ping"


def _messages() -> tuple[Any, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="ping.proto", package="bench", syntax="proto3")
    for name in ("Nothing", "Pong"):
        file.message_type.add(name=name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = [message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench.{name}")) for name in ("Nothing", "Pong")]
    return made[0], made[1]


Nothing, Pong = _messages()


async def _ping(request: Any, context: Any) -> Any:
    return Pong()


async def serve(path: str) -> None:
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        _ping, request_deserializer=Nothing.FromString, response_serializer=Pong.SerializeToString
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Ping": handler}),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    await server.wait_for_termination()


async def measure_aio(path: str, window: int, warmup_s: float, seconds: float, server: int) -> Measured:
    """`window` callers, each with one call in flight, on one channel."""
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        call = channel.unary_unary(METHOD, request_serializer=Nothing.SerializeToString, response_deserializer=Pong.FromString)

        async def caller(until: float, latencies: list[int]) -> None:
            while time.perf_counter() < until:
                began = time.perf_counter_ns()
                await call(Nothing())
                latencies.append(time.perf_counter_ns() - began)

        async def callers(duration: float) -> list[int]:
            latencies: list[int] = []
            until = time.perf_counter() + duration
            await asyncio.gather(*(caller(until, latencies) for _ in range(window)))
            return latencies

        await callers(warmup_s)
        measured = Measured(server)
        latencies = await callers(seconds)
        return measured.end(len(latencies), latencies)


def measure_blocking(path: str, warmup_s: float, seconds: float, server: int) -> Measured:
    """One call in flight from the blocking client, which costs the client less than the asynchronous one."""
    with grpc.insecure_channel(f"unix:{path}") as channel:
        call = channel.unary_unary(METHOD, request_serializer=Nothing.SerializeToString, response_deserializer=Pong.FromString)

        def calls(duration: float) -> list[int]:
            latencies: list[int] = []
            until = time.perf_counter() + duration
            while time.perf_counter() < until:
                began = time.perf_counter_ns()
                call(Nothing())
                latencies.append(time.perf_counter_ns() - began)
            return latencies

        calls(warmup_s)
        measured = Measured(server)
        latencies = calls(seconds)
        return measured.end(len(latencies), latencies)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["serve", "aio", "blocking"])
    parser.add_argument("--socket", required=True)
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--warmup", type=float, default=0.25)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--server", type=int, default=0)
    options = parser.parse_args()
    if options.what == "serve":
        asyncio.run(serve(options.socket))
    elif options.what == "aio":
        measured = asyncio.run(measure_aio(options.socket, options.window, options.warmup, options.seconds, options.server))
        print(json.dumps(summary(measured)))
    else:
        measured = measure_blocking(options.socket, options.warmup, options.seconds, options.server)
        print(json.dumps(summary(measured)))


if __name__ == "__main__":
    main()
