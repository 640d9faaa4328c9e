"""``ipcops render``: every value is quoted for where it lands, or refused, and nothing is rendered half."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipcops.core import policy
from ipcops.core.errors import InputError
from ipcops.core.rules.catalogue import BY_ID
from ipcops.render import quote
from ipcops.render.jobs import JOBS
from ipcops.render.settings import BY_NAME, SETTINGS, parse_assignments, values
from ipcops.render.templates import TEMPLATES, _environment, rendered, settings_of
from tests.cli.command import ipcops

NASTY = "a b'c\"d$e`f%g\\h;i|j&k<l>m(n)o#p*q?r[s]t{u}v~w!x=y,z"
PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), min_size=1, max_size=20)
PATHS = PRINTABLE.map(lambda text: "/p" + text).filter(lambda path: "/.." not in path and path.rstrip("/") != "")
SCRIPTS = [name for name, one in TEMPLATES.items() if one.file.endswith(".sh.j2")]


# ---------------------------------------------------------------- where values land


def shell_says(*words: str) -> list[str]:
    """Return what a real shell makes of words that are quoted for it."""
    script = "".join(f"printf '%s\\0' {word}; " for word in words)
    done = subprocess.run(["/bin/sh", "-c", script], check=True, capture_output=True)
    return done.stdout.decode("utf-8").split("\0")[:-1]


@given(st.lists(PRINTABLE, min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_a_shell_gets_the_value_itself(texts):
    assert shell_says(*map(quote.sh, texts)) == texts


def cron_says(command: str) -> str:
    r"""Return the command that cron hands to the shell, as Debian's and Red Hat's do_command.c cut it: at a bare %."""
    kept, escaped = "", False
    for letter in command:
        if escaped:
            kept = (kept[:-1] if letter == "%" else kept) + letter
            escaped = False
        elif letter == "%":
            break
        else:
            kept += letter
            escaped = letter == "\\"
    return kept


@given(PRINTABLE)
@settings(deadline=None)
def test_cron_gets_the_value_itself_or_none(text):
    if "\\" in text:
        with pytest.raises(InputError, match="crontab"):
            quote.cron(text)
    else:
        assert shell_says(cron_says(quote.cron(text))) == [text]


def unit_says(word: str, *, command: bool) -> str:
    """Return what systemd makes of one word: quotes and escapes, specifiers, then variables (systemd.syntax(7))."""
    assert word[0] == word[-1] == '"'
    text = re.sub(r"\\(.)", r"\1", word[1:-1])
    assert not re.search(r'(?<!\\)(?:\\\\)*"', word[1:-1]), "the quotes end at the end"
    assert not re.search(r"(?<!%)(?:%%)*%(?!%)", text), "a specifier"
    text = text.replace("%%", "%")
    if command:
        assert not re.search(r"(?<!\$)(?:\$\$)*\$(?!\$)", text), "a variable"
        text = text.replace("$$", "$")
    return text


@given(PRINTABLE)
def test_systemd_gets_the_value_itself(text):
    assert unit_says(quote.unit_word(text), command=False) == text
    assert unit_says(quote.unit_command(text), command=True) == text


@given(st.characters(categories=["Cc", "Cf", "Zl", "Zp"]), st.sampled_from(list(quote.FILTERS)))
def test_no_place_takes_control_characters(letter, name):
    with pytest.raises(InputError, match="safely"):
        quote.FILTERS[name]("/a" + letter + "b")


@pytest.mark.parametrize("letter", list("\"'\\*?[]{}~"))
def test_logrotate_takes_no_globs_and_quotes(letter):
    with pytest.raises(InputError, match="logrotate"):
        quote.logrotate("/var/log/" + letter)
    assert quote.logrotate("/var/log/a b%$") == '"/var/log/a b%$"'


@pytest.mark.parametrize("letter", list("\"'\\$"))
def test_a_variable_of_cron_takes_no_quotes(letter):
    with pytest.raises(InputError, match="crontab"):
        quote.cron_value("root" + letter)


@pytest.mark.parametrize("text", [" /a", "/a ", "/a #b", "/a ;b"])
def test_a_policy_takes_nothing_that_it_would_cut(text):
    with pytest.raises(InputError, match="policy"):
        quote.ini(text)


def test_a_value_that_lands_unquoted_fails_the_template():
    environment = _environment()
    for text in ("{{ lib }}", "{{ lib ~ 'x' }}", "{{ '%s' | format(lib) }}", "{{ [lib] }}", "{{ lib | upper }}"):
        with pytest.raises(TypeError):
            environment.from_string(text).render(values({}))


# ---------------------------------------------------------------- whole templates


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_renders_with_the_defaults(name):
    text = rendered(name)
    assert text.endswith("\n")
    assert "{%" not in text
    assert "{{" not in text or name == "alerts", "Prometheus' own"
    assert not re.search(r"[ \t]$", text, re.MULTILINE), "blanks at the end of a line"


@pytest.mark.parametrize("name", SCRIPTS)
@given(path=PATHS)
@settings(max_examples=15, deadline=None)
def test_scripts_hold_any_path(name, path):
    paths = [one for one in settings_of(name, {}) if BY_NAME[one].default.startswith("/")]
    text = rendered(name, dict.fromkeys(paths, path))
    assert subprocess.run(["/bin/sh", "-n"], input=text.encode(), check=False).returncode == 0
    found = re.findall(r"^(?:lib|policy|state|log)=(.*)$", text, re.MULTILINE)
    assert shell_says(*found) == [path.rstrip("/")] * len(found)
    assert f"{shlex.quote(path.rstrip('/'))}" in text or f"{shlex.quote(path.rstrip('/') + '/agent')}" in text


@given(path=PATHS)
@settings(max_examples=60, deadline=None)
def test_schedules_and_units_hold_any_path_or_refuse_it(path):
    whole = path.rstrip("/")
    try:
        line = rendered("cron", {"lib": path}).splitlines()[-1]
    except InputError as error:
        assert "\\" in path, error  # noqa: PT017
    else:
        command = line.split(" root ", 1)[1]
        assert shell_says(cron_says(command)) == [whole + "/ipc-cleanup.sh", "--spread"]
    service = rendered("service", dict.fromkeys(("lib", "state", "log"), path))
    [started] = re.findall("^ExecStart=/bin/sh (.*)$", service, re.MULTILINE)
    assert unit_says(started, command=True) == whole + "/ipc-cleanup.sh"
    [listed] = re.findall("^ReadWritePaths=(.*)$", service, re.MULTILINE)
    half = len(listed) // 2
    assert listed[:half] == listed[half + 1 :]
    assert unit_says(listed[:half], command=False) == whole


@given(path=PATHS)
@settings(max_examples=30, deadline=None)
def test_a_state_directory_reaches_the_policy_as_it_is(path):
    try:
        text = rendered("policy", {"state": path})
    except InputError:
        assert path != path.strip() or " #" in path or " ;" in path or not path.isprintable()
    else:
        assert policy.parse_policy(text, "rendered", BY_ID)["clean", "state"] == path.rstrip("/")


def test_apply_and_notify_decide_what_the_script_does():
    assert "--apply --yes" in rendered("cleanup")
    assert "--notify" not in rendered("cleanup")
    assert "--apply" not in rendered("cleanup", {"apply": "no"})
    assert '"$policy" --notify' in rendered("cleanup", {"notify": "yes"})
    assert "NoNewPrivileges=yes" in rendered("service")
    assert "NoNewPrivileges" not in rendered("service", {"notify": "yes"}), "or sendmail could not queue"


def test_a_policy_says_where_its_state_lies(tmp_path):
    path = tmp_path / "own.conf"
    path.write_text("[clean]\nstate = /srv/ipc state\n")
    done = ipcops("render", "service", "--policy", str(path))
    assert done.returncode == 0
    assert 'ReadWritePaths="/srv/ipc state"' in done.stdout


# ---------------------------------------------------------------- what is refused

WRONG = [
    (["nosuch"], "unknown template 'nosuch'"),
    (["clenup"], "did you mean 'cleanup'"),
    ([], "'ipcops render --list' lists them"),
    (["cleanup", "--set", "spred=1"], "did you mean 'spread'"),
    (["cleanup", "--set", "spread"], "has no ="),
    (["cleanup", "--set", "spread=1", "--set", "spread=2"], "given twice"),
    (["cleanup", "--set", "mail=root"], "template 'cleanup' has no setting 'mail'; it has lib, policy,"),
    (["policy-web-server", "--set", "lib=/x"], "it has none"),
    (["cleanup", "--set", "spread=-1"], "is no whole number"),
    (["cleanup", "--set", "spread=86401"], "from 0 to 86400"),
    (["cleanup", "--set", "spread="], "is no whole number"),
    (["cleanup", "--set", "nice=20"], "from 0 to 19"),
    (["cleanup", "--set", "apply=maybe"], "neither yes nor no"),
    (["cleanup", "--set", "lib=relative/path"], "no absolute path"),
    (["cleanup", "--set", "lib=/a/../b"], "no absolute path"),
    (["cleanup", "--set", "lib=//"], "root directory"),
    (["cleanup", "--set", "lib="], "no absolute path"),
    (["cleanup", "--set", "lib=/a\nrm -rf /"], "safely"),
    (["cron", "--set", "lib=/a\\b"], "crontab's command"),
    (["cron", "--set", "schedule=17 3 * *"], "five fields"),
    (["cron", "--set", "schedule=17 3 * * * reboot"], "five fields"),
    (["cron", "--set", "schedule=17 3 * * %"], "five fields"),
    (["cron", "--set", "schedule=@reboot"], "five fields"),
    (["cron", "--set", "schedule=* * * * *\n* * * * *"], "five fields"),
    (["cron", "--set", "mail=a b"], "user or address"),
    (["cron", "--set", 'mail=root"'], "user or address"),
    (["cron", "--set", "job=clean"], "did you mean 'cleanup'"),
    (["timer", "--set", "calendar=daily\n[Service]"], "calendar event"),
    (["timer", "--set", "calendar=%H"], "calendar event"),
    (["logrotate", "--set", "log=/var/log/*"], "logrotate"),
    (["logrotate", "--set", "keep=0"], "from 1 to 1000"),
    (["cron", "--policy", "/dev/null"], "nothing that a policy decides"),
    (["service", "--policy", "/does/not/exist"], "no such file"),
]


@pytest.mark.parametrize(("words", "why"), WRONG, ids=lambda one: " ".join(one) if isinstance(one, list) else None)
def test_what_cannot_be_is_refused(words, why):
    done = ipcops("render", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_policy_and_another_state_exclude_each_other(tmp_path):
    path = tmp_path / "own.conf"
    path.write_text("[clean]\nstate = /srv/ipc\n")
    done = ipcops("render", "service", "--policy", str(path), "--set", "state=/elsewhere")
    assert done.returncode == 2
    assert "leave out --set state" in done.stderr
    path.write_text("[clean]\nnosuch = 1\n")
    done = ipcops("render", "service", "--policy", str(path))
    assert done.returncode == 2
    assert f"{path} line 2" in done.stderr


def test_nothing_is_written_of_what_is_refused(tmp_path):
    path = tmp_path / "cleanup.sh"
    path.write_text("as it was")
    assert ipcops("render", "cleanup", "--set", "nice=20", "--output", str(path)).returncode == 2
    assert path.read_text() == "as it was"
    assert ipcops("render", "cleanup", "--output", str(path)).returncode == 0
    assert path.read_text() == rendered("cleanup")


@given(st.lists(st.text(max_size=20), max_size=4))
def test_any_assignment_is_taken_or_refused(words):
    try:
        asked = parse_assignments(words)
        values(asked)
    except InputError:
        return
    assert set(asked) <= set(BY_NAME)


def test_the_list_names_everything():
    text = ipcops("render", "--list").stdout
    for name in [*TEMPLATES, *(one.name for one in SETTINGS), *JOBS]:
        assert re.search(rf"\b{name}\b", text), name


def test_every_setting_is_of_use():
    used = {one for name in TEMPLATES for one in settings_of(name, {})}
    assert used == set(BY_NAME)
