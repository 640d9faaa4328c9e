"""ipc_job on real hosts, with cron and with systemd: jobs come, move over, bring files to others, and go."""

from __future__ import annotations

import pytest

from tests.jobs.hosts import bundle, changes
from tests.plugins.reached import agent, job, reached

LIB = "/usr/local/lib/ipcops"
UNITS = "/etc/systemd/system"
EXPORTER = "/var/lib/prometheus/node-exporter"
STATE = "/var/lib/ipcops"


@pytest.fixture(scope="module")
def without_systemd():
    with reached("bookworm") as there:
        yield there


@pytest.fixture(scope="module")
def with_systemd():
    with reached("bookworm", systemd=True) as there:
        yield there


def _installed(one):
    """Give a host with the agent alone, and with nothing installed afterwards."""
    assert not one.play(agent()).result["failed"]
    one.with_agent = one.listing()
    yield one
    one.sh(f"sh {LIB}/install.sh --uninstall; rm -rf /var/lib/ipcops /opt/bundle")
    left = changes(one.before, one.listing())
    assert {path: what for path, what in left.items() if not path.startswith("/var/lib/systemd/timers")} == {}


@pytest.fixture
def plain(without_systemd):
    yield from _installed(without_systemd)


@pytest.fixture
def running(with_systemd):
    yield from _installed(with_systemd)


def unchanged(one, *tasks) -> list[dict]:
    """Return the results of tasks that change nothing on the host, whatever they say."""
    before = one.listing(times=True)
    results = one.play(*tasks).results
    assert changes(before, one.listing(times=True)) == {}
    return results


def verified(one) -> None:
    assert "everything is as it was installed" in one.installed("--verify").stdout


# ---------------------------------------------------------------- coming and going


def test_each_job_comes_runs_and_goes(plain):
    jobs = ("cleanup", "monitor", "health")
    plain.sh(f"mkdir -p {EXPORTER}")
    try:
        planned = unchanged(plain, *(job(name, check=True, diff=True) for name in jobs))
        came = plain.play(*map(job, jobs)).results
        for name, plan, one in zip(jobs, planned, came, strict=True):
            assert plan["installed"] == one["installed"] == [f"/etc/cron.d/ipcops-{name}", f"{LIB}/ipc-{name}.sh"]
            assert (one["schedule"], one["started"]) == ("cron", [])
            assert f"root {LIB}/ipc-{name}.sh --spread" in plan["diff"][1]["after"] + plan["diff"][0]["after"]
        assert not any(one["changed"] for one in unchanged(plain, *map(job, jobs), agent()))
        verified(plain)
        for name in jobs:
            plain.job(name=name, check=name != "health")
            assert plain.result(name)["job"] == name
        assert plain.text(f"{EXPORTER}/ipcops.prom")
        planned = unchanged(plain, *(job(name, state="absent", check=True) for name in jobs))
        gone = plain.play(*(job(name, state="absent") for name in jobs)).results
        assert [one["removed"] for one in planned] == [one["removed"] for one in gone]
        assert f"{EXPORTER}/ipcops.prom" in gone[1]["removed"], "nobody would renew it"
        left = changes(plain.with_agent, plain.listing())
        assert set(left) <= {EXPORTER.rpartition("/")[0], EXPORTER, f"{LIB}/installed"} | {
            f"{STATE}/{name}" for name in ("sightings.json", "clock.json", "lock", "journal.jsonl", "backups")
        }
        assert not any(one["changed"] for one in unchanged(plain, *(job(name, state="absent") for name in jobs)))
        verified(plain)
    finally:
        plain.sh("rm -r /var/lib/prometheus")


def test_metrics_that_are_not_ours_stay(plain):
    plain.sh(f"mkdir -p {EXPORTER} && echo theirs >{EXPORTER}/ipcops.prom")
    try:
        plain.play(job("monitor"), job("monitor", state="absent"))
        assert plain.text(f"{EXPORTER}/ipcops.prom") == "theirs\n"
    finally:
        plain.sh("rm -r /var/lib/prometheus")


def test_install_sh_and_ansible_take_over_from_each_other(plain):
    plain.installed("--uninstall")
    plain.bring(bundle("spread=7", whole_machine=False))
    plain.install("--cron", "--monitor")
    results = unchanged(plain, job("cleanup", settings={"spread": 7}), job("monitor", settings={"spread": 7}), agent())
    assert [one["changed"] for one in results] == [False, False, False], results
    moved = plain.play(job("cleanup", settings={"spread": 8}), job("monitor", state="absent")).results
    assert moved[0]["installed"] == [f"{LIB}/ipc-cleanup.sh"]
    assert f"{LIB}/slurm-epilog.sh" not in moved[0]["removed"], "a slurm.conf may name it"
    verified(plain)
    done = plain.install("--health")
    assert f"wrote {LIB}/ipc-monitor.sh" in done.stdout
    assert plain.text("/etc/cron.d/ipcops-health")
    assert not plain.text("/etc/cron.d/ipcops-monitor")
    verified(plain)


# ---------------------------------------------------------------- refusals


def test_wrong_tasks_are_refused(plain):
    wrong = (
        ({"job": "cleanup", "settings": {"spred": 3}}, "unknown setting 'spred'; did you mean 'spread'"),
        ({"job": "cleanup", "settings": {"textfiles": "/x"}}, "'textfiles' is nothing that the job cleanup has here"),
        ({"job": "cleanup", "settings": {"nice": 77}}, "nice: 77 is out of bounds; from 0 to 19"),
        ({"job": "cleanup", "settings": {"schedule": "at noon"}}, "is no time of crontab(5)"),
        ({"job": "cleanup", "alerts_dir": "/etc/x"}, "alerts_dir goes with job: monitor, not with job: cleanup"),
        ({"job": "monitor", "slurm": ["epilog"]}, "slurm goes with job: cleanup"),
        ({"job": "monitor", "settings": {"near_limit": 70}}, "'near_limit' is nothing that the job monitor has here"),
        ({"job": "monitor", "nrpe_dir": "/etc/nagios/nrpe.d"}, "/etc/nagios/nrpe.d is missing; install what reads it"),
        ({"job": "cleanup", "state": "absent", "schedule": "cron"}, "leave out schedule"),
        ({"job": "clean"}, "clean"),
    )
    results = unchanged(plain, *({"ipcops.linux.ipc_job": options} for options, _ in wrong))
    for (options, told), result in zip(wrong, results, strict=True):
        assert result["failed"], options
        assert told in result["msg"], options


def test_without_the_agent_it_says_what_to_run_first(plain):
    plain.installed("--uninstall")
    refused, warned, gone = unchanged(plain, job("cleanup"), job("cleanup", check=True), job("cleanup", state="absent"))
    told = f"the agent is not installed in {LIB}; run the role ipcops.linux.ipc_agent first"
    assert told in refused["msg"]
    assert "Nothing was done" in refused["msg"]
    assert told in warned["warnings"][0]
    assert (warned["failed"], warned["changed"], gone["changed"]) == (False, True, False)
    plain.play(agent())


# ---------------------------------------------------------------- what it brings to others


def test_slurm_scripts_come_and_go_only_when_told(plain):
    both, kept, one, none = plain.play(
        job("cleanup", slurm=["prolog", "epilog"], settings={"settle": 9}),
        job("cleanup"),
        job("cleanup", slurm=["epilog"]),
        job("cleanup", slurm=[]),
    ).results
    scripts = [f"{LIB}/slurm-epilog.sh", f"{LIB}/slurm-prolog.sh"]
    assert [path for path in both["installed"] if "slurm" in path] == scripts
    assert kept["installed"] == [scripts[0]], "with the default of settle"
    assert (one["removed"], none["removed"]) == ([scripts[1]], [scripts[0]])


PROMTOOL = "#!/bin/sh\n[ \"$1 $2\" = 'check rules' ] || exit 9\n! grep 'groups: wrong' \"$3\" || exit 1\n{}\n"


def test_rules_and_drop_ins_come_and_go(plain):
    places = {"alerts": "/etc/prometheus/rules", "nrpe": "/etc/nagios/nrpe.d", "zabbix": "/etc/zabbix/zabbix_agent2.d"}
    plain.sh(f"mkdir -p {' '.join(places.values())} /etc/sudoers.d")
    directories = {f"{name}_dir": path for name, path in places.items()}
    settings = {"near_limit": 61, "nrpe_user": "nrpe"}
    try:
        before = plain.listing()
        came, again = plain.play(*[job("monitor", settings=settings, **directories)] * 2).results
        assert (came["changed"], again["changed"]) == (True, False)
        others = [path for path in came["installed"] if "ipcops-monitor" not in path and LIB not in path]
        assert others == [
            "/etc/nagios/nrpe.d/ipcops-check.cfg",
            "/etc/prometheus/rules/ipcops.rules.yml",
            "/etc/sudoers.d/ipcops-nrpe",
            "/etc/sudoers.d/ipcops-zabbix",
            "/etc/zabbix/zabbix_agent2.d/ipcops-check.conf",
        ]
        assert plain.sh("stat -c %a /etc/sudoers.d/*").stdout.split() == ["440", "440"]
        command = "/usr/local/sbin/ipcops check --deadline 8"
        assert plain.text(others[0]).endswith(f"command[check_ipcops]=sudo {command}\n")
        assert f"nrpe ALL=(root) NOPASSWD: {command}\n" in plain.text(others[2])
        assert plain.sh(command, check=False).returncode in (0, 1, 2, 3)
        assert ">= 0.61\n" in plain.text(others[1])
        verified(plain)
        (gone,) = plain.play(job("monitor", alerts_dir=places["alerts"])).results
        assert gone["removed"] == [others[0], *others[2:]]
        plain.play(job("monitor", state="absent"))
        assert set(changes(before, plain.listing())) <= {f"{LIB}/installed"}
    finally:
        plain.sh("rm -rf /etc/prometheus /etc/nagios /etc/zabbix /etc/sudoers.d")


def test_rules_that_promtool_refuses_change_nothing(plain):
    plain.sh("mkdir -p /etc/prometheus; printf '#!/bin/sh\\necho bad rule; exit 1\\n' >/usr/local/bin/promtool")
    plain.sh("chmod 755 /usr/local/bin/promtool")
    try:
        before = plain.listing()
        result = plain.play(job("monitor", alerts_dir="/etc/prometheus")).result
        assert "promtool refuses /etc/prometheus/ipcops.rules.yml: bad rule; everything is as it was" in result["msg"]
        assert changes(before, plain.listing()) == {}
    finally:
        plain.sh("rm -r /etc/prometheus /usr/local/bin/promtool")


def test_the_directory_of_node_exporter_is_found(plain):
    told = "echo 'ARGS=\"--collector.textfile.directory=/srv/told --web\"' >/etc/default/prometheus-node-exporter"
    try:
        usual = plain.play(job("monitor")).result
        plain.sh(f"mkdir -p /srv/told /srv/runs /srv/asked; {told}; touch {STATE}/jobs/monitor.json")
        by_file = plain.play(job("monitor")).result
        plain.sh("echo old >/srv/told/ipcops.prom")
        asked, again = plain.play(*[job("monitor", settings={"textfiles": "/srv/asked"})] * 2).results
        assert (usual["textfiles"], by_file["textfiles"], asked["textfiles"]) == (EXPORTER, "/srv/told", "/srv/asked")
        assert "/srv/told/ipcops.prom" in asked["removed"]
        assert not again["changed"]
        assert "metrics\t/srv/asked/ipcops.prom\n" in plain.text(f"{LIB}/installed")
        plain.sh("rm /etc/default/prometheus-node-exporter")
        assert plain.play(job("monitor")).result["textfiles"] == "/srv/asked", "as it was"
        # What it is called and told is all that is looked at.
        words = "sh -c 'sleep 60; :' sh --collector.textfile.directory=/srv/runs"
        called = f"exec -a /usr/bin/node_exporter {words}"
        plain.sh('nohup bash -c "$1" >/dev/null 2>&1 & echo $! >/run/exporter.pid', called)
        assert plain.play(job("monitor")).result["textfiles"] == "/srv/runs"
    finally:
        plain.sh("[ ! -e /run/exporter.pid ] || kill $(cat /run/exporter.pid); rm -f /run/exporter.pid")
        plain.sh("rm -rf /srv/told /srv/runs /srv/asked /etc/default/prometheus-node-exporter")


# ---------------------------------------------------------------- systemd


def active(one, timer: str) -> str:
    return one.sh(f"systemctl is-enabled {timer}; systemctl is-active {timer}", check=False).stdout


def test_a_timer_is_started_moved_over_and_stopped(running):
    timer = "ipcops-cleanup.timer"
    came, again = running.play(job("cleanup"), job("cleanup")).results
    assert (came["schedule"], came["started"], again["changed"]) == ("systemd", [timer], False)
    assert active(running, timer) == "enabled\nactive\n"
    verified(running)

    running.sh(f"systemctl stop {timer}")
    repaired = running.play(job("cleanup")).result
    assert (repaired["started"], repaired["installed"]) == ([timer], [])

    later = running.play(job("cleanup", settings={"calendar": "*-*-* 05:00:00", "spread": 0})).result
    assert f"{UNITS}/{timer}" in later["installed"]
    assert " 05:00:00 " in running.sh("systemctl list-timers ipcops-cleanup.timer").stdout
    assert running.sh(f"systemctl show --value -p NeedDaemonReload {timer}").stdout == "no\n"

    (moved,) = running.play(job("cleanup", schedule="cron")).results
    assert (moved["stopped"], moved["schedule"]) == ([timer], "cron")
    assert active(running, timer).splitlines()[-1] == "inactive"
    assert not running.text(f"{UNITS}/{timer}")
    assert running.text("/etc/cron.d/ipcops-cleanup")
    auto, back = running.play(job("cleanup"), job("cleanup", schedule="systemd")).results
    assert (auto["schedule"], auto["changed"]) == ("cron", False), "as it was"
    assert back["removed"] == ["/etc/cron.d/ipcops-cleanup"]
    verified(running)

    gone = running.play(job("cleanup", state="absent")).result
    assert gone["stopped"] == [timer]
    assert set(changes(running.with_agent, running.listing())) <= {f"{LIB}/installed"}


def test_a_timer_that_systemd_refuses_changes_nothing(running):
    timer = "ipcops-monitor.timer"
    # As a calendar it is well written, and no day is the 99th.
    result = running.play(job("monitor", settings={"calendar": "*-99-99"})).result
    assert "everything is as it was" in result["msg"]
    assert changes(running.with_agent, running.listing()) == {}
    running.play(job("monitor"))
    before = running.listing()
    result = running.play(job("monitor", settings={"nice": 3, "calendar": "*-99-99"})).result
    assert result["failed"]
    assert changes(before, running.listing()) == {}
    assert active(running, timer) == "enabled\nactive\n"


def test_units_for_a_systemd_that_does_not_run(plain):
    result = plain.play(job("health", schedule="systemd")).result
    assert result["warnings"] == ["systemd does not run here; enable ipcops-health.timer once it does"]
    assert plain.text(f"{UNITS}/ipcops-health.timer")
    verified(plain)
