"""Nasty strings for tokenizers: deterministic, all planes, at least 2,000 of them, as bytes."""
import random

WORDS = ("the of and Hello world I'm you're they'LL don'T it's 's 'S 'Re 've naïve café Straße ΑΒΓδ Привет мир שלום عربي "
         "हिन्दी ภาษาไทย 한국어 日本語 中文字 Việt Łódź İstanbul ﬁ ǅ ª º ⅷ Ⅻ ½ ² ٣ ५ 𝟘𝟙 x86_64 0xFF 3.14 1,000 12345678901234567890 "
         "foo_bar camelCase HTML5 C++ #include <|endoftext|> <|im_start|> <s> </s> [INST] <0x41> ▁ ▁▁ Ġ Ċ").split(" ")
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n", "\n ", "\t\t", "\u00a0", "\u2003", "\u3000", "\u2028", "\u200b",
          "\u1680", "\u205f", "\x0b", "\x0c", "\x1c", "\x1f", "\u180e", "\u2060"]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "❤️", "☎︎", "1️⃣", "🧑🏿‍🚀", "©", "™"]
MARKS = ["e\u0301", "a\u030a\u0327", "\u0301", "q\u0323\u0307", "\u1100\u1161\u11a8", "\u0f71\u0f72", "Å", "ﷺ", "\u212b", "\ufb01", "\u0344", "🤦🏼‍♂️"]
CODE = ["for (int i = 0; i < n; i++) {\n\tx[i] += y[i];\n}\n", "def f(x):\n    return x ** 2  # square\n\n\n", "SELECT * FROM t WHERE a='b';",
        "{\"a\": [1, 2.5e-3, null], \"b\": \"\\u00e9\"}", "<div class=\"x\">\n  <p>…</p>\n</div>", "$ ls -la | grep '^d' && echo \"done\"",
        "a->b::c<d>(e...)", "#!/bin/sh\r\n\r\nexit 0\r\n", "\\begin{equation} E = mc^2 \\end{equation}", "//////", "==========", "-----\n\n\n\n-----"]
BAD = [b"\xff", b"\xfe\xff", b"\x80", b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80",
       b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3(", b"\xe2(\xa1", b"\xf0\x28\x8c\xbc", b"a\xffb", b"\xc3", b"\xef\xbf\xbd", b"\xf0\x90\x80"]


def plane_char(rng):
    while True:
        c = rng.choice([rng.randrange(0x80), rng.randrange(0x80, 0x800), rng.randrange(0x800, 0x10000), rng.randrange(0x10000, 0x20000),
                        rng.randrange(0x20000, 0x110000)])
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def strings(seed=1, count=2400):
    rng = random.Random(seed)
    out = [b"", b" ", b"\n", b"a", b"'", b"''s", "▁".encode(), b"\0", b"a\0b", b" " * 100, b"\n" * 50, b"a" * 300, b"1" * 100,
           b" a" * 50, "é".encode() * 60, "😀".encode() * 40, b"'s" * 30, b"<|im_start|>user\nhi<|im_end|>", b"   leading", b"trailing   ",
           b"  \n  \n x", b"a  \n", b"x \t y", b"don't DON'T Don'T 'twas", b"<s>hi</s> there", b"<unk>", b"a<s>b"]
    out += [s.encode() for s in SPACES + EMOJI + MARKS + CODE + WORDS] + BAD
    for c in range(0x80):
        out.append(bytes([c]) + b"x" + bytes([c]))
    pieces = [lambda: rng.choice(WORDS), lambda: rng.choice(SPACES), lambda: " " + rng.choice(WORDS), lambda: rng.choice(EMOJI),
              lambda: rng.choice(MARKS), lambda: rng.choice(CODE), lambda: plane_char(rng), lambda: str(rng.randrange(10 ** rng.randrange(1, 12))),
              lambda: rng.choice(SPACES) * rng.randrange(1, 6), lambda: "".join(plane_char(rng) for _ in range(rng.randrange(1, 8))),
              lambda: rng.choice("!?.,;:-_()[]{}\"'`~@#$%^&*+=|\\/<>") * rng.randrange(1, 5)]
    while len(out) < count:
        parts = [rng.choice(pieces)().encode("utf8") for _ in range(rng.randrange(1, 12))]
        if rng.random() < 0.15:
            parts.insert(rng.randrange(len(parts) + 1), rng.choice(BAD))
        out.append(b"".join(parts))
    return out
