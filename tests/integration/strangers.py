"""Distributions of strangers, as a folder on `PYTHONPATH` shows them to the console script."""


def write_distribution(folder, name, points):
    """Write the metadata of an installed distribution with the entry points `points` (name -> module)."""
    about = folder / f"{name}-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    lines = [f"{point} = {module}\n" for point, module in points.items()]
    (about / "entry_points.txt").write_text("[statusd]\n" + "".join(lines))
