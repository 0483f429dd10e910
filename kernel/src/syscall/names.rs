//! Names of Linux's system calls on arm64 that this kernel does not have, so that a report can name what a program asked for.

/// The name of the system call `number`, if it is listed here.
pub fn name(number: usize) -> Option<&'static str> {
    NAMES.iter().find(|entry| entry.0 == number).map(|entry| entry.1)
}

const NAMES: &[(usize, &str)] = &[
    (19, "eventfd2"),
    (20, "epoll_create1"),
    (21, "epoll_ctl"),
    (22, "epoll_pwait"),
    (34, "mkdirat"),
    (35, "unlinkat"),
    (45, "truncate"),
    (72, "pselect6"),
    (75, "vmsplice"),
    (95, "waitid"),
    (97, "unshare"),
    (103, "setitimer"),
    (107, "timer_create"),
    (165, "getrusage"),
    (198, "socket"),
    (199, "socketpair"),
    (234, "remap_file_pages"),
    (235, "mbind"),
    (236, "get_mempolicy"),
    (237, "set_mempolicy"),
    (238, "migrate_pages"),
    (239, "move_pages"),
    (241, "perf_event_open"),
    (270, "process_vm_readv"),
    (280, "bpf"),
    (281, "execveat"),
    (283, "membarrier"),
    (288, "pkey_mprotect"),
    (289, "pkey_alloc"),
    (424, "pidfd_send_signal"),
    (425, "io_uring_setup"),
    (434, "pidfd_open"),
    (437, "openat2"),
    (440, "process_madvise"),
    (447, "memfd_secret"),
    (448, "process_mrelease"),
    (462, "mseal"),
];
