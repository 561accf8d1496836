"""Describe the package in ROOT to dpkg and to people: describe.py ROOT VERSION PYTHON MAINTAINER.

Writes DEBIAN/control, DEBIAN/md5sums and the copyright file, from what is in ROOT.
"""

import hashlib
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
LIBRARIES = {"libgcc_s.so.1": "libgcc-s1", "libstdc++.so.6": "libstdc++6", "libz.so.1": "zlib1g"}
"""What shared objects may need besides the C library, and the package that has it."""
LIBC = re.compile(rb"(?:lib(?:c|m|dl|rt|pthread|util|resolv)|ld-linux[-\w]*)\.so\.\d+\Z")
NEEDED = re.compile(rb"(?<=\0)(?:lib|ld-linux)[\w+.-]*\.so\.\d+(?=\0)")
GLIBC = re.compile(rb"\0GLIBC_(\d+)\.(\d+)")


def libraries(objects: Iterable[Path]) -> list[str]:
    """Return what packages the shared objects want, as dependencies."""
    wanted: set[str] = set()
    versions = [(2, 17)]  # what wheels are built for at the least
    for path in objects:
        data = path.read_bytes()
        versions += [(int(major), int(minor)) for major, minor in GLIBC.findall(data)]
        for name in filter(lambda name: not LIBC.match(name), NEEDED.findall(data)):
            if name.decode() not in LIBRARIES:
                sys.exit(f"{path} may need {name.decode()}: say in describe.py which package has it.")
            wanted.add(LIBRARIES[name.decode()])
    return ["libc6 (>= {}.{})".format(*max(versions)), *sorted(wanted)]


def installed_size(root: Path) -> int:
    """Return the size in KiB as dpkg-gencontrol counts: files rounded up, all else as 1."""
    return sum(
        -(-path.stat().st_size // 1024) if path.is_file() and not path.is_symlink() else 1
        for path in _inside(root)
    )


def checksums(root: Path) -> str:
    """Return the MD5 sums of the files, without those of the configuration, which may change."""
    kept = {line.lstrip("/") for line in (root / "DEBIAN/conffiles").read_text().splitlines()}
    files = (path for path in _inside(root) if path.is_file() and not path.is_symlink())
    names = sorted(str(path.relative_to(root)) for path in files)
    return "".join(
        f"{hashlib.md5((root / name).read_bytes(), usedforsecurity=False).hexdigest()}  {name}\n"
        for name in names
        if name not in kept
    )


def control(root: Path, version: str, python: str, maintainer: str) -> str:
    """Return the control file."""
    objects = [path for path in _inside(root) if ".so" in path.suffixes]
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()
    values = {
        "version": version,
        "architecture": architecture,
        "maintainer": maintainer,
        "size": str(installed_size(root)),
        "depends": ", ".join([python, *libraries(objects)]),
    }
    return (HERE / "control.in").read_text().format_map(values)


def copyrights(packages: Path) -> str:
    """Return a stanza for each library that is in the package, in the format of Debian's copyright files, 1.0."""
    found = importlib.metadata.distributions(path=[str(packages)])
    return "".join(
        f"\nFiles:\n{_places(distribution)}"
        f"Copyright: the authors of {distribution.name} {distribution.version}\n"
        f"License: {_licence(distribution)}\n"
        " Its text is in the folder that ends in .dist-info.\n"
        for distribution in sorted(found, key=lambda distribution: distribution.name.lower())
        if distribution.name != "statusd"
    )


def _places(distribution: importlib.metadata.Distribution) -> str:
    """Return what a library consists of, a line each; ends where it has no licence with it."""
    files = distribution.files or []
    if not any(re.search(r"licen[cs]e|copying", file.name, re.IGNORECASE) for file in files):
        sys.exit(f"{distribution.name} comes without the text of its licence.")
    tops = sorted({file.parts[0] + ("/*" if len(file.parts) > 1 else "") for file in files})
    return "".join(f" opt/statusd/lib/*/site-packages/{top}\n" for top in tops)


def _licence(distribution: importlib.metadata.Distribution) -> str:
    """Return the short name of a licence: the expression, else the classifier, else the first line of the field."""
    metadata = distribution.metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classifiers = [text for text in metadata.get_all("Classifier") or () if text.startswith("License :: ")]
    text = classifiers[0] if classifiers else metadata["License"] or "unknown"
    return re.sub(r"\s+", "-", text.splitlines()[0].rpartition(" :: ")[2])


def _inside(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.relative_to(root).parts[0] != "DEBIAN")


def main(root: Path, version: str, python: str, maintainer: str) -> None:
    """Write the three files."""
    document = root / "usr/share/doc/statusd/copyright"
    packages = root / "opt/statusd/lib" / python / "site-packages"
    document.write_text((HERE / "copyright.in").read_text() + copyrights(packages))
    document.chmod(0o644)
    for name, text in (("md5sums", checksums(root)), ("control", control(root, version, python, maintainer))):
        (root / "DEBIAN" / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
