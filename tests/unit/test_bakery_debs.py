import pytest

from fleetwide.bakery.apt_words import (
    Download,
    Unmet,
    parse_downloads,
    removed_packages,
    unmet_relations,
)
from fleetwide.bakery.debs import (
    Control,
    check_architecture,
    install_batches,
    installed_controls,
    parse_control,
    unmet_needs,
)
from fleetwide.bakery.packages import dpkg_failure
from fleetwide.errors import (
    ArtifactRejected,
    DependencyUnsatisfied,
    InstallFailed,
    WrongArchitecture,
)

STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9

Package: mawk
Status: install ok installed
Architecture: amd64
Version: 1.3.4-1
Provides: awk, posix-awk (= 2)

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0
"""
INSTALLED = installed_controls(STATUS)


def deb(name: str = "tool", **fields: str) -> Control:
    known = {"Package": name, "Version": "1.0", "Architecture": "all", **fields}
    return parse_control(
        "".join(f"{key.replace('_', '-')}: {text}\n" for key, text in known.items())
    )


@pytest.mark.parametrize(
    "depends",
    [
        "libc6",
        "libc6 (>= 2.30)",
        "nowhere | libc6",
        "awk",
        "posix-awk (>= 1)",
        "libc6:any, mawk (<< 2)",
        "other (= 1.0)",
        "",
    ],
)
def test_what_base_and_debs_have_is_no_need(depends: str) -> None:
    assert unmet_needs([deb(Depends=depends), deb("other")], INSTALLED) == []


@pytest.mark.parametrize(
    "depends", ["nowhere", "libc6 (>= 3)", "awk (>= 1)", "gone", "nowhere | libc6 (<< 1)"]
)
def test_what_is_missing_is_named_with_its_owner(depends: str) -> None:
    [need] = unmet_needs([deb(Depends=f"libc6, {depends}")], INSTALLED)
    assert (need.package, str(need)) == ("tool 1.0", depends)


def test_a_deb_that_replaces_an_installed_one_counts_in_its_stead() -> None:
    newer = deb("libc6", Version="3.0")
    assert unmet_needs([newer, deb(Depends="libc6 (>= 3)")], INSTALLED) == []
    assert len(unmet_needs([newer, deb(Pre_Depends="libc6 (= 2.36-9)")], INSTALLED)) == 1


def test_a_control_file_without_a_version_is_refused() -> None:
    with pytest.raises(ArtifactRejected, match="no Version, Architecture"):
        parse_control("Package: tool\n")


def test_a_deb_for_other_machines_is_refused() -> None:
    check_architecture(deb(), "tool.deb", "amd64")
    with pytest.raises(WrongArchitecture, match=r"tool\.deb is built for s390x.* amd64"):
        check_architecture(deb(Architecture="s390x"), "tool.deb", "amd64")


def test_what_is_pre_depended_on_is_configured_before() -> None:
    debs = [
        deb("tool", Pre_Depends="middle"),
        deb("middle", Pre_Depends="under | nowhere", Depends="beside"),
        deb("under"),
        deb("beside", Depends="under"),
        deb("user", Depends="tool"),
    ]
    assert install_batches(debs) == [[2, 3], [1], [0, 4]]
    assert install_batches([deb("a", Depends="b"), deb("b", Depends="a")]) == [[0, 1]]
    circle = [deb("a", Pre_Depends="b"), deb("b", Pre_Depends="a"), deb("c")]
    assert install_batches(circle) == [[2], [0, 1]]


APT_SAYS = """Reading package lists...
The following packages have unmet dependencies:
 tool : Depends: libnew (>= 2) but 1.0-1 is to be installed
        Depends: nowhere but it is not installable
        Conflicts: mawk
 libx:amd64 : Breaks: liby (< 3) but 2 is to be installed
E: Unable to correct problems, you have held broken packages.
"""


def test_the_table_of_unmet_dependencies_is_read() -> None:
    found = unmet_relations(APT_SAYS)
    assert found == [
        Unmet("tool", "Depends", "libnew (>= 2)", "1.0-1 is to be installed"),
        Unmet("tool", "Depends", "nowhere", "it is not installable"),
        Unmet("tool", "Conflicts", "mawk", ""),
        Unmet("libx", "Breaks", "liby (< 3)", "2 is to be installed"),
    ]
    assert found[0].name == "libnew"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("post-installation script subprocess returned error exit status 1", InstallFailed),
        ("new pre-installation script subprocess returned error exit status 2", InstallFailed),
        ("script subprocess was killed by signal (Killed)", InstallFailed),
        ("tool depends on lib; however: Package lib is not installed.", DependencyUnsatisfied),
        ("package architecture (arm64) does not match system (amd64)", ArtifactRejected),
        ("error creating device: Operation not permitted", ArtifactRejected),
    ],
)
def test_dpkg_s_words_decide_what_went_wrong(line: str, kind: type[Exception]) -> None:
    error = dpkg_failure(["Unpacking tool ...", f"dpkg: {line}"])
    assert type(error) is kind
    assert line in error.message


def test_what_would_be_removed_is_read() -> None:
    told = (
        "The following packages will be REMOVED:\n  one two*\n  three\nThe following NEW packages"
    )
    assert removed_packages(told) == ["one", "two", "three"]
    assert removed_packages(APT_SAYS) == []


def test_what_apt_would_fetch_is_read_with_epochs_and_without_files_at_hand() -> None:
    sha256 = "ab" * 32
    output = (
        "Reading package lists...\n"
        f"'http://deb.example/pool/x_1.deb' x%2dy_1%3a2.0-1~b%2b1_amd64.deb 1234 SHA256:{sha256}\n"
        "'file:/tmp/0.deb' 0.deb 99 SHA256:" + "0" * 64 + "\n"
    )
    assert parse_downloads(output) == [
        Download("x-y", "1:2.0-1~b+1", "amd64", "http://deb.example/pool/x_1.deb", 1234, sha256)
    ]
