//! The system-call fence: the only module of the workspace with `unsafe`. Each submodule wraps one family of calls in safe
//! functions over owned descriptors, slices and plain structs; every pointer that is handed to the kernel comes from a
//! borrow that outlives the call, and every length from the slice itself. No policy, no message texts, nothing of the
//! script's meaning may come in.
#![allow(unsafe_code)]

pub mod bpf;
pub mod child;
pub mod limits;
pub mod loaded;
pub mod mmap;
pub mod perf;
pub mod perf_ring;
pub mod poll;
pub mod privilege;
pub mod startup;
pub mod time;
