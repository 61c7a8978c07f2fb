"""Corelane beside Apache Kafka on this machine: the same loads from the same clients, in alternation. With --variant: builds or
settings of Corelane beside each other.

Writes a report with plots, and every single figure, to docs/benchmarks/. Use `run` beside this file, which makes what is
needed first. README.md beside the folder says what is measured.
"""

import argparse
import dataclasses
import datetime
import os
import platform
import re
import subprocess
import time
from pathlib import Path

import limits
import report
from brokers import KINDS, REPOSITORY, Life, add_variant
from loads import Loads, Sizes
from memory import WarmPages
from profiles import Profiles
from results import Measurement, Results
from suites import SUITES

WORK = REPOSITORY / "tests" / ".work"


def machine() -> str:
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{os.cpu_count()} × {model}, {memory_gb:.0f} GB, Linux {platform.release()}"


def commit() -> str:
    git = ["git", "-C", str(REPOSITORY)]
    short = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True).stdout
    return f"{short} with changes" if changed.strip() else short


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", default=",".join(SUITES), help="which, separated by commas; default: %(default)s")
    parser.add_argument("--kinds", help=f"who, separated by commas; default: {','.join(KINDS)}, or the variants")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=KIND[,binary=PATH][,SETTING=VALUE]...",
                        help="a Corelane of that kind (or direct-2) with another build or other settings; the first is what the others are held against")
    parser.add_argument("--rows", default="", metavar="REGEX", help="only the rows of produce, consume, latency, strict and transactions whose name it matches")
    parser.add_argument("--name", help="of the report, behind the date; default: matrix, and the suites if not all are run")
    parser.add_argument("--rounds", type=int, default=5, help="alternations, over which medians are taken; default: %(default)s")
    parser.add_argument("--warm-mib", type=int, default=3072,
                        help="pages that a host does not take back between rows (README.md), 0 for none; default: %(default)s")
    parser.add_argument("--profile", action="store_true",
                        help="also where the CPU time goes, by perf(1); it has its own cost, so the figures are no measurement")
    parser.add_argument("--quick", action="store_true", help="a minute or so for each suite, to see that everything works")
    sizes = Sizes()
    parser.add_argument("--gib", type=float, help=f"GiB that a row moves; default: {sizes.gib}")
    parser.add_argument("--seconds", type=int, help=f"length of a row that has a rate; default: {sizes.seconds}")
    parser.add_argument("--warm-seconds", type=float, help=f"for which Kafka is warmed; default: {sizes.warm_seconds}")
    parser.add_argument("--load", type=Path, default=WORK / "load", help="the load program, built from load/")
    parser.add_argument("--limits", type=Path, default=WORK / "limits", help="the limits program, built from limits.c")
    parser.add_argument("--warm", type=Path, default=WORK / "warm", help="what keeps pages warm, built from warm.c")
    parser.add_argument("--work", type=Path, default=WORK / "compare", help="where brokers keep their data")
    parser.add_argument("--results", type=Path, default=REPOSITORY / "docs" / "benchmarks", help="where the report goes")
    parser.add_argument("--report", type=Path, nargs="+", metavar="JSON", help="measure nothing, write the report of these files")
    options = parser.parse_args()
    options.suites = options.suites.split(",")
    try:
        options.variants = [add_variant(text) for text in options.variant]
        re.compile(options.rows)
    except (ValueError, re.error) as error:
        parser.error(str(error))
    if (options.variants or options.profile) and not options.name:
        parser.error("--variant and --profile want a --name for what is looked at")
    options.kinds = options.kinds.split(",") if options.kinds else options.variants or list(KINDS)
    for given, known in ((options.suites, SUITES), (options.kinds, KINDS)):
        if unknown := set(given) - set(known):
            parser.error(f"no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    options.sizes = Sizes.quick() if options.quick else sizes
    for name in ("gib", "seconds", "warm_seconds"):
        if (value := getattr(options, name)) is not None:
            setattr(options.sizes, name, value)
    if options.quick:
        options.rounds = 1
    return options


def run_life(
    results: Results, options: argparse.Namespace, warm_pages: WarmPages, profiles: Profiles | None, name: str, kind: str,
    round_number: int,
) -> None:  # fmt: skip
    """One contender through one suite."""
    suite = SUITES[name]
    begun = time.monotonic()
    with Life(kind, options.work / kind, suite.bare_mode, warm_pages) as life:
        loads = Loads(life, options.load, options.sizes, options.rows, bool(options.variants), profiles)
        if suite.is_warmed:
            loads.warm()
        for row, figures in suite.measure(loads):
            results.measurements.append(Measurement(name, row, kind, round_number, figures))
            if profiles:
                profiles.keep(name, row, kind)
            shown = ", ".join(f"{metric} {value:.4g}" for metric, value in figures.items())
            print(f"{name} {round_number}/{options.rounds} {kind}: {row}: {shown}", flush=True)
        told = life.configuration().replace(str(options.work), "WORK").replace(str(REPOSITORY), ".")
        results.configurations.setdefault(f"{kind}, {suite.bare_mode}" if kind == "bare" else kind, told)
    print(f"{name} {round_number}/{options.rounds} {kind}: {time.monotonic() - begun:.0f} s in all", flush=True)


def run_suites(
    results: Results, options: argparse.Namespace, name: str, warm_pages: WarmPages, profiles: Profiles | None
) -> None:
    for suite in options.suites:
        kinds = [kind for kind in options.kinds if kind != "bare" or SUITES[suite].bare_mode]
        for round_number in range(1, options.rounds + 1):
            warm_pages.renew()
            results.limits.append(limits.measure(options.limits, options.work, min(options.sizes.seconds, 3)))
            for kind in kinds:
                run_life(results, options, warm_pages, profiles, suite, kind, round_number)
                # What is measured so far is not lost with what goes wrong later.
                results.save(options.results / f"{name}.json")


def main() -> None:
    options = arguments()
    if options.report:
        write_report(Results.load(options.report), options.results, options.report[0].stem)
        return
    date = datetime.date.today().isoformat()
    settings = {"quick": True} if options.quick else {}
    settings |= {"rounds": options.rounds, "warm_mib": options.warm_mib, **dataclasses.asdict(options.sizes)}
    if options.rows:
        settings["rows"] = options.rows
    if options.profile:
        settings["profiled"] = True
    results = Results(date, commit(), machine(), settings, options.variants)
    options.results.mkdir(parents=True, exist_ok=True)
    is_whole = set(options.suites) == set(SUITES)
    what = [options.name] if options.name else ["matrix", *([] if is_whole else options.suites)]
    name = "-".join([date, *what[:1], *(["quick"] if options.quick else []), *what[1:]])
    profiles = Profiles(options.work) if options.profile else None
    with WarmPages(options.warm, options.warm_mib) as warm_pages:
        run_suites(results, options, name, warm_pages, profiles)
    if profiles:
        profiles.write(options.results / f"{name}.md", profile_head(results))
        return
    write_report(results, options.results, name)


def profile_head(results: Results) -> str:
    return (
        f"# Where CPU time goes\n\n{results.date}, commit {results.commit}, {results.machine}. Milliseconds of the broker's CPU time "
        "per GiB, by samples (`perf record -e cpu-clock -g`) of its process in one round; what the kernel does for it in threads of "
        "its own, writeback among it, is in none. Made by `bench/compare/run --profile`; not a measurement, for that see the other "
        "reports.\n"
    )


def write_report(results: Results, directory: Path, name: str) -> None:
    write = report.write_variants if results.variants else report.write
    print(write(results, directory, name))


if __name__ == "__main__":
    main()
