"""The HTTP server: equal to `burin run`, alone and in crowds; errors, limits, hostile bytes; clients and a browser that others wrote."""
import base64, concurrent.futures, http.client, json, os, random, re, shutil, signal, socket, struct, subprocess, sys, time
import gguf
from harness import ASAN, BURIN, ROOT, TINY, Skip, chip, done, path, run, test, wait_for

CLIENTS = os.path.abspath("build/clients")


class Server:
    def __init__(self, *arguments, binary=BURIN):
        self.log = open(path(f"serve-{time.time()}.log"), "w+")
        self.process = subprocess.Popen([binary, "serve", "--port", "0", *arguments], stderr=self.log, stdin=subprocess.DEVNULL)

    def __enter__(self):
        wait_for(lambda: re.search(r"serves at", self.text()) or self.process.poll() is not None)
        m = re.search(r"http://([\d.]+):(\d+)/", self.text())
        assert m, self.text()
        self.host, self.port = m.group(1), int(m.group(2))
        self.url = f"http://{self.host}:{self.port}"
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
        assert self.process.returncode == 0, (self.process.returncode, self.text()[-2000:])

    def text(self):
        return open(self.log.name).read()

    def ask(self, method, where, body=None, headers=None):
        c = http.client.HTTPConnection(self.host, self.port, timeout=60)
        c.request(method, where, body if body is None or isinstance(body, (bytes, str)) else json.dumps(body), headers or {})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, data, r

    def post(self, where, body, status=200):
        s, data, _ = self.ask("POST", where, body)
        assert s == status, (s, data[:500])
        return json.loads(data)

    def stream(self, where, body):
        s, data, r = self.ask("POST", where, dict(body, stream=True))
        assert s == 200 and r.getheader("Content-Type") == "text/event-stream", (s, data[:300])
        events = [e for e in data.decode().split("\n\n") if e]
        assert events[-1] == "data: [DONE]" and all(e.startswith("data: ") for e in events), data[-300:]
        return [json.loads(e[6:]) for e in events[:-1]]

    def metric(self, name):
        return float(re.search(rf"^{name} (\S+)", self.ask("GET", "/metrics")[1].decode(), re.M).group(1))

    def raw(self, data, wait=2.0):
        """Sends bytes as they are; what came back, as far as it did."""
        s = socket.create_connection((self.host, self.port), timeout=wait)
        out = b""
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while True:
                got = s.recv(65536)
                if not got:
                    break
                out += got
        except OSError:
            pass
        s.close()
        return out


def tiny():
    return chip(TINY, "--bits", "4")


def python_clients():
    """A Python with the clients of test/clients/requirements.txt."""
    stamp, want = os.path.join(CLIENTS, "python.txt"), open("test/clients/requirements.txt").read()
    python = os.path.join(CLIENTS, "python/bin/python")
    if not os.path.exists(stamp) or open(stamp).read() != want:
        shutil.rmtree(os.path.join(CLIENTS, "python"), ignore_errors=True)
        done(sys.executable, "-m", "venv", os.path.join(CLIENTS, "python"), timeout=120)
        done(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "test/clients/requirements.txt", timeout=600)
        open(stamp, "w").write(want)
    return python


def node_clients():
    if not shutil.which("node") or int(done("node", "--version")[1:].split(".")[0]) < 20:
        raise Skip("node 20 or newer is not installed")
    stamp, want = os.path.join(CLIENTS, "node.json"), open("test/clients/package.json").read()
    os.makedirs(CLIENTS, exist_ok=True)
    if not os.path.exists(stamp) or open(stamp).read() != want:
        shutil.rmtree(os.path.join(CLIENTS, "node_modules"), ignore_errors=True)
        open(os.path.join(CLIENTS, "package.json"), "w").write(want)
        r = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"], cwd=CLIENTS, capture_output=True, text=True)
        assert r.returncode == 0, r.stderr[-2000:]
        open(stamp, "w").write(want)


def node(script, *arguments):
    node_clients()
    shutil.copy(f"test/clients/{script}", CLIENTS)
    r = subprocess.run(["node", script, *arguments], cwd=CLIENTS, capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, (r.stdout + r.stderr)[-3000:]
    return int(r.stdout.strip().split("\n")[-1])


# ---- texts -------------------------------------------------------------------------------------------------------------------

@test
def serve_writes_what_run_writes():
    """Greedy and drawn, whole and streamed, first and with the prompt in the cache; the same stopping."""
    n = 0
    with Server(tiny()) as s:
        for seed, t in ((1, 0), (7, 0.8), (8, 1.3)):
            for prompt in ("Once upon a time", "Tom and Lily were " * 5, "The end. \u00e9\u20ac"):
                expected = done(BURIN, "run", tiny(), "--raw", "-p", prompt, "--seed", str(seed), "--temperature", str(t), "-n", "120")[:-1]
                body = {"prompt": prompt, "seed": seed, "temperature": t, "max_tokens": 120}
                for _ in range(2):
                    got = s.post("/v1/completions", body)
                    assert got["choices"][0]["text"] == expected, (prompt, seed, got["choices"][0]["text"], expected)
                events = s.stream("/v1/completions", body)
                assert "".join(c["text"] for e in events for c in e["choices"]) == expected
                n += 3
        assert s.metric("burin_prompt_tokens_cached_total") > 0
        body = {"messages": [{"role": "user", "content": "Once upon a time"}], "seed": 3, "max_tokens": 50}
        whole = s.post("/v1/chat/completions", body)
        events = s.stream("/v1/chat/completions", dict(body, stream_options={"include_usage": True}))
        assert "".join(e["choices"][0]["delta"].get("content", "") for e in events if e["choices"]) == whole["choices"][0]["message"]["content"]
        assert events[-1]["usage"] == dict(whole["usage"], prompt_tokens_details=events[-1]["usage"]["prompt_tokens_details"])
        assert whole["usage"]["completion_tokens"] == 50 and whole["choices"][0]["finish_reason"] == "length"
    return n + 3


@test
def serve_writes_the_same_in_a_crowd():
    """16 clients at once, a third of which leave early: every text equals the one alone, nothing fails, memory stays."""
    with Server(tiny(), "--slots", "8") as s:
        o = json.loads(done(sys.executable, "tools/load.py", s.url, "--clients", "16", "--seconds", "10", "--tokens", "150", "--cancel", "0.35", "--pid",
                            str(s.process.pid), timeout=120))
        assert o["errors"] == 0 and o["done"] > 50 and o["left"] > 10, o
        assert o["resident_mb"][-1] <= o["resident_mb"][len(o["resident_mb"]) // 2] + 8, o
        wait_for(lambda: s.metric("burin_replies_running") == 0)
    return o["done"]


@test
def serve_stops_where_asked():
    """Stop strings over token boundaries are found, nothing of them leaks, nothing before them is eaten."""
    n = 0
    with Server(tiny()) as s:
        base = {"prompt": "Once upon a time", "seed": 5, "temperature": 0.7, "max_tokens": 100}
        text = s.post("/v1/completions", base)["choices"][0]["text"]
        rng = random.Random(4)
        for _ in range(40):
            at = rng.randrange(2, len(text) - 12)
            stop = text[at:at + rng.randrange(1, 12)]
            want = text[:text.index(stop)]
            got = s.post("/v1/completions", dict(base, stop=[stop, "\u2603"]))
            assert got["choices"][0]["text"] == want and got["choices"][0]["finish_reason"] == "stop", (stop, got["choices"][0])
            events = s.stream("/v1/completions", dict(base, stop=stop))
            assert "".join(c["text"] for e in events for c in e["choices"]) == want
            n += 2
        never = s.post("/v1/completions", dict(base, stop=text[-4:] + "\u2603"))
        assert never["choices"][0]["text"] == text
        least = s.post("/v1/completions", dict(base, max_tokens=300, min_tokens=280))
        assert least["usage"]["completion_tokens"] >= 280
    return n + 2


@test
def serve_knows_probabilities_biases_and_seeds():
    with Server(tiny()) as s:
        base = {"prompt": "Once upon a time", "temperature": 0, "max_tokens": 10}
        a = s.post("/v1/completions", dict(base, logprobs=3))["choices"][0]
        assert "".join(a["logprobs"]["tokens"]) == a["text"] and len(a["logprobs"]["top_logprobs"]) == 10
        for token, p, top in zip(a["logprobs"]["tokens"], a["logprobs"]["token_logprobs"], a["logprobs"]["top_logprobs"]):
            assert p <= 0 and abs(max(top.values()) - p) < 1e-6 and top[token] == p, "greedy takes the likeliest"
        ids = s.post("/tokenize", {"content": a["text"]})["tokens"]
        b = s.post("/v1/completions", dict(base, logit_bias={str(ids[0]): -100}))["choices"][0]
        assert b["text"] != a["text"]
        c = s.post("/v1/completions", dict(base, logit_bias={str(ids[1]): 100}))["choices"][0]
        assert s.post("/tokenize", {"content": c["text"]})["tokens"][0] == ids[1] or c["text"].count(s.post("/detokenize", {"tokens": [ids[1]]})["content"]) > 3
        seeds = [s.post("/v1/completions", {"prompt": "Once", "max_tokens": 20}) for _ in range(3)]
        assert len({x["seed"] for x in seeds}) == 3
        again = s.post("/v1/completions", {"prompt": "Once", "max_tokens": 20, "seed": seeds[0]["seed"]})
        assert again["choices"][0]["text"] == seeds[0]["choices"][0]["text"], "the seed that the reply names repeats it"
        e = [s.post("/v1/embeddings", {"input": ["a red ball", "the dog"], "encoding_format": f})["data"] for f in ("float", "base64")]
        for x, y in zip(*e):
            v = struct.unpack(f"<{len(x['embedding'])}f", base64.b64decode(y["embedding"]))
            assert all(abs(p - q) < 1e-6 for p, q in zip(v, x["embedding"])) and abs(sum(p * p for p in v) - 1) < 1e-4
        assert s.post("/detokenize", {"tokens": s.post("/tokenize", {"content": "A caf\u00e9 \U0001F600"})["tokens"]})["content"] == "A caf\u00e9 \U0001F600"
        text = "".join(c["text"] for e in s.stream("/v1/completions", {"prompt": "x", "guided_regex": "(\U0001F600|\u00e9){20}"}) for c in e["choices"])
        assert len(text) == 20 and "\ufffd" not in text, "characters are never cut"
    return 22


SCHEMAS = [
    {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "on": {"type": "boolean"}}, "required": ["name"], "additionalProperties": False},
    {"type": "array", "items": {"type": "integer", "minimum": -3, "maximum": 12}, "minItems": 1, "maxItems": 4},
    {"anyOf": [{"type": "null"}, {"enum": ["red", "green", 7]}, {"type": "string", "pattern": "^[a-z]{2,5}$"}]},
    {"type": "object", "properties": {"d": {"type": "string", "format": "date"}, "u": {"type": "string", "format": "uuid"}, "x": {"type": "number"}}, "required": ["d", "u", "x"]},
    {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer", "maximum": 99}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
                                                "required": ["v", "next"], "additionalProperties": False}}},
]


@test
def serve_constrains_output():
    """Every reply satisfies its schema by another implementation, whatever the seed; regular expressions by Python's."""
    python_clients()
    lines = []
    with Server(tiny()) as s:
        for i, schema in enumerate(SCHEMAS):
            for seed in range(12):
                r = s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Once"}], "seed": seed, "temperature": 1.2, "max_tokens": 300,
                                                    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}})
                if r["choices"][0]["finish_reason"] == "stop":
                    lines.append(json.dumps([schema, json.loads(r["choices"][0]["message"]["content"])]))
        for seed in range(12):
            r = s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Once"}], "seed": seed, "max_tokens": 300, "response_format": {"type": "json_object"}})
            if r["choices"][0]["finish_reason"] == "stop":
                lines.append(json.dumps([{"type": "object"}, json.loads(r["choices"][0]["message"]["content"])]))
            for pattern in (r"\d{3}-\d{4}", r"(yes|no|maybe), [A-Z][a-z]{1,6}\.", r"[^a-z]{1,4}(\.\d+)?"):
                r = s.post("/generate", {"prompt": ["Once"], "seed": seed, "topk": 8, "guided_regex": pattern, "max_output_tokens": 100})["choices"][0]
                assert re.fullmatch(pattern, r["text"]), (pattern, r)
        assert s.post("/v1/completions", {"prompt": "x", "guided_choice": ["apple", "pear"]})["choices"][0]["text"] in ("apple", "pear")
    assert len(lines) > 50, len(lines)
    check = "import json, sys, jsonschema\nfor l in sys.stdin:\n  s, v = json.loads(l)\n  jsonschema.Draft202012Validator(s, format_checker=jsonschema.FormatChecker()).validate(v)\n"
    done(python_clients(), "-c", check, stdin="\n".join(lines))
    return len(lines) + 37


GRAMMARS = [('root ::= "a"{5}', "a{5}"), ("root ::= (word | number) [.!]\nword ::= [A-Z] [a-z]{2,6} # a name\nnumber ::= [0-9]{3} ( \",\" [0-9]{3} )*\n", r"([A-Z][a-z]{2,6}|\d{3}(,\d{3})*)[.!]")]


@test
def serve_speaks_as_llama_server_does():
    """Its /completion, grammars in its notation, /apply-template, prompts of tokens and texts mixed, biases of texts."""
    with Server(tiny()) as s:
        ask = {"prompt": "Once upon a time", "n_predict": 12, "seed": 7}
        whole, openai = s.post("/completion", dict(ask, return_tokens=True, n_probs=3)), s.post("/v1/completions", {"prompt": ask["prompt"], "max_tokens": 12, "seed": 7})
        assert whole["content"] == openai["choices"][0]["text"] and whole["stop"] and whole["stop_type"] == "limit" and whole["prompt"] == ask["prompt"]
        assert whole["tokens_predicted"] == 12 == len(whole["tokens"]) and whole["tokens_evaluated"] == openai["usage"]["prompt_tokens"]
        assert s.post("/detokenize", {"tokens": whole["tokens"]})["content"].strip() == whole["content"].strip()
        probs = whole["completion_probabilities"]
        assert [p["id"] for p in probs] == whole["tokens"] and all(len(p["top_logprobs"]) == 3 and bytes(p["bytes"]).decode() == p["token"] for p in probs)
        assert whole["generation_settings"]["n_predict"] == 12 and whole["generation_settings"]["seed"] == 7 and whole["timings"]["predicted_n"] == 12
        code, data, r = s.ask("POST", "/completion", dict(ask, stream=True))
        assert code == 200 and r.getheader("Content-Type") == "text/event-stream"
        pieces = [json.loads(e[6:]) for e in data.decode().split("\n\n") if e]
        assert "".join(p["content"] for p in pieces) == whole["content"] and [t for p in pieces for t in p["tokens"]] == whole["tokens"]
        assert [p["stop"] for p in pieces] == [False] * (len(pieces) - 1) + [True] and pieces[-1]["generation_settings"]["n_predict"] == 12
        code, data, r = s.ask("POST", "/completion", dict(ask, stream=True, n_probs=3))
        pieces = [json.loads(e[6:]) for e in data.decode().split("\n\n") if e]
        assert "".join(p["content"] for p in pieces) == whole["content"] and [p["tokens"] for p in pieces] == [[t] for t in whole["tokens"]] + [[]]
        assert [p["completion_probabilities"][0] for p in pieces[:-1]] == probs and [p["content"] for p in pieces[:-1]] == [p["token"] for p in probs]
        for want, set in ((1, {"temperature": 0}), (4, {"top_k": 4, "temperature": 3, "top_p": 1}), (10, {"top_k": 0, "top_p": 1, "min_p": 0, "temperature": 2}),
                          (2, {"temperature": 5, "grammar": 'root ::= "a" | "b"', "top_p": 1, "top_k": 0})):
            after = s.post("/completion", dict(ask, n_probs=10, post_sampling_probs=True, **set))
            for p in after["completion_probabilities"]:
                chances = [t["prob"] for t in p["top_probs"]]
                assert len(chances) == 10 == len({t["id"] for t in p["top_probs"]}) and chances == sorted(chances, reverse=True)
                assert sum(c > 0 for c in chances) == want and 0 < p["prob"] <= 1 and "logprob" not in p and all("logprob" not in t for t in p["top_probs"])
                assert sum(chances) < 1 + 1e-6 and p["prob"] in [t["prob"] for t in p["top_probs"] if t["id"] == p["id"]] or want == 10
                assert abs(sum(chances) - 1) < 1e-6 or want == 10, chances
        word = s.post("/completion", dict(ask, n_predict=-1, stop=["zzz", "."]))
        assert word["stop_type"] == "word" and word["stopping_word"] == "." and "." not in word["content"] and word["tokens"] == []
        ids = s.post("/tokenize", {"content": ask["prompt"], "add_special": True})["tokens"]
        several = s.post("/completion", dict(ask, prompt=[ask["prompt"], ids, {"prompt_string": ask["prompt"]}]))
        assert [x["content"] for x in several] == [whole["content"]] * 3 and [x["index"] for x in several] == [0, 1, 2]
        assert s.post("/completion", dict(ask, prompt=[*ids[:2], "a dog", *ids[2:]]))["tokens_evaluated"] > len(ids)
        first = s.post("/v1/embeddings", {"input": [ids, ask["prompt"]]})["data"]
        assert first[0]["embedding"] == first[1]["embedding"] and s.post("/v1/embeddings", {"input": ids})["data"][0]["embedding"] == first[0]["embedding"]
        never = s.post("/completion", dict(ask, n_predict=60, temperature=0, logit_bias=[[" the", False], [" was", -100]]))["content"]
        assert " the " not in never and " was " not in never
        assert s.post("/apply-template", {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}) == {"prompt": "a\nb"}
        for grammar, pattern in GRAMMARS:
            for seed in range(8):
                a = s.post("/completion", {"prompt": "Once", "seed": seed, "temperature": 1.5, "n_predict": 100, "grammar": grammar})
                b = s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Once"}], "seed": seed, "max_tokens": 100, "grammar": grammar})
                assert re.fullmatch(pattern, a["content"]) and re.fullmatch(pattern, b["choices"][0]["message"]["content"]), (a, b)
        for body, param in ((dict(ask, grammar="root ::= ("), "grammar"), (dict(ask, grammar="root ::= root"), "grammar"), (dict(ask, n_probs=99), "n_probs"),
                            (dict(ask, post_sampling_probs=3), "post_sampling_probs"), (dict(ask, grammar="root ::= [a]", guided_regex="a"), "grammar"), ({}, "prompt")):
            assert s.post("/completion", body, 400)["error"]["param"] == param, body
    return 60


@test
def serve_goes_on_from_the_assistants_words():
    """Messages that end with the assistant's: the reply continues them."""
    model = path("template.gguf")
    gguf.write_first_layers(TINY, model, 5, "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}")
    asked, begun = {"role": "user", "content": "A story."}, {"role": "assistant", "content": "Once upon a"}
    with Server(chip(model, "--bits", "4")) as s:
        for messages, prompt in (([asked], "[user] A story.\n[assistant] "), ([asked, begun], "[user] A story.\n[assistant] Once upon a"),
                                 ([asked, begun, asked], "[user] A story.\n[assistant] Once upon a\n[user] A story.\n[assistant] ")):
            assert s.post("/apply-template", {"messages": messages}) == {"prompt": prompt}
            reply = s.post("/v1/chat/completions", {"messages": messages, "max_tokens": 12, "seed": 3})
            assert reply["choices"][0]["message"]["content"] == s.post("/completion", {"prompt": prompt, "n_predict": 12, "seed": 3})["content"], messages
    return 6


# ---- errors and limits -------------------------------------------------------------------------------------------------------

@test
def serve_says_what_is_wrong():
    chat = {"messages": [{"role": "user", "content": "x"}]}
    bad = [
        ("/v1/chat/completions", b"", 400, None), ("/v1/chat/completions", b"{", 400, None), ("/v1/chat/completions", b"[]", 400, None),
        ("/v1/chat/completions", b'{"messages":[],"messages":[]}', 400, None), ("/v1/chat/completions", b"[" * 100, 400, None),
        ("/v1/chat/completions", b'{"messages":"\xff"}', 400, None), ("/v1/chat/completions", {}, 400, "messages"),
        ("/v1/chat/completions", {"messages": [{"role": "robot", "content": "x"}]}, 400, "messages"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages"),
        ("/v1/chat/completions", dict(chat, temperature=-1), 400, "temperature"), ("/v1/chat/completions", dict(chat, temperature="hot"), 400, "temperature"),
        ("/v1/chat/completions", dict(chat, top_p=2), 400, "top_p"), ("/v1/chat/completions", dict(chat, n=0), 400, "n"),
        ("/v1/chat/completions", dict(chat, stream="yes"), 400, "stream"), ("/v1/chat/completions", dict(chat, stop=["a"] * 17), 400, "stop"),
        ("/v1/chat/completions", dict(chat, logit_bias={"99999": 1}), 400, "logit_bias"), ("/v1/chat/completions", dict(chat, top_logprobs=2), 400, "top_logprobs"),
        ("/v1/chat/completions", dict(chat, response_format={"type": "xml"}), 400, "response_format"),
        ("/v1/chat/completions", dict(chat, response_format={"type": "json_schema", "json_schema": {"schema": {"not": {}}}}), 400, "response_format"),
        ("/v1/chat/completions", dict(chat, tools=[{"type": "function", "function": {"name": "a b"}}]), 400, "tools"),
        ("/v1/chat/completions", dict(chat, tool_choice="required"), 400, "tool_choice"),
        ("/v1/completions", {}, 400, "prompt"), ("/v1/completions", {"prompt": [99999]}, 400, "prompt"),
        ("/v1/completions", {"prompt": "x", "best_of": 3}, 400, "best_of"), ("/v1/completions", {"prompt": "x", "guided_regex": "("}, 400, "guided_regex"),
        ("/v1/embeddings", {"input": 3}, 400, "input"), ("/tokenize", {"content": 3}, 400, "content"), ("/detokenize", {"tokens": [-1]}, 400, "tokens"),
    ]
    with Server(tiny()) as s:
        for where, body, status, param in bad:
            code, data, _ = s.ask("POST", where, body)
            assert code == status, (where, body, code, data)
            e = json.loads(data)["error"]
            assert e["message"] and e["type"] == "invalid_request_error" and e["param"] == param, (where, body, code, data)
        code, data, _ = s.ask("POST", "/v1/completions", {"prompt": "word " * 600})
        e = json.loads(data)["error"]
        assert code == 400 and e["type"] == "exceed_context_size_error" and e["n_ctx"] == 512 and e["n_prompt_tokens"] > 512
        for where, body, loc in (("/generate", {"prompt": ["x"], "topk": 9}, "topk"), ("/generate", {"prompt": ["x"], "stop": list("abcde")}, "stop"), ("/generate", {}, "prompt"),
                                 ("/api/chat", {"messages": []}, "messages")):
            code, data, _ = s.ask("POST", where, body)
            d = json.loads(data)["detail"][0]
            assert code == 422 and d["loc"] == ["body", loc] and d["msg"] and d["type"], (where, code, data)
        assert s.ask("GET", "/nothing")[0] == 404 and s.ask("GET", "/../etc/passwd")[0] in (400, 404)
        for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE"):
            code, data, r = s.ask(method, "/v1/completions")
            assert code == 405 and r.getheader("Allow") == "POST, OPTIONS", (method, code)
        code, data, r = s.ask("OPTIONS", "/v1/completions", headers={"Origin": "https://example.org"})
        assert code == 204 and not r.getheader("Access-Control-Allow-Origin")
        code, data, r = s.ask("HEAD", "/health")
        assert code == 200 and not data
        try:
            assert s.ask("POST", "/v1/completions", b'{"prompt":"' + b"x" * (17 << 20) + b'"}')[0] == 413
        except OSError:
            pass  # closed before the client had sent all of it
        assert s.ask("GET", "/v1/models/none")[0] == 404
        text = s.text()
    assert "word word" not in text, "prompts are not logged"
    return len(bad) + 16


@test
def serve_asks_for_keys_and_ends_in_order():
    keys = path("keys")
    open(keys, "w").write("# of the tests\nfirst-key\n")
    body = {"prompt": "Once", "max_tokens": 3}
    with Server(tiny(), "--api-key-file", keys, "--cors", "https://example.org") as s:
        ask = lambda k, where="/v1/completions": s.ask("POST", where, body, {"Authorization": f"Bearer {k}"} if k else {})
        assert ask(None)[0] == 401 and ask("wrong")[0] == 401 and ask("first-key")[0] == 200
        assert json.loads(s.ask("POST", "/generate", body)[1]) == {"detail": "Unauthorized"}
        talk = {"max_tokens": 3, "messages": [{"role": "user", "content": "Once"}]}
        assert json.loads(s.ask("POST", "/v1/messages", talk)[1])["error"]["type"] == "authentication_error"
        assert s.ask("POST", "/v1/messages", talk, {"X-API-Key": "first-key"})[0] == 200
        assert s.ask("GET", "/health")[0] == 200 and s.ask("GET", "/")[0] == 200 and s.ask("GET", "/metrics")[0] == 401
        assert ask("first-key")[2].getheader("Access-Control-Allow-Origin") == "https://example.org"
        open(keys, "w").write("second-key\n")
        s.process.send_signal(signal.SIGHUP)
        wait_for(lambda: ask("second-key")[0] == 200)
        assert ask("first-key")[0] == 401
        open(keys, "w").write("\n")
        s.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "the keys stay" in s.text())
        assert ask("second-key")[0] == 200
    assert "first-key" not in s.text() and "second-key" not in s.text()
    c = chip(TINY, "--bits", "all=8,head=8")
    with Server(c) as s, concurrent.futures.ThreadPoolExecutor() as pool:
        whole = s.post("/v1/completions", {"prompt": "Once", "seed": 1, "ignore_eos": True, "n": 8})["choices"][7]["text"]
        slow = pool.submit(s.post, "/v1/completions", {"prompt": "Once", "seed": 1, "ignore_eos": True, "n": 8})
        wait_for(lambda: slow.done() or s.metric("burin_replies_running") > 0)
        s.process.send_signal(signal.SIGTERM)
        assert slow.result(60)["choices"][7]["text"] == whole, "what runs when the end is asked for is ended"
    for _ in range(5):  # more of them at every moment of the end
        with Server(c) as s:
            while s.process.poll() is None:
                s.process.send_signal(signal.SIGTERM)
    for arguments, what in ((("--port", "99999"), "port"), (("--slots", "0"), "slots"), (("--api-key-file", "/nonexistent"), "nonexistent"), (("--alias", "=x"), "name")):
        r = run(BURIN, "serve", tiny(), *arguments)
        assert r.returncode == 1 and what in r.stderr, (arguments, r.stderr)
    assert run(BURIN, "serve").returncode == 2
    return 20


@test
def serve_turns_away_what_does_not_fit_the_queue():
    with Server(tiny(), "--slots", "1", "--queue", "2") as s:
        code, data, r = s.ask("POST", "/v1/completions", {"prompt": "x", "n": 3})
        assert code == 429 and r.getheader("Retry-After") == "1" and json.loads(data)["error"]["type"] == "rate_limit_error"
        assert s.ask("POST", "/v1/completions", {"prompt": "x", "n": 2, "max_tokens": 5})[0] == 200
    with Server(tiny(), "--alias", f"other={chip(TINY, '--bits', '3')}") as s:
        names = [m["id"] for m in json.loads(s.ask("GET", "/v1/models")[1])["data"]]
        assert names[1] == "other" and len(names) == 2
        a, b = (s.post("/v1/completions", {"model": m, "prompt": "Once", "seed": 1, "max_tokens": 40}) for m in names)
        assert a["model"] == names[0] and b["model"] == "other" and a["system_fingerprint"] != b["system_fingerprint"]
        assert s.ask("POST", "/v1/completions", {"model": "none", "prompt": "x"})[0] == 404
    return 7


@test
def serve_keeps_slots_in_files():
    """What a slot's reply left behind goes to a file and comes back, in the same server and in another; texts stay what they are."""
    folder = path("slots")
    os.makedirs(folder, exist_ok=True)
    prompt = "Once upon a time, there was a little girl named Lily. She liked to play with her friends in the park."
    body = {"prompt": prompt, "max_tokens": 30, "seed": 3, "id_slot": 1}
    def act(s, slot, action, ask=None):
        status, data, _ = s.ask("POST", f"/slots/{slot}?action={action}", ask)
        return status, json.loads(data)
    with Server(tiny(), "--slots", "4", "--slot-save-path", folder) as s:
        first = s.post("/completion", dict(body, n_predict=30))
        assert first["id_slot"] == 1 and first["timings"]["cache_n"] == 0, first
        status, saved = act(s, 1, "save", {"filename": "lily.session"})
        held = first["tokens_evaluated"] + first["tokens_predicted"] - 1  # the last token was not appended
        assert status == 200 and saved["id_slot"] == 1 and saved["filename"] == "lily.session" and saved["timings"]["save_ms"] > 0, saved
        assert saved["n_saved"] == held and saved["n_written"] == os.path.getsize(f"{folder}/lily.session"), (saved, held)
        assert act(s, 1, "erase") == (200, {"id_slot": 1, "n_erased": held})
        assert s.post("/completion", body)["timings"]["cache_n"] == 0, "erased"
        for slot, action, ask, says in ((2, "save", {"filename": "x"}, "holds nothing"), (0, "restore", {"filename": "absent"}, "absent"), (9, "erase", None, "0 to 3"), (-1, "erase", None, "0 to 3"),
                                        ("1x", "erase", None, "0 to 3"), (1, "move", None, "action"), (1, "save", {}, "filename"), (1, "save", {"filename": "../x"}, "filename"),
                                        (1, "save", {"filename": "/etc/x"}, "filename"), (1, "save", {"filename": ".x"}, "filename"), (1, "save", {"filename": "a" * 200}, "filename")):
            status, error = act(s, slot, action, ask)
            assert status == 400 and says in error["error"]["message"] and folder not in error["error"]["message"], (slot, action, ask, error)
        assert s.ask("POST", "/completion", dict(body, id_slot=4))[0] == 400
        with concurrent.futures.ThreadPoolExecutor(8) as pool:  # replies that want one slot come after each other
            same = list(pool.map(lambda k: s.post("/completion", dict(body, id_slot=k % 2)), range(8)))
        assert all(r["content"] == first["content"] and r["id_slot"] == k % 2 for k, r in enumerate(same))
    with Server(tiny(), "--slots", "4", "--slot-save-path", folder, "-t", "1") as s:
        status, back = act(s, 3, "restore", {"filename": "lily.session"})
        assert status == 200 and back["n_restored"] == held and back["n_read"] == saved["n_written"] and back["timings"]["restore_ms"] > 0, back
        again = s.post("/completion", body)
        assert again["content"] == first["content"] and again["timings"]["cache_n"] == first["tokens_evaluated"] - 1, again["timings"]
        open(f"{folder}/bad", "wb").write(open(f"{folder}/lily.session", "rb").read()[:-1])
        status, error = act(s, 0, "restore", {"filename": "bad"})
        assert status == 400 and error["error"]["message"].startswith("bad:"), error
    with Server(tiny()) as s:
        assert act(s, 0, "save", {"filename": "x"})[0] == 501
    r = run(BURIN, "serve", tiny(), "--slot-save-path", "/nonexistent")
    assert r.returncode == 1 and "/nonexistent: expected a folder" in r.stderr, r.stderr
    return 33


@test
def serve_tells_its_slots():
    body = {"prompt": "Once upon a time", "max_tokens": 480, "ignore_eos": True}
    with Server(tiny(), "--slots", "2", "--ctx", "500") as s:
        def slots():
            status, data, _ = s.ask("GET", "/slots")
            assert status == 200
            return json.loads(data)

        name = json.loads(s.ask("GET", "/v1/models")[1])["data"][0]["id"]
        assert slots() == [{"id": i, "model": name, "n_ctx": 500, "is_processing": False} for i in range(2)]
        seen = set()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            replies = [pool.submit(s.post, "/v1/completions", dict(body, seed=k)) for k in range(64)]
            while not all(r.done() for r in replies):
                for x in slots():
                    if x["is_processing"]:
                        n = x["next_token"][0]
                        assert n["n_decoded"] + n["n_remain"] == 480 and x["n_prompt_tokens"] > 3 and x["n_prompt_tokens_cache"] < x["n_prompt_tokens"], x
                        seen.add(x["id"])
        assert all(r.result()["usage"]["completion_tokens"] == 480 for r in replies) and seen == {0, 1}, seen
        assert [x["is_processing"] for x in slots()] == [False, False]
    with Server(tiny(), "--no-slots") as s:
        status, data, _ = s.ask("GET", "/slots")
        assert status == 501 and json.loads(data)["error"]["type"] == "not_supported_error", data
    return 7


@test
def serve_notices_clients_that_leave():
    """In the queue, in prefill, in decode; whether or not the reply is streamed; nothing of them is left at the end (LeakSanitizer)."""
    with Server(tiny(), "--slots", "2", binary=ASAN) as s:
        for k in range(30):
            body = json.dumps({"prompt": "Once upon a time", "ignore_eos": True, "stream": k % 2 == 0, "n": 4}).encode()
            c = socket.create_connection((s.host, s.port))
            c.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            time.sleep(random.Random(k).random() * 0.02)
            c.close()
        wait_for(lambda: s.metric("burin_replies_running") == 0 and s.metric("burin_replies_queued") == 0)
        assert s.metric("burin_replies_cancelled_total") > 30, s.metric("burin_replies_cancelled_total")
        assert s.post("/v1/completions", {"prompt": "Once", "max_tokens": 3})["usage"]["completion_tokens"] == 3
    return 30


@test
def serve_survives_hostile_bytes():
    """A thousand broken requests under the sanitizers: no crash, no 500, no hang; a good request goes through after each hundred."""
    rng = random.Random(11)
    good = b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{"prompt":"On","max_tokens":2}'
    horrors = [b"", b"\r\n", b"GET", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET " + b"/a" * 40000 + b" HTTP/1.1\r\n\r\n",
               b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 9000 + b"\r\n", good.replace(b"30", b"-1"), good.replace(b"30", b"99999999999999999999"), good.replace(b"30", b"0x10"),
               good.replace(b"Content-Length: 30", b"Transfer-Encoding: chunked"), good.replace(b"30", b"29"), good.replace(b"30", b"31"),
               good.replace(b"Content-Length: 30", b"Content-Length: 30\r\nContent-Length: 31"), good.replace(b"Content-Length: 30", b"Transfer-Encoding: chunked\r\nContent-Length: 30"),
               b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", good + good + good, good.replace(b"On", b"\x00\xff"),
               b"GET http://[::1/ HTTP/1.1\r\n\r\n", b"GET /%00%ff%2e%2e/ HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
               b"POST /v1/completions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"]
    n = 0
    with Server(tiny(), binary="build/asan/burin") as s:
        for i in range(1000):
            h = horrors[i] if i < len(horrors) else bytearray(rng.choice(horrors[1:] + [good] * 10))
            if i >= len(horrors):
                for _ in range(rng.randrange(1, 5)):
                    at = rng.randrange(len(h))
                    k = rng.randrange(4)
                    if k == 0: h[at] = rng.randrange(256)
                    elif k == 1: del h[at:at + rng.randrange(1, 20)]
                    elif k == 2: h[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
                    else: h[at:at] = h[at // 2:at]
                    if not h: h = bytearray(b"x")
            out = s.raw(bytes(h))
            assert not re.match(rb"HTTP/1.[01] 50[02-9]", out), (bytes(h)[:300], out[:300])
            assert s.process.poll() is None, (bytes(h)[:300], s.text()[-3000:])
            n += 1
            if i % 100 == 0:
                assert s.post("/v1/completions", {"prompt": "Once", "max_tokens": 2})["usage"]["completion_tokens"] == 2
        for where, body in (("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_object"}, "max_tokens": 30, "n": 3, "logprobs": True}),
                            ("/api/chat", {"messages": [{"role": "user", "content": "x"}], "attachment": {"name": "a", "content": "b"}}), ("/v1/embeddings", {"input": ["a", "b"]})):
            assert s.ask("POST", where, body)[0] == 200
    return n


@test
def serve_drops_requests_that_drip():
    """A byte now and then keeps a connection from falling silent, but not from the limit on a whole request; others are served meanwhile."""
    with Server(tiny()) as s:
        c = socket.create_connection((s.host, s.port))
        start, closed = time.time(), None
        c.sendall(b"POST /v1/completions HTTP/1.1\r\nX: ")
        c.setblocking(False)
        while not closed and time.time() - start < 50:
            try:
                c.send(b"x")
                closed = c.recv(100) == b"" and time.time()
            except BlockingIOError:
                pass
            except OSError:
                closed = time.time()
            time.sleep(1)
            assert s.post("/v1/completions", {"prompt": "Once", "max_tokens": 2})["usage"]["completion_tokens"] == 2
        assert closed and 25 < closed - start < 45, closed and closed - start
    return 1


# ---- clients that others wrote -----------------------------------------------------------------------------------------------

@test
def serve_speaks_with_python_clients():
    with Server(tiny()) as s:
        return int(done(python_clients(), "test/clients/client.py", s.url, timeout=120))


@test
def serve_speaks_with_javascript_clients():
    with Server(tiny()) as s:
        return node("client.mjs", s.url)


@test
def serve_speaks_the_published_chips_protocols():
    """/generate and /api/chat as clients of the published chip send and read them."""
    with Server(tiny()) as s:
        r = s.post("/generate", {"prompt": ["Once upon a time", "The dog"], "min_output_tokens": 5, "max_output_tokens": 12, "topk": 1, "echo": True})
        assert [c["index"] for c in r["choices"]] == [0, 1] and r["choices"][0]["text"].startswith("Once upon a time")
        again = s.post("/generate", {"prompt": ["Once upon a time"], "max_output_tokens": 12})
        assert r["choices"][0]["text"] == "Once upon a time" + again["choices"][0]["text"], "topk 1 is greedy"
        events = s.stream("/generate", {"prompt": ["Once upon a time"], "max_output_tokens": 12})
        assert all(isinstance(c["text"], str) and isinstance(c["index"], int) for e in events for c in e["choices"])
        code, data, r = s.ask("POST", "/api/chat", {"messages": [{"id": "1", "role": "user", "content": "Once upon a time"}],
                                                    "chatOptions": {"selectedModel": "llama3.1-8B", "systemPrompt": "Be kind.", "topK": 8},
                                                    "attachment": {"name": "n.txt", "size": 3, "content": "owl"}})
        m = re.fullmatch(r"([\s\S]+)<\|stats\|>(\{.*\})<\|/stats\|>", data.decode())
        stats = json.loads(m.group(2))
        assert code == 200 and r.getheader("Content-Type").startswith("text/plain")
        assert stats["decode_tokens"] > 0 and stats["total_tokens"] == stats["prefill_tokens"] + stats["decode_tokens"] and stats["done_reason"] in ("stop", "length")
        assert set(stats) >= {"ttft", "prefill_tokens", "prefill_rate", "decode_tokens", "decode_rate", "total_tokens", "total_time", "done_reason"}
        assert json.loads(s.ask("GET", "/api/health")[1]) == {"status": "ok", "queue_size": 0, "current_adapter": None}
        assert json.loads(s.ask("GET", "/models")[1])["models"] and json.loads(s.ask("GET", "/api/models")[1])["data"]
    return 9


@test
def serve_keeps_to_its_openapi_document():
    """Requests generated from /openapi.json: what satisfies it is answered as it says, what does not is refused."""
    os.makedirs(path("generated"), exist_ok=True)
    with Server(tiny(), "--slot-save-path", path("generated")) as s:
        r = run(os.path.join(os.path.dirname(python_clients()), "schemathesis"), "--config-file", "test/clients/schemathesis.toml", "run", f"{s.url}/openapi.json", "--url", s.url, "--max-examples", "40", "--checks", "all",
                # keys are not asked for here; tokens beyond a vocabulary satisfy the document
                "--exclude-checks", "allow_header_conformance,ignored_auth,positive_data_acceptance", "--request-timeout", "20",
                "--continue-on-failure", "--workers", "1",  # ast.parse of CPython 3.11 is not safe in threads
                "--generation-deterministic", timeout=500)
        m = re.search(r"(\d+) generated", r.stdout)
        assert r.returncode == 0 and m, r.stdout[-4000:]
    return int(m.group(1))


@test
def serve_page_works_in_a_browser():
    browser = shutil.which("chromium")
    if not browser:
        raise Skip("chromium is not installed")
    out = path("page")
    os.makedirs(out)
    with Server(tiny()) as s:
        return node("page.mjs", s.url + "/", browser, out)


@test
def serve_examples_run():
    with Server(tiny()) as s:
        assert done("sh", "examples/fast.sh", s.url).count("\n") == 21
        assert "calls weather" in done(python_clients(), "examples/tools.py", s.url)
        assert "50 rows" in done("node", "examples/batch.mjs", s.url, "50")
        # every option of the unit is one that systemd knows, where it is here to ask
        if shutil.which("systemd-analyze"):
            unit = open("examples/burin.service").read().replace("/usr/local/bin/burin", os.path.abspath(BURIN))
            open(path("burin.service"), "w").write(unit)
            done("systemd-analyze", "verify", "--man=no", path("burin.service"))
    return 3
