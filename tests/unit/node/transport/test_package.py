import subprocess
import sys


def test_importing_the_port_stays_light() -> None:
    """The port and its records load neither sockets' TLS nor certificates."""
    code = (
        "import sys, pnyx.node.transport; "
        "print([n for n in ('torch', 'cryptography', 'pyarrow', 'sqlcipher3') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
