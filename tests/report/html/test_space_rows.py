"""What the section on space leaves out of very many snapshots, and that it says so."""

import json

import pytest

from qcow2_dump.events import ImagePictured
from qcow2_dump.operations.reporting import run_reports
from qcow2_dump.operations.requests import ReportRequest
from qcow2_dump.report.html.page import image_page
from tests.builder.build import build
from tests.builder.spec import Data, ImageSpec, SnapshotSpec


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of 25 snapshots with two clusters each, two of which always have one in common."""
    snapshots = [
        SnapshotSpec(
            str(n),
            f"daily-{n}",
            content={2 * n: Data(n), 2 * n + 1: Data(n)},
            shared=frozenset(),
            from_snapshot={2 * (n - 1): n - 1} if n % 2 else {},
        )
        for n in range(25)
    ]
    spec = ImageSpec(cluster_bits=12, virtual_size=1 << 20, snapshots=tuple(snapshots))
    path = str(build(spec).write_to(tmp_path_factory.mktemp("many") / "disk.qcow2"))
    request = ReportRequest(images=(path,), output="report.html")
    (event,) = (e for e in run_reports(request) if isinstance(e, ImagePictured))
    return image_page(event, "1.2.3")


def test_the_chart_never_leaves_out_the_active_layer(page: str) -> None:
    data = json.loads(page.partition('id="report-data">')[2].partition("</script>")[0])
    labels = data["charts"]["space"]["labels"]
    assert len(labels) == 20
    assert labels[-1] == "active"
    assert "The chart leaves out 6 more snapshots with less of their own." in page


def test_sets_that_are_left_out_are_counted(page: str) -> None:
    table = page.partition("<h3>Deleted together</h3>")[2].partition("</div>")[0]
    assert table.count("<tr>") == 11
    assert "Left out: 3 more sets." in table
    assert "du" in table
    assert "--sets --json</code> has all members of each" in table
