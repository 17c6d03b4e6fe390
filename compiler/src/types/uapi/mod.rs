//! More macro constants of headers, complete by subject, for Linux on `x86_64`: their sources are named at each group. What scripts
//! use most stands in `constants`.

mod files;
mod network;
mod processes;
mod system;

/// All groups.
pub(super) const GROUPS: &[&[(&str, i64)]] = &[
    files::MORE_FILES,
    files::MEMORY,
    files::POLLING,
    files::FILE_MODES,
    network::MORE_FAMILIES,
    network::SOCKETS,
    network::INTERNET,
    network::LINKS,
    network::CONTROL_MESSAGES,
    network::FILTERS,
    processes::PROCESSES,
    processes::MORE_SIGNALS,
    processes::CAPABILITIES,
    processes::TRACING,
    processes::TASK_FLAGS,
    system::MORE_ERRORS,
    system::LIMITS,
    system::MAGIC,
    system::CLOCKS,
    system::KERNEL_FLAGS,
];
