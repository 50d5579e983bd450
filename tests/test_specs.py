"""The grammar of specs: every spelling, what it means, how it prints, and what is said of one that cannot be read."""

from __future__ import annotations

import pickle
import random

import pytest

from pnp.specs import Spec, SpecError, number, own_member


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("tv", Spec("tv")),
        (" tv ", Spec("tv")),
        ("tv:", Spec("tv")),
        ("tv:,a=1,", Spec("tv", {"a": "1"})),
        ("tv:tol=1e-3,isotropic = false", Spec("tv", {"tol": "1e-3", "isotropic": "false"})),
        ("moreau:mu=1e+3", Spec("moreau", {"mu": "1e+3"})),
        ("unet.float32", Spec("unet.float32")),
        ("deepinv:TVDenoiser", Spec("deepinv", {}, "TVDenoiser")),
        ("mask:a/b.png,keep=0.5", Spec("mask", {"keep": "0.5"}, "a/b.png")),
        ("blur:kernel=C:/psf=1.png", Spec("blur", {"kernel": "C:/psf=1.png"})),
        ("blur:kernel=a+b (1).png", Spec("blur", {"kernel": "a+b (1).png"})),
        ("blur:kernel=(1).png", Spec("blur", {"kernel": "(1).png"})),
        (r"mask:C:\new\it's.png", Spec("mask", {}, r"C:\new\it's.png")),
        ("trd:weights=a:b", Spec("trd", {"weights": "a:b"})),
        ("red:denoiser=trd:7,sigma=25/255", Spec("red", {"denoiser": "trd:7", "sigma": "25/255"})),
        ("hqs:tau=0.1..0.001@8", Spec("hqs", {"tau": "0.1..0.001@8"})),
    ],
)
def test_every_spelling_without_quotes_and_brackets(text: str, spec: Spec) -> None:
    assert Spec.parse(text) == spec


@pytest.mark.parametrize(
    ("text", "kernel"),
    [
        ('blur:kernel="a, b+c.png"', "a, b+c.png"),
        ("blur:kernel='a, b+c.png', std=2", "a, b+c.png"),
        (r'blur:kernel="C:\new\tab.png"', r"C:\new\tab.png"),
        ('blur:kernel="say ""psf"".png"', 'say "psf".png'),
        ("""blur:kernel='a "b" (c'""", 'a "b" (c'),
        ('blur:kernel=""', ""),
        ('blur:kernel=" a "', " a "),
    ],
)
def test_in_quotes_everything_is_text(text: str, kernel: str) -> None:
    assert Spec.parse(text).options["kernel"] == kernel and Spec.sum(text).plus == ()


def test_brackets_nest() -> None:
    assert Spec.parse("red:denoiser=(trd:size=7,stages=5),sigma=0.03") == Spec(
        "red", {"denoiser": Spec("trd", {"size": "7", "stages": "5"}), "sigma": "0.03"}
    )
    both = Spec("tv", plus=(Spec("haar", {"levels": "2"}, weight=0.5),))
    assert Spec.parse("moreau:prior=(tv+0.5*haar:levels=2), mu=0.01") == Spec("moreau", {"prior": both, "mu": "0.01"})
    assert Spec.parse("moreau(tv+0.5*haar:levels=2):mu=0.01") == Spec("moreau", {"mu": "0.01"}, both)
    assert Spec.parse("vst(unet)") == Spec("vst", {}, Spec("unet")) == Spec.parse("vst:(unet)")
    deep = Spec.parse("pnp(vst(trd:weights='a)b, c')):turns=true")
    assert deep.first == Spec("vst", {}, Spec("trd", {"weights": "a)b, c"}))


def test_text_keeps_the_commas_of_its_brackets() -> None:
    spec = Spec.parse("pnp:denoiser=vst(trd:size=7,stages=5),turns=true")
    assert spec.options == {"denoiser": "vst(trd:size=7,stages=5)", "turns": "true"}


def test_plus_joins_terms_with_weights_but_not_the_digits_of_a_number() -> None:
    found = Spec.sum("tv + 1/4*haar:levels=2+1e+3*red:denoiser=(unet),sigma=1e+0+dip")
    assert [(t.weight, t.name) for t in found.terms] == [(1, "tv"), (0.25, "haar"), (1000, "red"), (1, "dip")]
    assert found.terms[2].options["sigma"] == "1e+0" and all(t.plus == () for t in found.terms)


@pytest.mark.parametrize(
    ("text", "name", "own"),
    [
        ("./mine.py:Mine", "./mine.py:Mine", ("./mine.py", "Mine")),
        ("./mine.py:Mine:size=3,gain=2", "./mine.py:Mine", ("./mine.py", "Mine")),
        ("my nets.py:Mine(unet)", "my nets.py:Mine", ("my nets.py", "Mine")),
        (r"C:\me\mine.py:Mine:3", r"C:\me\mine.py:Mine", (r"C:\me\mine.py", "Mine")),
        ('"a, b+c/mine.py":Mine:size=3', "a, b+c/mine.py:Mine", ("a, b+c/mine.py", "Mine")),
        ("package.nets:Mine:size=3", "package.nets:Mine", ("package.nets", "Mine")),
        ("package.nets:Mine+tv", "package.nets:Mine", ("package.nets", "Mine")),
        ("trd.7:stages=5", "trd.7", None),
        ("name:first", "name", None),
        ("mask:a.py", "mask", None),
        ("mask:file=a.py:b", "mask", None),
    ],
)
def test_a_file_or_module_with_a_name_is_one_name(text: str, name: str, own: tuple[str, str] | None) -> None:
    assert Spec.sum(text).name == name and own_member(name) == own


@pytest.mark.parametrize(
    ("text", "says", "at"),
    [
        ("", "empty spec", 1),
        (":a=1", "empty spec", 1),
        ("tv+", "empty spec", 4),
        ("red:denoiser=()", "empty spec", 15),
        ("tv:a=1,b", "'b' has no value", 8),
        ("tv:a=1,a=2", "'a' is given twice", 8),
        ("tv,a=1", "follow a colon", 3),
        ("x*tv", "'x' is not a weight", 1),
        ("tv+1/0*haar", "'1/0' is not a weight", 4),
        ("red:denoiser=(trd:size=7,sigma=1", "bracket is not closed", 14),
        ("red:denoiser=(trd,size=7)", "follow a colon", 18),
        ('blur:kernel="a.png', 'quote " is not closed', 13),
        ('blur:kernel="a"b', "quotes end here", 16),
        ("vst(unet)x", "quotes around a name that contains brackets", 4),
    ],
)
def test_an_error_is_one_line_that_says_what_and_where(text: str, says: str, at: int) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        Spec.sum(text)
    assert f"at character {at} of {text!r}" in str(caught.value) and "\n" not in str(caught.value)


ALPHABET = "ab2eE.:=,+*()'\" \\/-"


def drawn(rng: random.Random, depth: int = 0) -> Spec:
    """A random spec: names and values of every awkward character, sums and specs inside."""

    def text(least: int) -> str:
        return "".join(rng.choices(ALPHABET, k=rng.randint(least, 8)))

    def value() -> str | Spec:
        return drawn(rng, depth + 1) if depth < 3 and rng.random() < 0.3 else text(0)

    def name() -> str:
        known = ["tv", "trd.7", "net2e", "admm-descent", "./mine.py:Mine", "my.nets:Mine"]
        return rng.choice([*known, f"{text(0)}.py:Mine", text(1).strip()]) or "x"

    def term() -> Spec:
        options = {key: value() for key in rng.sample(["a", "size", "key_2", "k-3"], rng.randint(0, 3))}
        return Spec(name(), options, rng.choice([None, value()]), rng.choice([1.0, 0.5, 1e300, 1 / 3]))

    first, *rest = (term() for _ in range(rng.choice([1, 1, 2, 3])))
    return Spec(first.name, first.options, first.first, first.weight, tuple(rest))


def test_what_a_spec_prints_is_the_spec() -> None:
    rng = random.Random(0)
    specs = [drawn(rng) for _ in range(3000)]
    for spec in specs:
        assert (again := Spec.sum(str(spec))) == spec and hash(again) == hash(spec)
        if not spec.plus and spec.weight == 1:
            assert Spec.parse(str(spec)) == spec
    assert len(set(specs)) > 2500 and sum(bool(s.plus) for s in specs) > 500


def test_a_spec_is_frozen_travels_and_is_a_key() -> None:
    spec = Spec.parse("red:denoiser=(trd:size=7),sigma=0.03")
    assert pickle.loads(pickle.dumps(spec)) == spec and {spec: 1}[Spec.parse(str(spec))] == 1
    with pytest.raises(AttributeError):
        spec.name = "tv"  # type: ignore[misc]


def test_every_text_of_a_spec_is_found() -> None:
    spec = Spec.sum("./mine.py:Mine:psf.png+red:denoiser=(trd:weights=a.st),sigma=1")
    assert list(spec.texts()) == ["./mine.py", "psf.png", "red", "trd", "a.st", "1"]


def test_numbers_and_their_ratios() -> None:
    assert number("25/255") == 25 / 255 and number("-2") == -2
    with pytest.raises(ValueError):
        number("a/b")
