"""Makes C++ source of the files of the page: embed.py OUT FILE...

Each becomes the body of the file of that name, which page_resource.cc serves.
"""
import re
import sys
from pathlib import Path


def main(out, *files):
    lines = ["// Made by embed.py.", '#include "target/control/page_resource.h"', "",
             "namespace target::control::page {", ""]
    for path in map(Path, files):
        name = re.sub(r"\W", "_", path.name)
        body = path.read_bytes()
        lines.append(f"const std::string_view {name}(")
        lines += [f'    "{"".join(f"{chr(92)}x{byte:02x}" for byte in body[at:at + 24])}"'
                  for at in range(0, len(body), 24)]
        lines[-1] += f", {len(body)});"
    lines += ["", "}  // namespace target::control::page", ""]
    Path(out).write_text("\n".join(lines), encoding="ascii")


main(*sys.argv[1:])
