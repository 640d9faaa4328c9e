"""The profiles that come with ipcops, in the format of a user's own (profiles.py): each figure with source and version.

A string and no file of its own: wherever the core goes, they go with it. What no source states is left out.
"""

from __future__ import annotations

PATH = "(shipped)"

TEXT = """\
[postgresql-18]
title = PostgreSQL 18
source = https://www.postgresql.org/docs/18/kernel-resources.html
note = On Linux it takes POSIX semaphores and mapped memory: the limits of System V matter only to a server
    built for its semaphores or set to shared_memory_type = sysv (then give shared_memory).
    'postgres -D DIR -C num_os_semaphores' prints the sum of the first four terms and 7.
term max_connections = 100 clients at once
term autovacuum_worker_slots = 16 of postgresql.conf
term max_wal_senders = 10 of postgresql.conf
term max_worker_processes = 8 of postgresql.conf
term shared_memory = 0 bytes of System V shared memory
kernel.sem.semmsl = 17
kernel.sem.semmni = ceil_div(max_connections + autovacuum_worker_slots + max_wal_senders + max_worker_processes + 7, 16)
kernel.sem.semmns = 17 * ceil_div(max_connections + autovacuum_worker_slots + max_wal_senders
    + max_worker_processes + 7, 16)
kernel.shmmax = max(1024, shared_memory)
kernel.shmall = ceil_div(max(1024, shared_memory), page_size)
logind.RemoveIPC = no

[postgresql-17]
title = PostgreSQL 17
source = https://www.postgresql.org/docs/17/kernel-resources.html
note = As postgresql-18, but it counts autovacuum_max_workers.
term max_connections = 100 clients at once
term autovacuum_max_workers = 3 of postgresql.conf
term max_wal_senders = 10 of postgresql.conf
term max_worker_processes = 8 of postgresql.conf
term shared_memory = 0 bytes of System V shared memory
kernel.sem.semmsl = 17
kernel.sem.semmni = ceil_div(max_connections + autovacuum_max_workers + max_wal_senders + max_worker_processes + 7, 16)
kernel.sem.semmns = 17 * ceil_div(max_connections + autovacuum_max_workers + max_wal_senders
    + max_worker_processes + 7, 16)
kernel.shmmax = max(1024, shared_memory)
kernel.shmall = ceil_div(max(1024, shared_memory), page_size)
logind.RemoveIPC = no

[postgresql-12-16]
title = PostgreSQL 12 to 16
source = PostgreSQL manual (Managing Kernel Resources), as corrected in
    https://postgresql.org/message-id/attachment/160360/v1-0001-fix-kernel-resources-docs-on-back-branches.patch
note = As postgresql-17. Older prints of the manual add 5 instead of 7.
term max_connections = 100 clients at once
term autovacuum_max_workers = 3 of postgresql.conf
term max_wal_senders = 10 of postgresql.conf
term max_worker_processes = 8 of postgresql.conf
term shared_memory = 0 bytes of System V shared memory
kernel.sem.semmsl = 17
kernel.sem.semmni = ceil_div(max_connections + autovacuum_max_workers + max_wal_senders + max_worker_processes + 7, 16)
kernel.sem.semmns = 17 * ceil_div(max_connections + autovacuum_max_workers + max_wal_senders
    + max_worker_processes + 7, 16)
kernel.shmmax = max(1024, shared_memory)
kernel.shmall = ceil_div(max(1024, shared_memory), page_size)
logind.RemoveIPC = no

[postgresql-9]
title = PostgreSQL 9.4 to 9.6
source = PostgreSQL 9.6 manual, Managing Kernel Resources
note = These take System V semaphores on Linux, too; WAL senders count among the connections.
term max_connections = 100 clients at once
term autovacuum_max_workers = 3 of postgresql.conf
term max_worker_processes = 8 of postgresql.conf
kernel.sem.semmsl = 17
kernel.sem.semmni = ceil_div(max_connections + autovacuum_max_workers + max_worker_processes + 5, 16)
kernel.sem.semmns = 17 * ceil_div(max_connections + autovacuum_max_workers + max_worker_processes + 5, 16)
logind.RemoveIPC = no

[oracle-19c]
title = Oracle Database 19c
source = oracle-database-preinstall-19c RPM, its sysctl settings for x86_64
note = Minimums: the RPM, too, leaves what is higher.
kernel.sem.semmsl = 250
kernel.sem.semmns = 32000
kernel.sem.semopm = 100
kernel.sem.semmni = 128
kernel.shmmni = 4096
kernel.shmall = 1073741824
kernel.shmmax = 4398046511104
logind.RemoveIPC = no
source logind.RemoveIPC = My Oracle Support 2081410.1, logind.conf(5)

[oracle-23ai]
title = Oracle Database 23ai
source = Oracle Database Installation Guide 23 for Linux, Minimum Parameter Settings for Installation
    (docs.oracle.com/en/database/oracle/oracle-database/23/cwlin/)
kernel.sem.semmsl = 250
kernel.sem.semmns = 32000
kernel.sem.semopm = 100
kernel.sem.semmni = 128
kernel.shmmni = 4096
kernel.shmmax = ram_bytes // 2
kernel.shmall = ceil_div(ram_bytes // 2, page_size)
logind.RemoveIPC = no
source logind.RemoveIPC = My Oracle Support 2081410.1, logind.conf(5)

[sap-netweaver]
title = SAP NetWeaver, and any SAP application
source = SAP note 941735 v11, as in SUSE/saptune 36f63063
note = The note says to leave shmmax and shmall at the kernel's own defaults, which are as high as they are to be.
kernel.shmmax = shm_most
kernel.shmall = min(1152921504606846720, shm_most)
kernel.shmmni = 32768
source kernel.shmmni = SAP note 1275776 v47 (2026-01-27)
dev_shm.size = (ram_bytes + swap_bytes) * 75 // 100

[sap-hana]
title = SAP HANA
source = SAP note 2534844 v15, as in SUSE/saptune 36f63063
kernel.shmmni = 32768
net.core.somaxconn = 4096
source net.core.somaxconn = SAP note 2382421 v47
dev_shm.size = (ram_bytes + swap_bytes) * 75 // 100
source dev_shm.size = SAP note 941735 v11

[sap-bobj]
title = SAP BusinessObjects 4.3
source = note SAP_BOBJ of SUSE/saptune 36f63063
kernel.sem.semmsl = 250
kernel.sem.semmns = 32000
kernel.sem.semopm = 32
kernel.sem.semmni = 1024
kernel.msgmni = 1024
kernel.shmmax = shm_most

[db2-11.5]
title = IBM Db2 11.5
source = https://www.ibm.com/docs/en/db2/11.5?topic=unix-kernel-parameter-requirements-linux
note = Db2 raises these by itself when an instance starts, as root, and only until the next boot.
    Its own formulas exceed what a kernel allows from 32 GiB of memory on.
kernel.shmmni = 256 * ram_gib
kernel.shmmax = ram_bytes
kernel.shmall = 2 * ram_bytes // page_size
kernel.sem.semmsl = 250
kernel.sem.semmns = max(256000, 256 * ram_gib)
kernel.sem.semopm = 32
kernel.sem.semmni = 256 * ram_gib
kernel.msgmni = 1024 * ram_gib
kernel.msgmax = 65536
kernel.msgmnb = 65536

[ibm-mq-9.4]
title = IBM MQ 9.4 and 10.0
source = IBM MQ 9.4 and 10.0 documentation, Configuring and tuning the operating system on Linux
note = For two queue managers of medium size.
term queue_managers = 2 queue managers on this host
kernel.shmmni = 4096 * ceil_div(queue_managers, 2)
kernel.shmmax = 268435456
kernel.shmall = 2097152 * ceil_div(queue_managers, 2)
kernel.sem.semmsl = 32
kernel.sem.semmns = 4096 * ceil_div(queue_managers, 2)
kernel.sem.semopm = 32
kernel.sem.semmni = 128 * ceil_div(queue_managers, 2)

[apache-sysvsem]
title = Apache httpd 2.4 with 'Mutex sysvsem'
source = https://httpd.apache.org/docs/2.4/mod/core.html (Mutex), https://support.microfocus.com/kb/doc.php?id=7021224
note = A set for each mutex: two for each proxied balancer.
term proxies = 100 proxied servers
kernel.sem.semmsl = 250
kernel.sem.semmns = 256000
kernel.sem.semopm = 32
kernel.sem.semmni = max(1024, 2 * proxies)

[gpu-node]
title = GPU node: PyTorch, NCCL
source = pytorch/tutorials 0ba3e39 (--shm-size), Azure/batch-shipyard issue 8
note = They pass tensors between processes through /dev/shm; the 64 MiB of a container are not enough. How much is,
    no source says: percent is yours to choose.
term percent = 50 percent of memory
dev_shm.size = ram_bytes * percent // 100

[hardening-cis]
title = CIS Benchmarks (RHEL 9 and 10, Debian 12 and 13, Ubuntu 22.04 and 24.04)
source = CIS 1.1.2.2, as in ComplianceAsCode/content b3a2cca9
note = noexec breaks programs that map executable memory there (Chrome, ROCm); systemd mounts it without.
dev_shm.nodev = yes
dev_shm.nosuid = yes
dev_shm.noexec = yes
kernel.yama.ptrace_scope = 1
source kernel.yama.ptrace_scope = CIS 1.5, as in ComplianceAsCode/content b3a2cca9

[hardening-stig]
title = DISA STIG (RHEL 8, 9 and 10)
source = RHEL-08-040120 to 040122, RHEL-09-231110 to 231120, RHEL-10-700135 to 700145
note = noexec breaks programs that map executable memory there (Chrome, ROCm); systemd mounts it without.
dev_shm.nodev = yes
dev_shm.nosuid = yes
dev_shm.noexec = yes
kernel.yama.ptrace_scope = 1
source kernel.yama.ptrace_scope = RHEL-08-040282, RHEL-09-213080, RHEL-10-701140

[hardening-anssi]
title = ANSSI BP-028
source = ANSSI BP-028, as in ComplianceAsCode/content b3a2cca9 (CCE-85884-5, CCE-85885-2)
fs.protected_fifos = 2
fs.protected_regular = 2

[greenplum-7]
title = Greenplum 6 and 7
source = greenplum-db/gpdb 1be69f96, gpdb-doc/markdown/install_guide/prep_os.html.md
kernel.shmall = ram_bytes // page_size // 2
kernel.shmmax = ram_bytes // page_size // 2 * page_size
kernel.shmmni = 4096
kernel.sem.semmsl = 250
kernel.sem.semmns = 2048000
kernel.sem.semopm = 200
kernel.sem.semmni = 8192
kernel.msgmnb = 65536
kernel.msgmax = 65536
kernel.msgmni = 2048
logind.RemoveIPC = no

[informix-14.10]
title = Informix 12.10 and 14.10
source = Informix Performance Guide (ids_prf_085, ids_prf_134)
note = The figures of the machine notes for Linux are not in it.
term instances = 1 servers on this host
term vps = 15 virtual processors at the start, at least 15
term added_vps = 0 added later
term shared_memory_users = 100 users connected through shared memory
term utilities = 6 run at once, at least 6
kernel.sem.semmsl = 100
kernel.sem.semmns = max(vps, 15) + added_vps + 2 * shared_memory_users + max(utilities, 6)
kernel.sem.semmni = 2 * instances + ceil_div(shared_memory_users, 100)

[sap-ase-16]
title = SAP ASE (Sybase) 15.7 and 16
source = infocenter.sybase.com dc30119.1570100 and dc35890.1600
note = Give max_memory as configured; without it this is the minimum.
term max_memory = 67108864 bytes, the server's 'max memory'
kernel.shmmax = max(67108864, max_memory)

[sap-ase-16-hugepages]
title = SAP ASE (Sybase) 16 on huge pages
source = SAP note 1805750 v10, as in SUSE/saptune 36f63063
note = With sap-ase-16. Also set vm.hugetlb_shm_group to the group of its user, and vm.nr_hugepages.
rlimit.memlock = unlimited

[timesten-26.1]
title = TimesTen 26.1
source = docs.oracle.com timesten/26.1, configure-linux-kernel-parameters
note = ttShmSize prints the size of the segment: give that.
term segment = 1073741824 bytes of the database's segment
kernel.shmmax = segment
kernel.shmall = ceil_div(segment, page_size)

[iris]
title = InterSystems IRIS
source = docs.intersystems.com GIEUNIX_redhat
term instances = 1 instances on this host
kernel.msgmni = 3 * instances

[tuxedo-22c]
title = Oracle Tuxedo 22c
source = docs.oracle.com tuxedo/22/otxig/checking-ipc-requirements.html
note = 'tmloadcf -c UBBCONFIG' prints what an application needs; these are its formulas.
term maxaccessers = 50 of UBBCONFIG
term servers_with_queues = 50 servers that have a reply queue
term clients = 100 clients at once
term largest_message = 8192 bytes
kernel.sem.semmns = maxaccessers
kernel.msgmni = maxaccessers + servers_with_queues + clients
kernel.msgmax = largest_message
kernel.msgmnb = largest_message

[primecluster]
title = Fujitsu PRIMECLUSTER (RMS)
source = software.fujitsu.com j2uz5274
kernel.msgmnb = 4194304
kernel.msgmax = 16384
kernel.msgmni = 8192

[netbackup]
title = Veritas NetBackup media server
source = https://www.veritas.com/support/en_US/article.100006629
kernel.shmmax = ram_bytes // 2
kernel.shmmni = 8092

[zabbix]
title = Zabbix with semaphore sets
source = zabbix/zabbix 150ff0e5, src/libs/zbxmutexs/mutexs.c
note = Only where it was built without shared pthread locks: one set for each daemon, with a semaphore for each of
    its locks. How many these are depends on its version; give what 'ipcops list sem' shows.
term daemons = 2 servers, proxies and agents on this host
term semaphores = 64 of a daemon's set
kernel.sem.semmsl = semaphores
kernel.sem.semmns = daemons * semaphores
kernel.sem.semmni = daemons

[mpi]
title = Open MPI, Intel MPI
source = open-mpi/ompi PR 5230, GlobalArrays/ga issue 254, Azure/batch-shipyard issue 8
note = Its segments lie in /dev/shm, and one that does not fit ends the job with SIGBUS. How much is enough no
    source says: percent is yours to choose.
term percent = 50 percent of memory
dev_shm.size = ram_bytes * percent // 100
"""
