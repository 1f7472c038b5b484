"""Floors of the second road, generous: they find a regression of several times, not a busy machine."""

from __future__ import annotations

from pathlib import Path

import bench_fallback as bench
import pytest


@pytest.mark.slow
def test_writing_xml_stays_ahead_of_the_standard_library_and_checking_costs_no_more() -> None:
    for _ in range(3):
        with bench.folder() as path:
            runs = {
                name: bench.apart("--writer", name, str(path / "file.xml")) for name in (bench.OURS, bench.STANDARD)
            }
        ours, standard = runs[bench.OURS], runs[bench.STANDARD]
        if (
            standard["seconds"] / ours["seconds"] >= 1.3
            and ours["check"] / ours["seconds"] <= 2
            and ours["growth"] <= 8
        ):
            return
    pytest.fail(f"three times below the floor: {runs}")


@pytest.mark.slow
def test_ten_thousand_exhausted_entries_become_files_in_seconds_without_memory_or_holding_the_loop(
    tmp_path: Path,
) -> None:
    figures = bench.apart("--outage", "10000", str(tmp_path))
    assert figures["seconds"] < 20
    assert figures["pause"] < 1.0
    assert figures["growth"] < bench.OUTAGE_GROWTH


@pytest.mark.sshd
async def test_an_upload_is_not_far_behind_opensshs_own_client() -> None:
    if not bench.SSHD.exists():
        pytest.skip("there is no sshd on this machine")
    ((_, ratio, _, _),) = await bench.measure_upload(2)
    assert isinstance(ratio, float)
    assert ratio > 0.3
