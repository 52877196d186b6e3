"""What the checks share: where things are, and how the binary is asked."""

import os
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/longshore"
BINARY = Path(os.environ["LONGSHORE_BINARY"])


def start_refused(arguments, variables):
    """Starts a role with these settings on servers that don't exist; what it says if it refuses.

    A role reads all of its settings before it connects, and goes on trying after that. So one that
    begins to try has understood every flag, every variable and every key of its files.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGSHORE")}
    environment.update(variables)
    # Nobody is on port 1. What is not set stays so: the role must not have looked elsewhere.
    nowhere = {"LONGSHORE_ADMIN__LISTEN": "127.0.0.1:0", "LONGSHORE_GATEWAY__LISTEN": "127.0.0.1:0",
               "LONGSHORE_NATS__URL": "nats://127.0.0.1:1", "LONGSHORE_REDIS__URL": "redis://127.0.0.1:1"}
    environment.update({name: value for name, value in nowhere.items() if name in variables})
    with tempfile.TemporaryFile("w+") as log:
        role = subprocess.Popen([BINARY, *arguments], env=environment, stdin=subprocess.DEVNULL,
                                stdout=log, stderr=subprocess.PIPE, text=True)
        try:
            said = []
            for line in role.stderr:
                said.append(line)
                if "can't be reached, trying again" in line:
                    return None if "127.0.0.1:1\"" in line or "127.0.0.1:1 " in line else line
            return "".join(said)
        finally:
            role.kill()
            role.wait()
            role.stderr.close()
