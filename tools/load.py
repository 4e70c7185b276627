#!/usr/bin/env python3
"""Load on a running server: load.py URL [--clients N] [--seconds S] [--tokens N] [--cancel P] [--stats].

Clients stream completions of their own prompts and seeds as fast as they come; some leave early (--cancel).  Every text that ends
must equal what the same request gave alone before.  Prints tokens a second over all clients, gaps between pieces, errors.
--stats reads the process's memory through PID of --pid."""
import argparse, asyncio, json, random, statistics, time, urllib.parse

PROMPTS = ["Once upon a time there was", "The capital of France is", "To make good bread you need", "In the year 2050,", "A cat and a dog",
           "The most important thing about", "My favourite season is", "Water boils at"]


async def request(host, port, path, body, on_piece=None, leave_after=None):
    """The text and its token count; None where the client left."""
    reader, writer = await asyncio.open_connection(host, port)
    data = json.dumps(body).encode()
    writer.write(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split()[1])
    if status != 200:
        writer.close()
        raise RuntimeError(f"status {status}: {(await reader.read())[:200]}")
    text, tokens, pieces = "", 0, 0
    while True:
        size = int((await reader.readline()).strip() or b"0", 16)
        if size == 0:
            break
        chunk = await reader.readexactly(size + 2)
        for line in chunk.decode().splitlines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            o = json.loads(line[6:])
            if "error" in o:
                raise RuntimeError(o["error"]["message"])
            for c in o["choices"]:
                if c.get("text"):
                    text += c["text"]
                    pieces += 1
                    if on_piece:
                        on_piece()
            tokens = (o.get("usage") or {}).get("completion_tokens", tokens)
        if leave_after is not None and pieces >= leave_after:
            writer.close()
            return None, 0
    writer.close()
    return text, tokens


def body_of(k, tokens):
    return {"prompt": PROMPTS[k % len(PROMPTS)], "seed": k, "temperature": 0.8 if k % 2 else 0, "max_tokens": tokens, "stream": True,
            "ignore_eos": True, "stream_options": {"include_usage": True}}


async def client(a, host, port, alone, state, number):
    rng = random.Random(number)
    while time.time() < state["end"]:
        k = rng.randrange(a.kinds)
        leave = rng.randrange(0, 12) if rng.random() < a.cancel else None
        last = [None]

        def piece():
            now = time.time()
            if last[0]:
                state["gaps"].append(now - last[0])
            last[0] = now

        try:
            text, tokens = await request(host, port, "/v1/completions", body_of(k, a.tokens), piece, leave)
        except Exception as e:
            state["errors"].append(repr(e))
            continue
        if text is None:
            state["left"] += 1
            continue
        state["tokens"] += tokens
        state["done"] += 1
        if text != alone[k]:
            state["errors"].append(f"request {k}: text differs from the one alone")


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(l.split()[1]) for l in f if l.startswith("VmRSS"))


async def main():
    p = argparse.ArgumentParser()
    p.add_argument("url")
    p.add_argument("--clients", type=int, default=8)
    p.add_argument("--seconds", type=float, default=20)
    p.add_argument("--tokens", type=int, default=64)
    p.add_argument("--kinds", type=int, default=16)
    p.add_argument("--cancel", type=float, default=0)
    p.add_argument("--pid", type=int)
    a = p.parse_args()
    u = urllib.parse.urlparse(a.url)
    alone = [(await request(u.hostname, u.port, "/v1/completions", body_of(k, a.tokens)))[0] for k in range(a.kinds)]
    start = time.time()
    state = {"end": start + a.seconds, "tokens": 0, "done": 0, "left": 0, "gaps": [], "errors": []}
    memory = [resident(a.pid)] if a.pid else []
    jobs = [asyncio.create_task(client(a, u.hostname, u.port, alone, state, i)) for i in range(a.clients)]
    while a.pid and time.time() < state["end"]:
        await asyncio.sleep(a.seconds / 10)
        memory.append(resident(a.pid))
    await asyncio.gather(*jobs)
    seconds = time.time() - start
    g = sorted(state["gaps"]) or [0]
    print(json.dumps({"clients": a.clients, "seconds": round(seconds, 1), "tokens_per_second": round(state["tokens"] / seconds, 1), "done": state["done"],
                      "left": state["left"], "gap_median_ms": round(1e3 * statistics.median(g), 2), "gap_p99_ms": round(1e3 * g[int(len(g) * 0.99)], 2),
                      "errors": len(state["errors"]), "first_errors": state["errors"][:3], "resident_mb": [m // 1024 for m in memory]}))


asyncio.run(main())
