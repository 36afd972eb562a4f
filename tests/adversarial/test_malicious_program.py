"""Programs that would make a node run, allocate or look up what it should not.

Each is refused with one sentence, in a child process with little memory and little time: what a
proposer writes may not cost an owner more than reading it. The child never imports torch, so
nothing can have been computed.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from pnyx.errors import TrainingError
from pnyx.learning.programs import encode_program, mlp, read_program

GROWTH_BYTES_MAX = 64 << 20
CPU_SECONDS_MAX = 1.0  # for one program; most take a millisecond
BATCH = 64

JUDGE = f"""
import resource, sys, time
import msgspec
from pnyx.errors import TrainingError
from pnyx.learning.programs import audit, read_program
programs = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=dict[str, bytes])
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + {GROWTH_BYTES_MAX}
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
answers = {{}}
for name, data in programs.items():
    start = time.process_time()
    seconds = int(start) + 30
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
    try:
        audit(read_program(data), {BATCH})
        answer = "accepted"
    except TrainingError as error:
        answer = str(error)
    answers[name] = (answer, time.process_time() - start)
assert "torch" not in sys.modules
sys.stdout.buffer.write(msgspec.msgpack.encode(answers))
"""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
pytestmark = on_linux


def judged(programs: Mapping[str, bytes]) -> dict[str, str]:
    """What a node answers to each program: the sentence that refuses it, or "accepted"."""
    child = subprocess.run(
        [sys.executable, "-c", JUDGE],
        input=msgspec.msgpack.encode(programs),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr.decode()[-2000:]
    answers = msgspec.msgpack.decode(child.stdout, type=dict[str, tuple[str, float]])
    slow = {name: seconds for name, (_, seconds) in answers.items() if seconds > CPU_SECONDS_MAX}
    assert not slow
    assert all(len(answer) < 400 for answer, _ in answers.values())
    return {name: answer for name, (answer, _) in answers.items()}


def without(programs: Mapping[str, bytes], *expected: str) -> dict[str, str]:
    """The programs whose refusal does not say what is expected."""
    answers = judged(programs)
    return {
        name: answer
        for name, answer in answers.items()
        if not all(each in answer for each in expected)
    }


def parameter(name: str, *shape: int, local: bool = False) -> dict[str, Any]:
    """A parameter as it is written."""
    return {"name": name, "shape": shape, "centre": 0.0, "spread": 0.5, "local": local}


def program(*operations: Any, **changes: Any) -> dict[str, Any]:
    """A linear model, written out, after `operations`, whose values begin at 4."""
    first = 4 + len(operations)
    return {
        "width": 8,
        "classes": 3,
        "parameters": [
            parameter("weight", 3, 8),
            parameter("bias", 3),
        ],
        "operations": [
            *operations,
            ["linear", [0, 2, 3]],
            ["cross_entropy", [first, 1, None, -100, 0.0]],
            ["argmax", [first, 1, False]],
            ["eq.Tensor", [first + 2, 1]],
            ["cast", [first + 3, "float32"]],
        ],
        "loss": first + 1,
        "score": first + 4,
        **changes,
    }


def written(value: Any) -> bytes:
    """Canonical JSON of something that need not be a program."""
    return json.dumps(value, separators=(",", ":")).encode()


def test_the_programs_attacked_here_are_otherwise_good():
    programs = {
        "linear": written(program()),
        "with more": written(program(["relu", [0]], ["neg", [4]])),
        "built in": encode_program(mlp((42, 64, 6))),
    }
    assert set(judged(programs).values()) == {"accepted"}


def on_last(count: int, make: Any) -> list[Any]:
    """Operations made from the number of the value before them."""
    return [make(3 + number if number else 0) for number in range(count)]


NAMES = {
    "system call": ["os.system", ["id"]],
    "attribute": ["__class__", [0]],
    "path": ["add.__class__", [0, 0]],
    "custom operation": ["mylib::evil", [0]],
    "while loop": ["while_loop", [0]],
    "views by stride": ["as_strided", [0, [1000000], [1]]],
    "in place": ["relu_", [0]],
    "in place on a parameter": ["mul_.Tensor", [2, 2]],
    "file": ["from_file", ["x"]],
    "empty memory": ["empty", [[10]]],
    "size as a number": ["sym_size", [0, 0]],
}


def test_operations_that_are_not_in_the_table():
    programs = {name: written(program(each)) for name, each in NAMES.items()}
    assert not without(programs, "operation 0", "not one that this version of Pnyx knows")


REFERENCES = {
    "forward": ["relu", [5]],
    "itself": ["relu", [4]],
    "negative": ["relu", [-1]],
    "far": ["relu", [10**6]],
    "a truth value": ["relu", [True]],
    "a real number": ["relu", [0.0]],
    "a word": ["relu", ["inputs"]],
    "a list": ["relu", [[0]]],
    "nothing": ["relu", [None]],
    "inside a list": ["cat", [[0, 9], 1]],
    "an empty list": ["cat", [[], 1]],
    "a word in a list": ["cat", [[0, "inf"], 1]],
}


def test_references_to_anything_but_values_before():
    programs = {name: written(program(each)) for name, each in REFERENCES.items()}
    assert not without(programs, "refused: operation 0", "value")


SIZES = {
    "huge factory": [["full", [[10**6, 10**6], 0.0, "float32"]]],
    "factory of many axes": [["full", [[1 << 24] * 8, 0.0, "float32"]]],
    "beyond 64 bits": [["full", [[2**53], 0.0, "float32"]]],
    "no size": [["full", [[0], 0.0, "float32"]]],
    "huge multiple of the batch": [["full", [[-(1 << 24)], 0.0, "float32"]]],
    "too many axes": [["full", [[1] * 9, 0.0, "float32"]]],
    "batch squared": [["full", [[-1, -1, 1 << 20], 0.0, "float32"]]],
    "expanded": [["reshape", [0, [-1, 8, 1]]], ["expand", [4, [-1, 8, 1 << 24]]]],
    "doubled again and again": on_last(60, lambda value: ["cat", [[value, value], 1]]),
    "joined sixteenfold": on_last(20, lambda value: ["cat", [[value] * 16, 0]]),
    "padded": on_last(40, lambda value: ["pad", [value, [0, 1 << 23], 0.0]]),
    "outer products": [
        ["reshape", [0, [-1, 8, 1]]],
        ["expand", [4, [-1, 8, 4096]]],
        ["permute", [5, [0, 2, 1]]],
        ["matmul", [6, 5]],
        ["reshape", [7, [-1, 1 << 24, 1]]],
        ["matmul", [8, 8]],
    ],
    "broadcast exponentially": [
        *(["reshape", [2, [1] * axis + [24] + [1] * (6 - axis)]] for axis in range(7)),
        *(["add.Tensor", [4 if axis == 1 else 9 + axis, 4 + axis]] for axis in range(1, 7)),
    ],
    "wide convolution": [
        ["reshape", [0, [-1, 1, 8]]],
        ["full", [[1 << 20, 1, 8], 0.0, "float32"]],
        ["conv1d", [4, 5, None, [1], [8], [1], 1]],
    ],
    "convolution padded far": [
        ["reshape", [0, [-1, 1, 8]]],
        ["full", [[1, 1, 1], 0.0, "float32"]],
        ["conv1d", [4, 5, None, [1], [1 << 24], [1], 1]],
    ],
    "rows of a huge table": [
        ["full", [[1 << 20, 4096], 0.0, "float32"]],
    ],
    "long recurrence": [
        ["full", [[1, 1 << 20, 1], 0.0, "float32"]],
        ["full", [[1, 1, 1], 0.0, "float32"]],
        ["full", [[3, 1], 0.0, "float32"]],
        ["full", [[3], 0.0, "float32"]],
        ["gru", [4, 5, [6, 6, 7, 7], 1, False, True]],
    ],
    "layers without weights": [
        ["full", [[1, 1, 1], 0.0, "float32"]],
        ["full", [[3, 1], 0.0, "float32"]],
        ["gru", [4, 4, [5], 1 << 24, False, True]],
    ],
    "attention over a million": [
        ["full", [[1, 1 << 20, 1], 0.0, "float32"]],
        ["attention", [4, 4, 4, None, 0.0, False, None]],
    ],
}


def test_sizes_that_no_node_has_room_for():
    programs = {name: written(program(*each)) for name, each in SIZES.items()}
    assert not without(programs, "refused: operation")


LARGE = [["full", [[2048, 2048], 0.0, "float32"]]]
COSTS = {
    "matrices": program(["full", [[1024, 1024], 0.0, "float32"]], *([["matmul", [4, 4]]] * 900)),
    "many steps of nothing": program(
        ["full", [[1, 30_000, 1], 0.0, "float32"]],
        ["full", [[1, 1, 1], 0.0, "float32"]],
        ["full", [[3, 1], 0.0, "float32"]],
        ["full", [[3], 0.0, "float32"]],
        *([["gru", [4, 5, [6, 6, 7, 7], 1, False, True]]] * 15),
    ),
    "kept results": program(*LARGE, *([["neg", [4]]] * 900)),
    # Each reads eight numbers, and its gradient is as large as the whole table.
    "gradients of a table": program(
        *([["select", [2, 0, 5]]] * 1200), parameters=[parameter("table", 1_000_000, 8)]
    ),
}


def test_work_and_memory_that_grow_with_every_operation():
    programs = {name: written(each) for name, each in COSTS.items()}
    answers = judged(programs)
    broken = {
        name: answer.partition("brings the ")[2].split()[0] for name, answer in answers.items()
    }
    assert broken == {
        "matrices": "work",
        "many steps of nothing": "memory",
        "kept results": "memory",
        "gradients of a table": "work",
    }


ARGUMENTS = {
    "too few": ["softmax", [0]],
    "too many": ["relu", [0, 0]],
    "a type that is none": ["cast", [0, "object"]],
    "a wider type": ["cast", [0, "float64"]],
    "a half type": ["full", [[1], 0.0, "bfloat16"]],
    "a complex type": ["cast", [0, "complex64"]],
    "a number as a type": ["cast", [0, 7]],
    "a real axis": ["softmax", [0, 1.0]],
    "a far axis": ["softmax", [0, 2]],
    "a huge axis": ["softmax", [0, -(2**53)]],
    "a truth value as an axis": ["softmax", [0, True]],
    "a word as a number": ["add.Scalar", [0, "nan"]],
    "a truth value as a number": ["add.Scalar", [0, True]],
    "integers to float arithmetic": ["relu", [1]],
    "integers that are none": ["full", [[1], 0.5, "int64"]],
    "infinite integers": ["full", [[1], "inf", "int64"]],
    "truth values that are none": ["constant", [[2], [0, 2], "bool"]],
    "more numbers than the shape has": ["constant", [[2], [1.0, 1.0, 1.0], "float32"]],
    "fewer numbers than the batch has": ["constant", [[-1], [1.0], "float32"]],
    "axes twice": ["permute", [0, [0, 0]]],
    "no axes": ["sum", [0, [], False]],
    "another number of elements": ["reshape", [0, [-1, 9]]],
    "elements out of the batch": ["reshape", [0, [64, 8]]],
    "a part of the batch": ["select", [0, 0, 5]],
    "the first of the batch": ["slice", [0, 0, 0, 1, 1]],
    "a place beyond": ["select", [0, 1, 8]],
    "a slice beyond": ["slice", [0, 1, 0, 9, 1]],
    "a slice that does not move": ["slice", [0, 1, 0, 8, 0]],
    "a slice backwards": ["slice", [0, 1, 8, 0, -1]],
    "padding that cuts": ["pad", [0, [-4, -4], 0.0]],
    "shapes that do not fit": ["add.Tensor", [0, 2]],
    "probability above one": ["dropout", [0, 1.5]],
    "infinite probability": ["dropout", [0, "inf"]],
    "places that are not whole": ["embedding", [2, 0, None]],
    "padding row beyond": ["embedding", [2, 1, 3]],
    "stride of zero": ["max_pool1d", [0, [2], [0], [0]]],
    "a step beyond all sizes": ["slice", [0, 1, 0, 8, 1 << 25]],
    "another rank": ["conv2d", [0, 2, 3, [1, 1], [0, 0], [1, 1], 1]],
}


def test_arguments_that_an_operation_does_not_take():
    programs = {name: written(program(each)) for name, each in ARGUMENTS.items()}
    assert not without(programs, "refused: operation 0 (")


def test_attention_that_drops_everything():
    """It would divide by nothing."""
    words = ["reshape", [0, [-1, 1, 8]]]
    programs = {
        str(probability): written(
            program(words, ["attention", [4, 4, 4, None, probability, False, None]])
        )
        for probability in (1.0, -0.5, "inf")
    }
    assert not without(programs, "probability outside 0 to 1")


def test_no_size_is_less_simple_than_a_multiple_of_the_batch():
    """What fits for the batch that was audited must fit for every other."""
    operations = [
        ["permute", [0, [1, 0]]],
        ["reshape", [4, [8, 1, -1]]],
        ["full", [[1, 1, 3], 0.0, "float32"]],
        ["conv1d", [5, 6, None, [1], [0], [1], 1]],
    ]
    strided = [*operations[:3], ["conv1d", [5, 6, None, [4], [1], [1], 1]]]
    joined = [["full", [[1, 8], 0.0, "float32"]], ["cat", [[0, 4], 0]]]
    programs = {
        "batch - 2": written(program(*operations)),
        "batch / 4": written(program(*strided)),
        "batch + 1": written(program(*joined)),
    }
    assert not without(programs, "no small multiple")


good = written(program())
BYTES = {
    "empty": b"",
    "not JSON": b"\x80\x04\x95",
    "pickled": b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93.",
    "a list": b"[]",
    "spaces": good.replace(b",", b", ", 1),
    "a key twice": good.replace(b'"width":8,', b'"width":4,"width":8,'),
    "an unknown key": good.replace(b'"width":8,', b'"width":8,"code":"import os",'),
    "another order of keys": good.replace(b'"width":8,"classes":3,', b'"classes":3,"width":8,'),
    "a default left out": good.replace(b',"local":false', b"", 1),
    "escaped letters": good.replace(b'"weight"', b'"\\u0077eight"'),
    "a number written otherwise": good.replace(b"-100,0.0", b"-100,0e0"),
    "NaN": good.replace(b"-100,0.0", b"-100,NaN"),
    "beyond any float": good.replace(b"-100,0.0", b"-100,1e999"),
    "an integer of many digits": good.replace(b"-100", b"-1" + b"0" * 20_000),
    "a real number of many digits": good.replace(b"-100,0.0", b"-100,0." + b"1" * 20_000),
    "a long word": written(program(["x" * 10_000, [0]])),
    "a long name": good.replace(b'"weight"', b'"' + b"w" * 10_000 + b'"'),
    "a name with a line break": good.replace(b'"weight"', b'"weight\\n"'),
    "deep lists": good.replace(b"[0,2,3]", b"[" * 10_000 + b"]" * 10_000),
    "deep objects": good.replace(b'"width":8', b'"x":' + b'{"x":' * 5000 + b"1" + b"}" * 5000),
    "too many arguments": written(program(["cat", [0] * 100])),
    "too many elements": written(program(["full", [[1] * 5000, 0.0, "float32"]])),
    "a million operations": written(program(*([["neg", [0]]] * 1_000_000))),
    "ten megabytes": good + b" " * 10_000_000,
    "too many operations": written(program(*([["neg", [0]]] * 2100))),
    "no operations": written(program(operations=[], loss=0, score=0)),
    "no parameters": written(program(parameters=[])),
    "too many parameters": written(
        program(parameters=[{"name": str(number), "shape": [1]} for number in range(600)])
    ),
    "a negative width": good.replace(b'"width":8', b'"width":-8'),
    "infinite spread": good.replace(b'"spread":0.5', b'"spread":1e300'),
}


def test_bytes_that_are_no_program():
    assert good not in BYTES.values()
    assert not without(BYTES, "The program")


WHOLES = {
    "has more than": {"parameters": [parameter("weight", 100_000, 100_000)]},
    "it has more than": {"parameters": [parameter("weight", *[1 << 24] * 8)]},
    "have one name": {"parameters": [parameter("bias", 3, 8), parameter("bias", 3)]},
    "nothing to learn together": {
        "parameters": [parameter("weight", 3, 8, local=True), parameter("bias", 3, local=True)]
    },
    "value that does not exist": {"loss": 4000},
    "loss is not one float32 number that": {"loss": 8},
    "loss is not one float32": {"loss": 1},
    "score is not one float32 number": {"score": 5},
    "score is not one": {"score": 7},
}


def test_programs_that_make_no_sense_as_a_whole():
    answers = judged({name: written(program(**changes)) for name, changes in WHOLES.items()})
    assert not {name: answer for name, answer in answers.items() if name not in answer}


def test_a_parameter_without_a_part_in_the_loss():
    """It would only spend the norm that an update may have."""
    unused = program()
    unused["operations"][0] = ["linear", [0, 2, None]]
    through_classes = program(["argmax", [2, 1, False]], ["cast", [4, "float32"]])
    through_classes["operations"][2] = ["linear", [0, 2, 5]]
    programs = {"unused": written(unused), "through classes": written(through_classes)}
    assert not without(programs, "parameter bias has no part in the loss")


def test_the_largest_program_is_judged_within_its_limits():
    """As many operations as fit are all looked at."""
    operations = [["neg", [0]]] * 1990
    answers = judged(
        {
            "good": written(program(*operations)),
            "bad": written(program(*operations, ["relu", [9999]])),
        }
    )
    assert answers["good"] == "accepted"
    assert "operation 1990 (relu) refers to" in answers["bad"]


def test_an_altered_program_is_never_taken_for_the_original():
    data = encode_program(mlp((4, 3, 2)))
    for place in range(len(data)):
        for byte in b'0 ",]}e':
            altered = data[:place] + bytes([byte]) + data[place + 1 :]
            if altered != data:
                assert not same(altered, data)


def same(altered: bytes, data: bytes) -> bool:
    try:
        return encode_program(read_program(altered)) == data
    except TrainingError:
        return False


def test_predictions_that_are_none():
    """What owners are shown as predicted may not be copied from what they know already."""
    real = {
        "classes": 0,
        "parameters": [parameter("weight", 1, 8), parameter("bias", 1)],
        "operations": [
            ["linear", [0, 2, 3]],
            ["reshape", [4, [-1]]],
            ["mse_loss", [5, 1]],
            ["add.Tensor", [5, 1]],
            ["mul.Scalar", [7, 0.5]],
        ],
        "loss": 6,
        "score": 5,
    }

    def giving(**changes):
        return written({**program(), **real, **changes})

    assert set(judged({"good": giving(prediction=5), "none": giving()}).values()) == {"accepted"}
    reads = {"at once": giving(prediction=1), "on the way": giving(prediction=8)}
    assert not without(reads, "its prediction depends on the targets")
    shapes = {"a matrix": giving(prediction=4), "a scalar": giving(prediction=6)}
    assert not without(shapes, "its prediction is not one float32 number for each example")
    assert not without({"absent": giving(prediction=40)}, "a value that does not exist")
    with_classes = {"classes": written(program(prediction=8))}
    assert not without(with_classes, "classes and a prediction")
    assert not without({"null": giving(prediction=None)}, "one canonical way")
