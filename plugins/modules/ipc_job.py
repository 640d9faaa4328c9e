# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ipc_job takes and returns; the action plugin of the same name does it (as with ansible.builtin.template)."""

DOCUMENTATION = r"""
module: ipc_job
short_description: Install one job of ipcops and its schedule
version_added: 0.1.0
description:
  - Installs the script of a job, and the cron file or the systemd units that start it; enables and starts the timer.
  - The agent must be there; see M(ipcops.linux.ipc_agent). Give both the same paths.
  - All or nothing, with the record of C(install.sh), as M(ipcops.linux.ipc_agent) does it. A timer that systemd refuses
    is a failure, and everything is put back.
options:
  job:
    description:
      - V(cleanup) removes abandoned objects, as the policy says. V(monitor) writes metrics for node_exporter.
        V(health) fails, and so is mailed by cron or shown by systemd, when something is wrong.
    type: str
    choices: [cleanup, monitor, health]
    required: true
  state:
    description:
      - With V(present) the job is there and scheduled.
      - With V(absent) it is removed with its schedule, its logs and its states; V(monitor) with its file of metrics,
        which nobody would renew.
    type: str
    choices: [present, absent]
    default: present
  schedule:
    description:
      - What starts the job. V(auto) is what started it before, else what starts the other jobs, else systemd where it
        runs, else cron.
      - If it changes, the job moves over.
    type: str
    choices: [auto, cron, systemd]
    default: auto
  settings:
    description:
      - The settings of the job by their names, as C(ipcops render --list) explains them. Truths, numbers and texts are
        taken. A name that the job has no use for is refused.
      - For every job V(schedule) (when cron starts it), V(calendar) (when a timer does), V(spread), V(nice), V(mail).
      - For the job cleanup V(apply) (V(true) if not set), V(notify), and V(settle) for Slurm's scripts.
      - For the job monitor V(textfiles), and with O(alerts_dir) the thresholds of the alert rules, with O(nrpe_dir)
        V(nrpe_user), with O(zabbix_dir) V(zabbix_user). Without V(textfiles) it is the directory that node_exporter was
        told to read, or the usual one.
      - For the job health V(fail_on) and V(complete).
    type: dict
    default: {}
  slurm:
    description:
      - Which of Slurm's scripts are put into O(lib), for O(job=cleanup), as C(slurm-prolog.sh) and C(slurm-epilog.sh);
        others are removed. C(slurm.conf) has to name them.
      - Without it those that are there stay and are kept up to date.
    type: list
    elements: str
    choices: [prolog, epilog]
  alerts_dir:
    description:
      - A directory of Prometheus' C(rule_files) that gets C(ipcops.rules.yml), for O(job=monitor). C(promtool) checks
        the rules before, where it is installed.
      - Prometheus has to reload them; let the task notify a handler.
    type: str
  nrpe_dir:
    description:
      - The directory for NRPE's drop-ins, such as V(/etc/nagios/nrpe.d), for O(job=monitor). It gets
        C(ipcops-check.cfg), and C(/etc/sudoers.d) a line for this one command.
    type: str
  zabbix_dir:
    description:
      - The directory for drop-ins of Zabbix's agent, such as V(/etc/zabbix/zabbix_agent2.d), for O(job=monitor). It
        gets C(ipcops-check.conf), and C(/etc/sudoers.d) a line for this one command.
    type: str
  policy_path:
    description: The policy file on the host.
    type: str
    default: /etc/ipcops/ipcops.conf
  lib:
    description: Where the agent lies, and the script goes.
    type: str
    default: /usr/local/lib/ipcops
  bin:
    description: Where the command C(ipcops) lies, which NRPE and Zabbix call.
    type: str
    default: /usr/local/sbin
  state_dir:
    description:
      - Where journal and backups lie.
      - Where the policy on the host has C(state) in its section C([clean]), that counts; leave this out then.
    type: str
    default: /var/lib/ipcops
  log:
    description: Where the job writes what it did.
    type: str
    default: /var/log/ipcops
  wait:
    description: Seconds that a job which is at work is waited for.
    type: int
    default: 600
attributes:
  check_mode:
    description:
      - Tells what would be done. Where the agent, or a directory for drop-ins, is missing, it only warns, as a task
        before may be about to bring it.
    support: full
  diff_mode:
    description: Shows the texts.
    support: full
  async:
    support: none
    description: It takes a second.
requirements:
  - Python 3.9 or newer and root on the host, and the agent.
seealso:
  - module: ipcops.linux.ipc_agent
author:
  - The ipcops contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Clean each night, but only tell what would go
  ipcops.linux.ipc_job:
    job: cleanup
    settings:
      apply: false
      spread: 3600

- name: Write metrics, and bring the alert rules to Prometheus
  ipcops.linux.ipc_job:
    job: monitor
    alerts_dir: /etc/prometheus/rules
    settings:
      near_limit: 70
  notify: Reload Prometheus

- name: Have no health check any more
  ipcops.linux.ipc_job:
    job: health
    state: absent
"""

RETURN = r"""
schedule:
  description: What starts the job.
  type: str
  returned: with O(state=present)
  sample: systemd
textfiles:
  description: The directory that the metrics go to.
  type: str
  returned: with O(state=present) and O(job=monitor)
  sample: /var/lib/prometheus/node-exporter
installed:
  description: The files that were written, or would be.
  type: list
  elements: str
  returned: success
  sample: [/etc/cron.d/ipcops-cleanup, /usr/local/lib/ipcops/ipc-cleanup.sh]
removed:
  description: The files that were removed, or would be.
  type: list
  elements: str
  returned: success
directories:
  description: The directories that were made, or would be.
  type: list
  elements: str
  returned: success
backups:
  description: The copies of what was edited on the host and then replaced or removed.
  type: list
  elements: str
  returned: success
started:
  description: The timers that were enabled and started, or would be.
  type: list
  elements: str
  returned: success
  sample: [ipcops-cleanup.timer]
stopped:
  description: The timers that were stopped and disabled, or would be.
  type: list
  elements: str
  returned: success
"""
